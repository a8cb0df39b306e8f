"""Call logs: partitioned by month and walled; the policy of each tenant, and its data keys."""

import core.ids
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models

from core.partitions import DropPartitions, PartitionByMonth
from core.rls import EnableRowLevelSecurity


class Migration(migrations.Migration):

    dependencies = [
        ('inference', '0001_initial'),
        ('tenants', '0002_plans_and_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='CallLog',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('request_id', models.CharField(max_length=100, verbose_name='request id')),
                ('key_id', models.UUIDField(blank=True, null=True, verbose_name='key')),
                ('user_id', models.UUIDField(blank=True, null=True, verbose_name='user')),
                ('address', models.CharField(blank=True, default='', max_length=64, verbose_name='network address')),
                ('user_agent', models.CharField(blank=True, default='', max_length=200, verbose_name='client program')),
                ('route', models.CharField(blank=True, default='', max_length=100, verbose_name='route')),
                ('model', models.CharField(blank=True, default='', max_length=200, verbose_name='model')),
                ('version_id', models.UUIDField(blank=True, null=True, verbose_name='version')),
                ('deployment_id', models.UUIDField(blank=True, null=True, verbose_name='deployment')),
                ('replica', models.CharField(blank=True, default='', max_length=200, verbose_name='replica')),
                ('stream', models.BooleanField(default=False, verbose_name='stream')),
                ('parameters', models.JSONField(blank=True, default=dict, verbose_name='parameters')),
                ('prompt_summary', models.TextField(blank=True, default='', verbose_name='prompt')),
                ('response_summary', models.TextField(blank=True, default='', verbose_name='response')),
                ('prompt_chars', models.PositiveBigIntegerField(default=0, verbose_name='characters of the prompt')),
                ('response_chars', models.PositiveBigIntegerField(default=0, verbose_name='characters of the response')),
                ('search_text', models.TextField(blank=True, default='', editable=False)),
                ('prompt_tokens', models.PositiveBigIntegerField(default=0, verbose_name='prompt tokens')),
                ('cached_tokens', models.PositiveBigIntegerField(default=0, verbose_name='of these cached')),
                ('completion_tokens', models.PositiveBigIntegerField(default=0, verbose_name='completion tokens')),
                ('queue_ms', models.PositiveBigIntegerField(default=0, verbose_name='waiting time')),
                ('first_token_ms', models.PositiveBigIntegerField(blank=True, null=True, verbose_name='time to first token')),
                ('duration_ms', models.PositiveBigIntegerField(default=0, verbose_name='duration')),
                ('charge_nano', models.BigIntegerField(default=0, verbose_name='charged')),
                ('currency', models.CharField(blank=True, default='', max_length=3, verbose_name='currency')),
                ('price_id', models.UUIDField(blank=True, null=True, verbose_name='price')),
                ('is_settled', models.BooleanField(default=False, verbose_name='settled')),
                ('verdicts', models.JSONField(blank=True, default=list, verbose_name='verdicts')),
                ('outcome', models.CharField(choices=[('completed', 'Completed'), ('cancelled', 'Client gone'), ('failed', 'Failed'), ('refused', 'Refused'), ('blocked', 'Blocked by a safety rule'), ('lost', 'Lost')], max_length=16, verbose_name='outcome')),
                ('status', models.PositiveSmallIntegerField(default=0, verbose_name='status')),
                ('error_code', models.CharField(blank=True, default='', max_length=100, verbose_name='error')),
                ('limit_name', models.CharField(blank=True, default='', max_length=100, verbose_name='limit that refused')),
                ('finish_reason', models.CharField(blank=True, default='', max_length=32, verbose_name='finish reason')),
                ('trace_id', models.CharField(blank=True, default='', max_length=32, verbose_name='trace id')),
                ('end_user', models.CharField(blank=True, default='', max_length=256, verbose_name='end user')),
                ('tags', models.JSONField(blank=True, default=dict, verbose_name='tags')),
                ('has_text', models.BooleanField(default=False, verbose_name='full text is kept')),
                ('started_at', models.DateTimeField(verbose_name='started')),
                ('finished_at', models.DateTimeField(verbose_name='finished')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'call log',
                'verbose_name_plural': 'call logs',
                'ordering': ['-started_at', '-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['request_id'], name='inference_log_by_request'), models.Index(fields=['tenant', '-started_at', '-id'], name='inference_log_by_time'), models.Index(fields=['tenant', 'key_id', '-started_at', '-id'], name='inference_log_by_key'), models.Index(fields=['tenant', 'model', '-started_at', '-id'], name='inference_log_by_model'), models.Index(condition=models.Q(('end_user', ''), _negated=True), fields=['tenant', 'end_user', '-started_at', '-id'], name='inference_log_by_end_user'), models.Index(condition=models.Q(('outcome', 'completed'), _negated=True), fields=['tenant', 'outcome', '-started_at', '-id'], name='inference_log_by_outcome')],
                'constraints': [models.CheckConstraint(condition=models.Q(('outcome__in', ['completed', 'cancelled', 'failed', 'refused', 'blocked', 'lost'])), name='inference_call_log_outcome_known')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='CallLogText',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('request_id', models.CharField(max_length=100, verbose_name='request id')),
                ('data_key_id', models.UUIDField(verbose_name='data key')),
                ('content', models.BinaryField()),
                ('end_user', models.CharField(blank=True, default='', max_length=256, verbose_name='end user')),
                ('started_at', models.DateTimeField(verbose_name='started')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'full text',
                'verbose_name_plural': 'full texts',
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', 'started_at'], name='inference_text_by_time'), models.Index(condition=models.Q(('end_user', ''), _negated=True), fields=['tenant', 'end_user'], name='inference_text_by_end_user')],
                'constraints': [],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='DataKey',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('wrapped', models.TextField(blank=True, editable=False)),
                ('is_active', models.BooleanField(default=True, verbose_name='in use for new texts')),
                ('destroyed_at', models.DateTimeField(blank=True, null=True, verbose_name='destroyed')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'data key',
                'verbose_name_plural': 'data keys',
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', '-id'], name='inference_data_key_by_tenant')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('is_active', True)), fields=('tenant',), name='inference_data_key_one_active'), models.CheckConstraint(condition=models.Q(('destroyed_at__isnull', True), models.Q(('is_active', False), ('wrapped', '')), _connector='OR'), name='inference_data_key_destroyed_is_gone')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='LogPolicy',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('level', models.CharField(choices=[('nothing', 'Nothing'), ('summaries', 'Facts and redacted summaries'), ('full', 'Facts, summaries and the full text, encrypted')], default='summaries', max_length=16, verbose_name='level')),
                ('sample_percent', models.PositiveSmallIntegerField(default=100, verbose_name='sampled, percent')),
                ('retention_days', models.PositiveSmallIntegerField(default=30, verbose_name='kept, days')),
                ('kept_entities', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), blank=True, default=list, size=None, verbose_name='entities that are not masked')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'log policy',
                'verbose_name_plural': 'log policies',
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant',), name='inference_log_policy_once'), models.CheckConstraint(condition=models.Q(('level__in', ['nothing', 'summaries', 'full'])), name='inference_log_policy_level_known'), models.CheckConstraint(condition=models.Q(('sample_percent__lte', 100)), name='inference_log_policy_sample_bounded'), models.CheckConstraint(condition=models.Q(('retention_days__gte', 1), ('retention_days__lte', 3650)), name='inference_log_policy_retention_bounded')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        EnableRowLevelSecurity("calllog"),
        EnableRowLevelSecurity("calllogtext"),
        EnableRowLevelSecurity("datakey"),
        EnableRowLevelSecurity("logpolicy"),
        PartitionByMonth("calllog", "started_at"),
        PartitionByMonth("calllogtext", "started_at"),
        DropPartitions("calllog"),
        DropPartitions("calllogtext"),
        # With the column that partitions: the request's own, so every party writes the same.
        migrations.AddConstraint(
            model_name='calllog',
            constraint=models.UniqueConstraint(fields=('tenant', 'request_id', 'started_at'), name='inference_call_log_once'),
        ),
        migrations.AddConstraint(
            model_name='calllogtext',
            constraint=models.UniqueConstraint(fields=('tenant', 'request_id', 'started_at'), name='inference_call_text_once'),
        ),
    ]
