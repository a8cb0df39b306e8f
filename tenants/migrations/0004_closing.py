"""When a tenant began to close, and that it is closed."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('tenants', '0003_auditor'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='tenant',
            name='tenants_tenant_status_known',
        ),
        migrations.AddField(
            model_name='tenant',
            name='closing_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='closing since'),
        ),
        migrations.AlterField(
            model_name='tenant',
            name='status',
            field=models.CharField(choices=[('active', 'Active'), ('suspended', 'Suspended'), ('closing', 'Closing'), ('closed', 'Closed')], default='active', max_length=16, verbose_name='status'),
        ),
        migrations.AddConstraint(
            model_name='tenant',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['active', 'suspended', 'closing', 'closed'])), name='tenants_tenant_status_known'),
        ),
    ]
