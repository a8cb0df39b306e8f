"""Kept answers of idempotent requests, walled."""

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
            name='IdempotencyRecord',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('key_digest', models.CharField(max_length=64)),
                ('request_digest', models.CharField(max_length=64)),
                ('status', models.PositiveSmallIntegerField()),
                ('location', models.CharField(blank=True, max_length=500)),
                ('body', models.TextField()),
                ('expires_at', models.DateTimeField()),
                ('tenant', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('key_digest',), name='api_idempotency_once')],
                'indexes': [models.Index(fields=['expires_at'], name='api_idempotency_expiry'), models.Index(fields=['tenant'], name='api_idempotency_tenant')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        # The platform's own records (no tenant) are seen through the platform door only.
        EnableRowLevelSecurity("idempotencyrecord"),
    ]
