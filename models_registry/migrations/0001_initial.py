"""The registry's tables, each with its wall.

None of the policies recurses: Model's asks the grants, the grants' ask nobody, the children's ask Model. For that
the grants carry the owner's tenant themselves, and a foreign key of two columns keeps them truthful: a row cannot
name an owner that the model does not have. (Where the owner is the platform, the column is null and only the
platform door may write.)
"""

import core.ids
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from core.rls import OWN_ROWS, TENANT, EnableRowLevelSecurity, Policy

VISIBLE_MODEL = "EXISTS (SELECT 1 FROM models_registry_model m WHERE m.id = model_id)"
VISIBLE_VERSION = "EXISTS (SELECT 1 FROM models_registry_modelversion v WHERE v.id = version_id)"

# Rows of a child table: one's own, and the platform's where the version can be seen. Another tenant's alias or
# dedicated deployment stays unseen, also when the model is public.
OWN_OR_PLATFORM = (
    Policy("own_rows", f"tenant_id = {TENANT}", check=f"tenant_id = {TENANT} AND {VISIBLE_VERSION}"),
    Policy(
        "platform_rows_of_visible_models",
        f"tenant_id IS NULL AND {TENANT} IS NOT NULL AND {VISIBLE_VERSION}",
        command="SELECT",
    ),
)


