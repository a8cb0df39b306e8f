"""Tenants and memberships, walled."""

import core.ids
import django.core.validators
import django.db.models.deletion
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from core.rls import OWN_ROWS, TENANT, USER, EnableRowLevelSecurity, Policy


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Tenant',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('slug', models.CharField(error_messages={'unique': 'Another tenant has this short name already.'}, help_text="Part of the tenant's own path, /t/<short name>/v1. It never changes.", max_length=40, unique=True, validators=[django.core.validators.MinLengthValidator(3), django.core.validators.RegexValidator('^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,39}\\Z', 'Use lower-case letters, digits and single hyphens. Begin with a letter, end without a hyphen.', code='invalid_slug')], verbose_name='short name')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('status', models.CharField(choices=[('active', 'Active'), ('suspended', 'Suspended'), ('closing', 'Closing')], default='active', max_length=16, verbose_name='status')),
                ('group', models.OneToOneField(editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='tenant', to='auth.group', verbose_name='group')),
            ],
            options={
                'verbose_name': 'tenant',
                'verbose_name_plural': 'tenants',
                'ordering': ['slug'],
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('admin', 'Admin'), ('developer', 'Developer'), ('billing', 'Billing'), ('viewer', 'Viewer')], max_length=16, verbose_name='role')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='user')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'membership',
                'verbose_name_plural': 'memberships',
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddConstraint(
            model_name='tenant',
            constraint=models.CheckConstraint(condition=models.Q(('slug__regex', '^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,39}$')), name='tenants_tenant_slug_form'),
        ),
        migrations.AddConstraint(
            model_name='tenant',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['active', 'suspended', 'closing'])), name='tenants_tenant_status_known'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('tenant', 'user'), name='tenants_membership_once', violation_error_message='This person is a member already.'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['owner', 'admin', 'developer', 'billing', 'viewer'])), name='tenants_membership_role_known'),
        ),
        # The membership table's policies do not look at the tenant table, so the two cannot recurse.
        EnableRowLevelSecurity(
            "membership",
            policies=(OWN_ROWS, Policy("own_memberships", f"user_id = {USER}", command="SELECT")),
        ),
        # No policy to INSERT or DELETE: tenants are made and removed through the platform door.
        EnableRowLevelSecurity(
            "tenant",
            policies=(
                Policy("tenant_itself", f"id = {TENANT}", command="SELECT"),
                Policy("tenant_changes_itself", f"id = {TENANT}", command="UPDATE"),
                Policy(
                    "tenants_of_member",
                    f"id IN (SELECT tenant_id FROM tenants_membership WHERE user_id = {USER})",
                    command="SELECT",
                ),
            ),
        ),
    ]
