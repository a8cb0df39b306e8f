"""A platform role for people who look into the trails and do nothing else."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='user',
            name='platform_role',
            field=models.CharField(blank=True, choices=[('', 'None'), ('operator', 'Operator'), ('support', 'Support'), ('platform_auditor', 'Auditor')], default='', max_length=16, verbose_name='platform role'),
        ),
    ]