def owner_key(table: str, column: str, owner: str) -> migrations.RunSQL:
    """A foreign key that holds `owner` to the tenant of the model that `column` names."""
    name = f"{table}_owner_fk"
    return migrations.RunSQL(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}, {owner})"
        " REFERENCES models_registry_model (id, tenant_id) DEFERRABLE INITIALLY IMMEDIATE",
        f"ALTER TABLE {table} DROP CONSTRAINT {name}",
    )


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('tenants', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Model',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('namespace', models.CharField(blank=True, default='', editable=False, max_length=40, verbose_name='namespace')),
                ('name', models.CharField(max_length=100, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9._-]{0,99}\\Z', 'Use lower-case letters, digits, dots, hyphens and underscores; begin with a letter or digit.', code='invalid_name')], verbose_name='name')),
                ('title', models.CharField(blank=True, max_length=200, verbose_name='title')),
                ('description', models.TextField(blank=True, max_length=10000, verbose_name='description')),
                ('task', models.CharField(choices=[('chat', 'Chat'), ('completion', 'Completion'), ('embedding', 'Embedding')], default='chat', max_length=16, verbose_name='task')),
                ('licence', models.CharField(blank=True, max_length=100, verbose_name='licence')),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, size=None, verbose_name='tags')),
                ('visibility', models.CharField(choices=[('private', 'Private'), ('granted', 'Granted'), ('public', 'Public')], default='private', max_length=16, verbose_name='visibility')),
                ('restrict_to_members', models.BooleanField(default=False, help_text='On: inside a tenant, only members with a grant of their own may invoke the model.', verbose_name='only named members')),
                ('tenant', models.ForeignKey(blank=True, help_text='Empty: the platform itself.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'model',
                'verbose_name_plural': 'models',
                'ordering': ['name', 'id'],
                'permissions': [('invoke_model', 'Can invoke model'), ('deploy_model', 'Can deploy model'), ('manage_model', 'Can manage model')],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='MemberGrant',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('membership', models.ForeignKey(editable=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.membership', verbose_name='membership')),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='member_grants', to='models_registry.model', verbose_name='model')),
            ],
            options={
                'verbose_name': 'grant to a member',
                'verbose_name_plural': 'grants to members',
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='ModelVersion',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('number', models.PositiveIntegerField(editable=False, verbose_name='number')),
                ('label', models.CharField(blank=True, max_length=100, verbose_name='label')),
                ('state', models.CharField(choices=[('draft', 'Draft'), ('training', 'Training'), ('staging', 'Staging'), ('online', 'Online'), ('deprecated', 'Deprecated'), ('retired', 'Retired')], default='draft', editable=False, max_length=16, verbose_name='state')),
                ('source', models.CharField(choices=[('folder', 'Folder'), ('remote', 'Remote'), ('simulated', 'Simulated')], editable=False, max_length=16, verbose_name='source')),
                ('artifact_path', models.CharField(blank=True, editable=False, max_length=1000, verbose_name='folder')),
                ('manifest', models.JSONField(blank=True, default=dict, editable=False, verbose_name='manifest')),
                ('digest', models.CharField(blank=True, editable=False, max_length=64, verbose_name='digest')),
                ('architecture', models.CharField(blank=True, editable=False, max_length=100, verbose_name='architecture')),
                ('context_length', models.PositiveIntegerField(blank=True, null=True, verbose_name='context length')),
                ('parameters', models.PositiveBigIntegerField(blank=True, editable=False, null=True, verbose_name='parameters')),
                ('size_bytes', models.PositiveBigIntegerField(blank=True, editable=False, null=True, verbose_name='size')),
                ('model', models.ForeignKey(editable=False, on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='models_registry.model', verbose_name='model')),
                ('tenant', models.ForeignKey(blank=True, help_text='Empty: the platform itself.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'version',
                'verbose_name_plural': 'versions',
                'ordering': ['model', '-number'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Deployment',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('name', models.CharField(max_length=100, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9._-]{0,99}\\Z', 'Use lower-case letters, digits, dots, hyphens and underscores; begin with a letter or digit.', code='invalid_name')], verbose_name='name')),
                ('engine', models.CharField(choices=[('vllm', 'vLLM'), ('openai', 'OpenAI-compatible server'), ('simulated', 'Simulated')], editable=False, max_length=16, verbose_name='engine')),
                ('desired_replicas', models.PositiveSmallIntegerField(default=1, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(64)], verbose_name='replicas')),
                ('running', models.BooleanField(default=True, verbose_name='running')),
                ('engine_args', models.JSONField(blank=True, default=dict, verbose_name='engine arguments')),
                ('pool', models.CharField(default='default', max_length=40, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9-]{0,39}\\Z', code='invalid_name')], verbose_name='pool')),
                ('remote_base_url', models.CharField(blank=True, max_length=500, verbose_name='address')),
                ('remote_model', models.CharField(blank=True, max_length=200, verbose_name='model there')),
                ('remote_credential', models.TextField(blank=True, editable=False, verbose_name='credential')),
                ('tenant', models.ForeignKey(blank=True, help_text='Empty: the platform itself.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='tenant')),
                ('version', models.ForeignKey(editable=False, on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='models_registry.modelversion', verbose_name='version')),
            ],
            options={
                'verbose_name': 'deployment',
                'verbose_name_plural': 'deployments',
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
            name='Alias',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('name', models.CharField(max_length=150, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9][A-Za-z0-9._:/-]{0,149}\\Z', 'Use letters, digits and . _ : / -; begin with a letter or digit.', code='invalid_name')], verbose_name='name')),
                ('tenant', models.ForeignKey(blank=True, help_text='Empty: the platform itself.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='tenant')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='aliases', to='models_registry.modelversion', verbose_name='version')),
            ],
            options={
                'verbose_name': 'alias',
                'verbose_name_plural': 'aliases',
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
            name='TenantGrant',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tenant_grants', to='models_registry.model', verbose_name='model')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.group')),
                ('owner', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='owner')),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'grant to a tenant',
                'verbose_name_plural': 'grants to tenants',
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddIndex(
            model_name='model',
            index=models.Index(condition=models.Q(('visibility', 'public')), fields=['visibility'], name='models_registry_model_public'),
        ),
        migrations.AddConstraint(
            model_name='model',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='models_registry_model_name_once', nulls_distinct=False, violation_error_message='A model of this name exists already.'),
        ),
        migrations.AddConstraint(
            model_name='model',
            constraint=models.UniqueConstraint(fields=('id', 'tenant'), name='models_registry_model_owner'),
        ),
        migrations.AddConstraint(
            model_name='model',
            constraint=models.CheckConstraint(condition=models.Q(('name__regex', '^[a-z0-9][a-z0-9._-]{0,99}$')), name='models_registry_model_name_form'),
        ),
        migrations.AddConstraint(
            model_name='model',
            constraint=models.CheckConstraint(condition=models.Q(('visibility__in', ['private', 'granted', 'public'])), name='models_registry_model_visibility_known'),
        ),
        migrations.AddConstraint(
            model_name='model',
            constraint=models.CheckConstraint(condition=models.Q(('task__in', ['chat', 'completion', 'embedding'])), name='models_registry_model_task_known'),
        ),
        migrations.AddConstraint(
            model_name='model',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('namespace', ''), ('tenant__isnull', True)), models.Q(('tenant__isnull', False), models.Q(('namespace', ''), _negated=True)), _connector='OR'), name='models_registry_model_namespace'),
        ),
        migrations.AddConstraint(
            model_name='membergrant',
            constraint=models.UniqueConstraint(fields=('tenant', 'user', 'content_object', 'permission'), name='models_registry_membergrant_once'),
        ),
        migrations.AddConstraint(
            model_name='modelversion',
            constraint=models.UniqueConstraint(fields=('model', 'number'), name='models_registry_version_once'),
        ),
        migrations.AddConstraint(
            model_name='modelversion',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['draft', 'training', 'staging', 'online', 'deprecated', 'retired'])), name='models_registry_version_state_known'),
        ),
        migrations.AddConstraint(
            model_name='modelversion',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('source', 'folder'), _negated=True), ('state__in', ['draft', 'training', 'retired']), models.Q(models.Q(('digest', ''), _negated=True), models.Q(('artifact_path', ''), _negated=True)), _connector='OR'), name='models_registry_version_verified'),
        ),
        migrations.AddIndex(
            model_name='deployment',
            index=models.Index(condition=models.Q(('running', True)), fields=['version'], name='models_registry_deploy_running'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='models_registry_deployment_once', nulls_distinct=False, violation_error_message='A deployment of this name exists already.'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.CheckConstraint(condition=models.Q(('name__regex', '^[a-z0-9][a-z0-9._-]{0,99}$')), name='models_registry_deployment_name_form'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.CheckConstraint(condition=models.Q(('desired_replicas__gte', 1), ('desired_replicas__lte', 64)), name='models_registry_deployment_replicas'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.CheckConstraint(condition=models.Q(('engine__in', ['vllm', 'openai', 'simulated'])), name='models_registry_deployment_engine'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('engine', 'openai'), models.Q(('remote_base_url', ''), _negated=True)), models.Q(models.Q(('engine', 'openai'), _negated=True), ('remote_base_url', ''), ('remote_credential', ''), ('remote_model', '')), _connector='OR'), name='models_registry_deployment_remote'),
        ),
        migrations.AddConstraint(
            model_name='alias',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='models_registry_alias_once', nulls_distinct=False, violation_error_message='An alias of this name exists already.'),
        ),
        migrations.AddConstraint(
            model_name='alias',
            constraint=models.CheckConstraint(condition=models.Q(('name__regex', '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,149}$')), name='models_registry_alias_name_form'),
        ),
        migrations.AddIndex(
            model_name='tenantgrant',
            index=models.Index(fields=['tenant', 'content_object'], name='models_registry_tgr_seen'),
        ),
        migrations.AddConstraint(
            model_name='tenantgrant',
            constraint=models.UniqueConstraint(fields=('content_object', 'group', 'permission'), name='models_registry_tenantgrant_once'),
        ),
        owner_key("models_registry_modelversion", "model_id", "tenant_id"),
        owner_key("models_registry_tenantgrant", "content_object_id", "owner_id"),
        EnableRowLevelSecurity("membergrant", policies=(OWN_ROWS,)),
        EnableRowLevelSecurity(
            "tenantgrant",
            policies=(
                Policy("received", f"tenant_id = {TENANT}", command="SELECT"),
                Policy("given", f"owner_id = {TENANT}"),
                # Whoever got a grant may not rewrite it: an error, instead of a change of no rows.
                Policy("received_as_it_is", f"tenant_id = {TENANT}", command="UPDATE", check="false"),
            ),
        ),
        EnableRowLevelSecurity(
            "model",
            policies=(
                Policy("own_rows", f"tenant_id = {TENANT}"),
                Policy("public_rows", f"visibility = 'public' AND {TENANT} IS NOT NULL", command="SELECT"),
                Policy(
                    "granted_rows",
                    "EXISTS (SELECT 1 FROM models_registry_tenantgrant g"
                    f" WHERE g.content_object_id = models_registry_model.id AND g.tenant_id = {TENANT})",
                    command="SELECT",
                ),
            ),
        ),
        EnableRowLevelSecurity(
            "modelversion",
            policies=(
                Policy("own_rows", f"tenant_id = {TENANT}"),
                Policy("rows_of_visible_models", VISIBLE_MODEL, command="SELECT"),
            ),
        ),
        EnableRowLevelSecurity("alias", policies=OWN_OR_PLATFORM),
        EnableRowLevelSecurity("deployment", policies=OWN_OR_PLATFORM),
    ]
