"""Usage records, walled."""

import core.ids
import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models

from core.rls import EnableRowLevelSecurity


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='UsageRecord',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('request_id', models.CharField(max_length=100, verbose_name='request id')),
                ('key_id', models.UUIDField(blank=True, null=True, verbose_name='key')),
                ('user_id', models.UUIDField(blank=True, null=True, verbose_name='user')),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('version_id', models.UUIDField(blank=True, null=True, verbose_name='version')),
                ('deployment_id', models.UUIDField(blank=True, null=True, verbose_name='deployment')),
                ('replica', models.CharField(blank=True, max_length=200, verbose_name='replica')),
                ('route', models.CharField(blank=True, max_length=100, verbose_name='route')),
                ('stream', models.BooleanField(default=False, verbose_name='stream')),
                ('prompt_tokens', models.PositiveBigIntegerField(default=0, verbose_name='prompt tokens')),
                ('cached_tokens', models.PositiveBigIntegerField(default=0, verbose_name='of these cached')),
                ('completion_tokens', models.PositiveBigIntegerField(default=0, verbose_name='completion tokens')),
                ('queue_ms', models.PositiveBigIntegerField(default=0, verbose_name='waiting time')),
                ('first_token_ms', models.PositiveBigIntegerField(blank=True, null=True, verbose_name='time to first token')),
                ('duration_ms', models.PositiveBigIntegerField(default=0, verbose_name='duration')),
                ('outcome', models.CharField(choices=[('completed', 'Completed'), ('cancelled', 'Cancelled'), ('failed', 'Failed'), ('refused', 'Refused'), ('lost', 'Lost')], max_length=16, verbose_name='outcome')),
                ('error_code', models.CharField(blank=True, max_length=100, verbose_name='error')),
                ('end_user', models.CharField(blank=True, max_length=256, verbose_name='end user')),
                ('started_at', models.DateTimeField(verbose_name='started')),
                ('finished_at', models.DateTimeField(verbose_name='finished')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'usage record',
                'verbose_name_plural': 'usage records',
                'ordering': ['-finished_at', '-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', '-finished_at', '-id'], name='billing_usage_by_time')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'request_id'), name='billing_usage_once'), models.CheckConstraint(condition=models.Q(('outcome__in', ['completed', 'cancelled', 'failed', 'refused', 'lost'])), name='billing_usage_outcome_known')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        EnableRowLevelSecurity("usagerecord"),
    ]
