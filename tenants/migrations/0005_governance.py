"""Exports, erasures with their certificates, and the record of retention."""

import core.ids
import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models

from core.rls import EnableRowLevelSecurity


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0004_closing'),
    ]

    operations = [
        migrations.CreateModel(
            name='RetentionRun',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('data_class', models.CharField(max_length=100, verbose_name='class of data')),
                ('is_dry_run', models.BooleanField(default=False, verbose_name='dry run')),
                ('removed', models.BigIntegerField(default=0, verbose_name='removed')),
                ('details', models.JSONField(default=list, verbose_name='details')),
                ('digest', models.CharField(max_length=64, verbose_name='digest')),
                ('ran_by', models.CharField(max_length=254, verbose_name='run by')),
                ('begun_at', models.DateTimeField(verbose_name='begun')),
                ('finished_at', models.DateTimeField(verbose_name='finished')),
            ],
            options={
                'verbose_name': 'retention run',
                'verbose_name_plural': 'retention runs',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['data_class', '-id'], name='tenants_retention_by_class')],
            },
        ),
        migrations.CreateModel(
            name='Erasure',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('kind', models.CharField(choices=[('end_user', "One end user's data"), ('tenant', 'The whole tenant')], max_length=16, verbose_name='kind')),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('expired', 'Expired')], default='waiting', max_length=16, verbose_name='state')),
                ('subject', models.TextField(blank=True, editable=False)),
                ('subject_digest', models.CharField(blank=True, max_length=64, verbose_name="end user's digest")),
                ('reason', models.CharField(max_length=1000, verbose_name='reason')),
                ('requested_by', models.CharField(max_length=254, verbose_name='requested by')),
                ('removed', models.JSONField(blank=True, default=dict, verbose_name='removed')),
                ('kept', models.JSONField(blank=True, default=dict, verbose_name='kept')),
                ('begun_at', models.DateTimeField(blank=True, null=True, verbose_name='begun')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished')),
                ('digest', models.CharField(blank=True, max_length=64, verbose_name='digest')),
                ('signature', models.CharField(blank=True, max_length=64, verbose_name='signature')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'erasure',
                'verbose_name_plural': 'erasures',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', '-id'], name='tenants_erasure_by_tenant')],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['waiting', 'running', 'done', 'failed', 'expired'])), name='tenants_erasure_state_known'), models.CheckConstraint(condition=models.Q(('kind__in', ['end_user', 'tenant'])), name='tenants_erasure_kind_known'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'done'), _negated=True), ('subject', ''), _connector='OR'), name='tenants_erasure_done_forgets')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='TenantExport',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('expired', 'Expired')], default='waiting', max_length=16, verbose_name='state')),
                ('steps_done', models.PositiveIntegerField(default=0, verbose_name='steps done')),
                ('steps', models.PositiveIntegerField(default=0, verbose_name='steps')),
                ('rows', models.PositiveBigIntegerField(default=0, verbose_name='rows')),
                ('size_bytes', models.PositiveBigIntegerField(default=0, verbose_name='size')),
                ('sha256', models.CharField(blank=True, max_length=64, verbose_name='digest (SHA-256)')),
                ('requested_by', models.CharField(blank=True, max_length=254, verbose_name='requested by')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished')),
                ('expires_at', models.DateTimeField(blank=True, null=True, verbose_name='expires')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'export',
                'verbose_name_plural': 'exports',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', '-id'], name='tenants_export_by_tenant')],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['waiting', 'running', 'done', 'failed', 'expired'])), name='tenants_export_state_known')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        EnableRowLevelSecurity("erasure"),
        EnableRowLevelSecurity("tenantexport"),
    ]
