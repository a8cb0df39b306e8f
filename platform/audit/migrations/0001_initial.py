"""The audit trail, walled and append-only."""

import core.clock
import core.ids
import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models

from core.rls import TENANT, AppendOnly, EnableRowLevelSecurity, Policy


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditEvent',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('occurred_at', models.DateTimeField(default=core.clock.now, verbose_name='time')),
                ('action', models.CharField(max_length=100, verbose_name='action')),
                ('actor_kind', models.CharField(max_length=16, verbose_name='kind of actor')),
                ('actor_id', models.UUIDField(null=True, verbose_name="actor's id")),
                ('actor_label', models.CharField(max_length=254, verbose_name='actor')),
                ('actor_role', models.CharField(blank=True, max_length=32, verbose_name='role')),
                ('address', models.CharField(blank=True, max_length=64, verbose_name='network address')),
                ('target_type', models.CharField(blank=True, max_length=100, verbose_name='kind of object')),
                ('target_id', models.CharField(blank=True, max_length=100, verbose_name="object's id")),
                ('target_label', models.CharField(blank=True, max_length=254, verbose_name='object')),
                ('reason', models.CharField(blank=True, max_length=1000, verbose_name='reason')),
                ('before', models.JSONField(null=True, verbose_name='before')),
                ('after', models.JSONField(null=True, verbose_name='after')),
                ('request_id', models.CharField(blank=True, max_length=100, verbose_name='request id')),
                ('tenant', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'audit event',
                'verbose_name_plural': 'audit events',
                'ordering': ['-id'],
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', '-id'], name='audit_event_by_tenant'), models.Index(fields=['tenant', 'target_id', '-id'], name='audit_event_by_target')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        EnableRowLevelSecurity(
            "auditevent",
            policies=(
                Policy("tenant_reads", f"tenant_id = {TENANT}", command="SELECT"),
                # Events of the platform itself (no tenant) are written from anywhere, read through the platform door.
                Policy(
                    "tenant_writes",
                    "",
                    command="INSERT",
                    check=f"tenant_id IS NULL OR tenant_id = {TENANT}",
                ),
            ),
        ),
        AppendOnly("auditevent"),
    ]
