"""Plans, and the limits of tenants, walled."""

import core.ids
import django.core.validators
import django.db.models.deletion
import django.db.models.manager
from decimal import Decimal
from django.db import migrations, models

from core.rls import EnableRowLevelSecurity


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0001_initial'),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Plan',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('slug', models.CharField(error_messages={'unique': 'Another plan has this short name already.'}, max_length=40, unique=True, validators=[django.core.validators.MinLengthValidator(3), django.core.validators.RegexValidator('^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,39}\\Z', 'Use lower-case letters, digits and single hyphens. Begin with a letter, end without a hyphen.', code='invalid_slug')], verbose_name='short name')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('weight', models.DecimalField(decimal_places=3, default=Decimal('1'), max_digits=8, verbose_name='weight')),
                ('band', models.PositiveSmallIntegerField(default=0, verbose_name='band')),
                ('queue_limit', models.PositiveIntegerField(blank=True, null=True, verbose_name='queue limit')),
                ('allow_priority', models.BooleanField(default=False, verbose_name='allow priority')),
            ],
            options={
                'verbose_name': 'plan',
                'verbose_name_plural': 'plans',
                'ordering': ['slug'],
                'constraints': [models.CheckConstraint(condition=models.Q(('weight__gt', 0), ('weight__lte', 10000)), name='tenants_plan_weight_positive'), models.CheckConstraint(condition=models.Q(('band__lte', 9)), name='tenants_plan_band_bounded')],
            },
        ),
        migrations.AddField(
            model_name='tenant',
            name='plan',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.plan', verbose_name='plan'),
        ),
        migrations.CreateModel(
            name='Limit',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('owner', models.CharField(choices=[('platform', 'Platform'), ('tenant', 'Tenant')], max_length=16, verbose_name='owner')),
                ('kind', models.CharField(choices=[('requests_per_second', 'Requests per second'), ('requests_per_minute', 'Requests per minute'), ('requests_per_day', 'Requests per day'), ('tokens_per_minute', 'Tokens per minute'), ('tokens_per_day', 'Tokens per day'), ('concurrent_requests', 'Concurrent requests'), ('monthly_calls', 'Calls per month'), ('monthly_tokens', 'Tokens per month'), ('monthly_gpu_seconds', 'GPU-seconds per month'), ('monthly_money_nano', 'Money per month, in billionths of the currency unit')], max_length=32, verbose_name='kind')),
                ('value', models.BigIntegerField(verbose_name='value')),
                ('model', models.CharField(blank=True, max_length=200, verbose_name='model')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('key', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='access.apikey', verbose_name='key')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'limit',
                'verbose_name_plural': 'limits',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'owner', 'kind', 'key', 'model'), name='tenants_limit_once', nulls_distinct=False, violation_error_message='There is such a limit already. Change it instead.'), models.CheckConstraint(condition=models.Q(('value__gte', 0), ('value__lte', 9000000000000000)), name='tenants_limit_value_bounded'), models.CheckConstraint(condition=models.Q(('kind__in', ['requests_per_second', 'requests_per_minute', 'requests_per_day', 'tokens_per_minute', 'tokens_per_day', 'concurrent_requests', 'monthly_calls', 'monthly_tokens', 'monthly_gpu_seconds', 'monthly_money_nano'])), name='tenants_limit_kind_known'), models.CheckConstraint(condition=models.Q(('owner__in', ['platform', 'tenant'])), name='tenants_limit_owner_known')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        EnableRowLevelSecurity("limit"),
    ]
