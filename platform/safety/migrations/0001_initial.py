"""Rules, word lists, published versions, settings, reviews and hits; what is a tenant's is walled."""

import core.ids
import django.core.validators
import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from core.rls import AppendOnly, EnableRowLevelSecurity


# A tenant's published versions never change. They go only with the tenant, through the platform's door.
IMMUTABLE = f"""
CREATE OR REPLACE FUNCTION safety_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% never changes', TG_TABLE_NAME; END $$;
CREATE TRIGGER never_changes BEFORE UPDATE ON safety_rulesetversion
FOR EACH ROW EXECUTE FUNCTION safety_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON safety_rulesetversion FROM "{settings.DATABASE_RUNTIME_ROLE}";
REVOKE UPDATE, TRUNCATE ON safety_rulesetversion FROM "{settings.DATABASE_PLATFORM_ROLE}";
"""
UNDO = f"""
DROP TRIGGER IF EXISTS never_changes ON safety_rulesetversion;
DROP FUNCTION IF EXISTS safety_refuse_change();
GRANT UPDATE, DELETE ON safety_rulesetversion TO "{settings.DATABASE_RUNTIME_ROLE}";
GRANT UPDATE ON safety_rulesetversion TO "{settings.DATABASE_PLATFORM_ROLE}";
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0002_plans_and_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='HitBatch',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('counted_at', models.DateTimeField(auto_now_add=True, db_index=True, verbose_name='counted')),
            ],
            options={
                'verbose_name': 'batch of hits',
                'verbose_name_plural': 'batches of hits',
            },
        ),
        migrations.CreateModel(
            name='PlatformRuleSetVersion',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField(verbose_name='version')),
                ('content', models.BinaryField(verbose_name='content')),
                ('digest', models.CharField(editable=False, max_length=64, verbose_name='digest')),
                ('rule_count', models.PositiveIntegerField(verbose_name='rules')),
                ('term_count', models.PositiveIntegerField(verbose_name='words')),
                ('note', models.CharField(blank=True, max_length=500, verbose_name='note')),
                ('restores', models.PositiveIntegerField(null=True, verbose_name='restores version')),
                ('published_at', models.DateTimeField(auto_now_add=True, verbose_name='published')),
                ('published_by_id', models.UUIDField(null=True, verbose_name="publisher's id")),
                ('published_by', models.CharField(max_length=254, verbose_name='published by')),
                ('controls', models.JSONField(default=dict, verbose_name='what tenants may loosen')),
            ],
            options={
                'verbose_name': "version of the platform's rules",
                'verbose_name_plural': "versions of the platform's rules",
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(fields=('number',), name='safety_platform_version_once')],
            },
        ),
        migrations.CreateModel(
            name='PlatformSafety',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('is_only', models.BooleanField(default=True, editable=False, unique=True)),
                ('version', models.PositiveIntegerField(default=0, verbose_name='version in force')),
                ('draft_revision', models.PositiveIntegerField(default=0, verbose_name='revision of the draft')),
                ('builtin_revision', models.PositiveIntegerField(default=0, verbose_name='revision of the built-in rules')),
            ],
            options={
                'verbose_name': "platform's safety",
                'verbose_name_plural': "platform's safety",
                'constraints': [models.CheckConstraint(condition=models.Q(('is_only', True)), name='safety_platform_once')],
            },
        ),
        migrations.CreateModel(
            name='PlatformWordList',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('category', models.CharField(max_length=50, validators=[django.core.validators.RegexValidator('^[\\w][\\w .\\-]*\\Z', 'Use letters, digits, spaces, dots and hyphens.', code='invalid_category')], verbose_name='category')),
                ('severity', models.CharField(choices=[('low', 'Low'), ('medium', 'Medium'), ('high', 'High'), ('critical', 'Critical')], default='medium', max_length=16, verbose_name='severity')),
                ('content', models.BinaryField(default=bytes, verbose_name='words')),
                ('term_count', models.PositiveIntegerField(default=0, editable=False, verbose_name='number of words')),
            ],
            options={
                'verbose_name': "platform's word list",
                'verbose_name_plural': "platform's word lists",
                'ordering': ['name'],
                'constraints': [models.UniqueConstraint(fields=('name',), name='safety_platform_list_name_once')],
            },
        ),
        migrations.CreateModel(
            name='PlatformRule',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('kind', models.CharField(choices=[('terms', 'Words'), ('pattern', 'Regular expression'), ('pii', 'Personal data'), ('injection', 'Prompt injection'), ('canary', 'Planted token')], max_length=16, verbose_name='kind')),
                ('category', models.CharField(max_length=50, validators=[django.core.validators.RegexValidator('^[\\w][\\w .\\-]*\\Z', 'Use letters, digits, spaces, dots and hyphens.', code='invalid_category')], verbose_name='category')),
                ('severity', models.CharField(choices=[('low', 'Low'), ('medium', 'Medium'), ('high', 'High'), ('critical', 'Critical')], default='medium', max_length=16, verbose_name='severity')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('action_in', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], default='off', max_length=16, verbose_name='action on the way in')),
                ('action_out', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], default='off', max_length=16, verbose_name='action on the way out')),
                ('terms', models.JSONField(blank=True, default=list, verbose_name='words')),
                ('whole_words', models.BooleanField(default=False, verbose_name='whole words only')),
                ('pattern', models.CharField(blank=True, max_length=2000, verbose_name='regular expression')),
                ('entity', models.CharField(blank=True, max_length=50, verbose_name='kind of personal data')),
                ('threshold', models.PositiveSmallIntegerField(default=0, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='threshold')),
                ('replacement', models.CharField(blank=True, max_length=200, verbose_name='replacement')),
                ('key', models.CharField(max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[a-z][a-z0-9_]*(?:\\.[a-z0-9_]+)*\\Z', 'Use lower-case letters, digits and underscores, in parts that are joined by dots.', code='invalid_key')], verbose_name='key')),
                ('tenant_controlled', models.BooleanField(default=False, help_text='Tenants may always make a rule stricter. With this, also milder, as far as is said below.', verbose_name='tenants may loosen')),
                ('loosest_in', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], default='off', max_length=16, verbose_name='mildest on the way in')),
                ('loosest_out', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], default='off', max_length=16, verbose_name='mildest on the way out')),
                ('is_builtin', models.BooleanField(default=False, editable=False, verbose_name='built in')),
                ('word_list', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='rules', to='safety.platformwordlist', verbose_name='word list')),
            ],
            options={
                'verbose_name': "platform's rule",
                'verbose_name_plural': "platform's rules",
                'ordering': ['key'],
            },
        ),
        migrations.CreateModel(
            name='WordList',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('category', models.CharField(max_length=50, validators=[django.core.validators.RegexValidator('^[\\w][\\w .\\-]*\\Z', 'Use letters, digits, spaces, dots and hyphens.', code='invalid_category')], verbose_name='category')),
                ('severity', models.CharField(choices=[('low', 'Low'), ('medium', 'Medium'), ('high', 'High'), ('critical', 'Critical')], default='medium', max_length=16, verbose_name='severity')),
                ('content', models.BinaryField(default=bytes, verbose_name='words')),
                ('term_count', models.PositiveIntegerField(default=0, editable=False, verbose_name='number of words')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'word list',
                'verbose_name_plural': 'word lists',
                'ordering': ['name', 'id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Rule',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('kind', models.CharField(choices=[('terms', 'Words'), ('pattern', 'Regular expression'), ('pii', 'Personal data'), ('injection', 'Prompt injection'), ('canary', 'Planted token')], max_length=16, verbose_name='kind')),
                ('category', models.CharField(max_length=50, validators=[django.core.validators.RegexValidator('^[\\w][\\w .\\-]*\\Z', 'Use letters, digits, spaces, dots and hyphens.', code='invalid_category')], verbose_name='category')),
                ('severity', models.CharField(choices=[('low', 'Low'), ('medium', 'Medium'), ('high', 'High'), ('critical', 'Critical')], default='medium', max_length=16, verbose_name='severity')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('action_in', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], default='off', max_length=16, verbose_name='action on the way in')),
                ('action_out', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], default='off', max_length=16, verbose_name='action on the way out')),
                ('terms', models.JSONField(blank=True, default=list, verbose_name='words')),
                ('whole_words', models.BooleanField(default=False, verbose_name='whole words only')),
                ('pattern', models.CharField(blank=True, max_length=2000, verbose_name='regular expression')),
                ('entity', models.CharField(blank=True, max_length=50, verbose_name='kind of personal data')),
                ('threshold', models.PositiveSmallIntegerField(default=0, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='threshold')),
                ('replacement', models.CharField(blank=True, max_length=200, verbose_name='replacement')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
                ('word_list', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='rules', to='safety.wordlist', verbose_name='word list')),
            ],
            options={
                'verbose_name': 'rule',
                'verbose_name_plural': 'rules',
                'ordering': ['name', 'id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Disclaimer',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('model', models.CharField(blank=True, help_text='Public name; empty: all others.', max_length=200, verbose_name='model')),
                ('prefix', models.TextField(blank=True, max_length=2000, verbose_name='before the answer')),
                ('suffix', models.TextField(blank=True, max_length=2000, verbose_name='after the answer')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'disclaimer',
                'verbose_name_plural': 'disclaimers',
                'ordering': ['model'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'model'), name='safety_disclaimer_once')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='HitCount',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField(verbose_name='day')),
                ('rule', models.CharField(max_length=100, verbose_name='rule')),
                ('version', models.PositiveIntegerField(verbose_name='version')),
                ('category', models.CharField(max_length=50, verbose_name='category')),
                ('action', models.CharField(choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], max_length=16, verbose_name='action')),
                ('direction', models.CharField(choices=[('in', 'To the model'), ('out', 'From the model')], max_length=4, verbose_name='direction')),
                ('count', models.PositiveBigIntegerField(default=0, verbose_name='matches')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'hits of a rule',
                'verbose_name_plural': 'hits of rules',
                'ordering': ['-day', 'rule'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'day', 'rule', 'version', 'action', 'direction'), name='safety_hit_once')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Override',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('rule', models.CharField(max_length=100, verbose_name='rule')),
                ('action_in', models.CharField(blank=True, choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], max_length=16, verbose_name='action on the way in')),
                ('action_out', models.CharField(blank=True, choices=[('off', 'Not looked at'), ('flag', 'Recorded'), ('mask', 'Masked'), ('replace', 'Replaced'), ('review', 'Refused until a person approves'), ('block', 'Refused')], max_length=16, verbose_name='action on the way out')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'changed platform rule',
                'verbose_name_plural': 'changed platform rules',
                'ordering': ['rule'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'rule'), name='safety_override_once')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Review',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('digest', models.CharField(editable=False, max_length=64, verbose_name='digest')),
                ('direction', models.CharField(choices=[('in', 'To the model'), ('out', 'From the model')], max_length=4, verbose_name='direction')),
                ('text_cipher', models.TextField(blank=True, editable=False, verbose_name='text')),
                ('text_length', models.PositiveIntegerField(default=0, verbose_name='length')),
                ('is_cut', models.BooleanField(default=False, verbose_name='cut')),
                ('state', models.CharField(choices=[('pending', 'Waiting'), ('approved', 'Approved'), ('rejected', 'Rejected')], default='pending', max_length=16, verbose_name='state')),
                ('verdicts', models.JSONField(default=list, verbose_name='verdicts')),
                ('rule', models.CharField(max_length=100, verbose_name='rule')),
                ('category', models.CharField(max_length=50, verbose_name='category')),
                ('model', models.CharField(blank=True, max_length=200, verbose_name='model')),
                ('request_id', models.CharField(blank=True, max_length=100, verbose_name='request id')),
                ('times_refused', models.PositiveIntegerField(default=1, verbose_name='times refused')),
                ('decided_at', models.DateTimeField(null=True, verbose_name='decided')),
                ('decided_by_id', models.UUIDField(null=True, verbose_name="decider's id")),
                ('decided_by', models.CharField(blank=True, max_length=254, verbose_name='decided by')),
                ('reason', models.CharField(blank=True, max_length=1000, verbose_name='reason')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'review',
                'verbose_name_plural': 'reviews',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', 'state', '-id'], name='safety_review_by_state')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'digest', 'direction'), name='safety_review_once')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='RuleSetVersion',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField(verbose_name='version')),
                ('content', models.BinaryField(verbose_name='content')),
                ('digest', models.CharField(editable=False, max_length=64, verbose_name='digest')),
                ('rule_count', models.PositiveIntegerField(verbose_name='rules')),
                ('term_count', models.PositiveIntegerField(verbose_name='words')),
                ('note', models.CharField(blank=True, max_length=500, verbose_name='note')),
                ('restores', models.PositiveIntegerField(null=True, verbose_name='restores version')),
                ('published_at', models.DateTimeField(auto_now_add=True, verbose_name='published')),
                ('published_by_id', models.UUIDField(null=True, verbose_name="publisher's id")),
                ('published_by', models.CharField(max_length=254, verbose_name='published by')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'version of a rule set',
                'verbose_name_plural': 'versions of rule sets',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'number'), name='safety_version_once')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='TenantSafety',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('revision', models.PositiveIntegerField(default=1, verbose_name='revision')),
                ('version', models.PositiveIntegerField(default=0, verbose_name='version in force')),
                ('draft_revision', models.PositiveIntegerField(default=0, verbose_name='revision of the draft')),
                ('on_failure', models.CharField(choices=[('close', 'Refuse requests'), ('open', 'Let requests through unchecked')], default='close', max_length=8, verbose_name='when rules cannot be checked')),
                ('language', models.CharField(blank=True, help_text="Empty: the platform's.", max_length=16, verbose_name='language of refusals')),
                ('refusal_message', models.CharField(blank=True, help_text="Empty: the platform's.", max_length=500, verbose_name='sentence of refusals')),
                ('plants_canaries', models.BooleanField(default=False, help_text='A secret token is added to system prompts; an answer that shows it gives the prompt away.', verbose_name='tokens in system prompts')),
                ('spotlights', models.BooleanField(default=False, help_text='What tools return is put between delimiters, and the model told not to take orders from it.', verbose_name='results of tools marked as data')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'safety settings',
                'verbose_name_plural': 'safety settings',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant',), name='safety_settings_once'), models.CheckConstraint(condition=models.Q(('on_failure__in', ['close', 'open'])), name='safety_on_failure_known')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddConstraint(
            model_name='wordlist',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='safety_list_name_once'),
        ),
        migrations.AddConstraint(
            model_name='rule',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='safety_rule_name_once'),
        ),
        *(
            EnableRowLevelSecurity(name)
            for name in (
                "disclaimer", "hitcount", "override", "review", "rule", "rulesetversion", "tenantsafety", "wordlist",
            )
        ),
        AppendOnly("platformrulesetversion"),
        migrations.RunSQL(IMMUTABLE, UNDO),
    ]
