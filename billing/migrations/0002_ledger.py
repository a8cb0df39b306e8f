"""Price plans, the double-entry ledger, escrow, payments and corrections, walled; what a request was charged."""

import core.ids
import django.contrib.postgres.functions
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.manager
from django.db import migrations, models

from core.rls import AppendOnly, EnableRowLevelSecurity

# All entries of a transaction come in one statement, which must add up to zero: checked on the rows of the
# statement itself, so that neither row-level security nor the order of constraints has a say in it.
ENTRIES_BALANCE = """
CREATE FUNCTION billing_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM added GROUP BY transaction_id, currency HAVING sum(amount_nano) <> 0
    ) THEN
        RAISE EXCEPTION 'the entries of a ledger transaction must add up to zero'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_entries_balance AFTER INSERT ON billing_ledgerentry
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION billing_entries_balance();
ALTER TABLE billing_ledgerentry
    ADD CONSTRAINT billing_entry_account_owner FOREIGN KEY (account_id, tenant_id, currency)
        REFERENCES billing_account (id, tenant_id, currency),
    ADD CONSTRAINT billing_entry_transaction_owner FOREIGN KEY (transaction_id, tenant_id)
        REFERENCES billing_ledgertransaction (id, tenant_id);
"""
NO_ENTRIES_BALANCE = """
DROP TRIGGER billing_entries_balance ON billing_ledgerentry;
DROP FUNCTION billing_entries_balance();
ALTER TABLE billing_ledgerentry
    DROP CONSTRAINT billing_entry_account_owner, DROP CONSTRAINT billing_entry_transaction_owner;
"""

# Prices come with their version, in one transaction: a version that is in force does not change.
PRICES_COME_WITH_THEIR_VERSION = """
CREATE FUNCTION billing_price_with_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM billing_priceplanversion v
        WHERE v.id = NEW.version_id AND v.created_at = transaction_timestamp()
    ) THEN
        RAISE EXCEPTION 'prices are added together with their version only' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_price_with_version BEFORE INSERT ON billing_price
    FOR EACH ROW EXECUTE FUNCTION billing_price_with_version();
"""
NO_PRICES_COME_WITH_THEIR_VERSION = """
DROP TRIGGER billing_price_with_version ON billing_price;
DROP FUNCTION billing_price_with_version();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0001_initial'),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Account',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('adjustments', 'Adjustments'), ('credit', 'Credit granted'), ('escrow', 'Set aside'), ('payments', 'Payments'), ('revenue', 'Revenue'), ('uncollectable', 'Uncollectable'), ('wallet', 'Wallet')], max_length=16, verbose_name='kind')),
                ('currency', models.CharField(choices=[('CNY', 'CNY'), ('USD', 'USD')], max_length=3, verbose_name='currency')),
                ('balance_nano', models.BigIntegerField(default=0, verbose_name='balance')),
                ('entry_count', models.PositiveBigIntegerField(default=0, verbose_name='entries')),
                ('credit_limit_nano', models.BigIntegerField(default=0, verbose_name='credit line')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
            ],
            options={
                'verbose_name': 'account',
                'verbose_name_plural': 'accounts',
                'ordering': ['tenant', 'currency', 'kind'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Correction',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('amount_nano', models.BigIntegerField(verbose_name='amount')),
                ('currency', models.CharField(choices=[('CNY', 'CNY'), ('USD', 'USD')], max_length=3, verbose_name='currency')),
                ('reason', models.CharField(max_length=1000, verbose_name='reason')),
                ('state', models.CharField(choices=[('requested', 'Requested'), ('approved', 'Approved'), ('rejected', 'Rejected')], default='requested', max_length=16, verbose_name='state')),
                ('requested_by_id', models.UUIDField(blank=True, null=True, verbose_name='requested by (id)')),
                ('requested_by', models.CharField(max_length=254, verbose_name='requested by')),
                ('decided_by_id', models.UUIDField(blank=True, null=True, verbose_name='decided by (id)')),
                ('decided_by', models.CharField(blank=True, max_length=254, verbose_name='decided by')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decided')),
            ],
            options={
                'verbose_name': 'correction',
                'verbose_name_plural': 'corrections',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='EscrowEpoch',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('epoch', models.CharField(max_length=100, verbose_name='epoch')),
                ('currency', models.CharField(choices=[('CNY', 'CNY'), ('USD', 'USD')], max_length=3, verbose_name='currency')),
                ('granted_nano', models.BigIntegerField(default=0, verbose_name='set aside')),
                ('charged_nano', models.BigIntegerField(default=0, verbose_name='charged')),
                ('returned_nano', models.BigIntegerField(default=0, verbose_name='returned')),
                ('state', models.CharField(choices=[('open', 'Open'), ('closed', 'Closed')], default='open', max_length=8, verbose_name='state')),
                ('opened_at', models.DateTimeField(auto_now_add=True, verbose_name='opened')),
                ('closed_at', models.DateTimeField(blank=True, null=True, verbose_name='closed')),
            ],
            options={
                'verbose_name': 'escrow epoch',
                'verbose_name_plural': 'escrow epochs',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveBigIntegerField(verbose_name='number')),
                ('currency', models.CharField(max_length=3, verbose_name='currency')),
                ('amount_nano', models.BigIntegerField(verbose_name='amount')),
                ('balance_nano', models.BigIntegerField(verbose_name='balance afterwards')),
            ],
            options={
                'verbose_name': 'ledger entry',
                'verbose_name_plural': 'ledger entries',
                'ordering': ['transaction', 'id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='LedgerTransaction',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('top_up', 'Top-up'), ('refund', 'Refund'), ('credit', 'Credit grant'), ('grant', 'Set aside'), ('return', 'Returned'), ('usage', 'Usage'), ('uncollectable', 'Uncollectable'), ('correction', 'Correction')], max_length=16, verbose_name='kind')),
                ('currency', models.CharField(choices=[('CNY', 'CNY'), ('USD', 'USD')], max_length=3, verbose_name='currency')),
                ('reference', models.CharField(blank=True, max_length=200, verbose_name='reference')),
                ('reason', models.CharField(blank=True, max_length=1000, verbose_name='reason')),
                ('actor_kind', models.CharField(max_length=16, verbose_name='kind of actor')),
                ('actor_id', models.UUIDField(blank=True, null=True, verbose_name="actor's id")),
                ('actor_label', models.CharField(max_length=254, verbose_name='actor')),
                ('approver_id', models.UUIDField(blank=True, null=True, verbose_name="approver's id")),
                ('approver_label', models.CharField(blank=True, max_length=254, verbose_name='approver')),
                ('idempotency_key', models.CharField(max_length=255, verbose_name='idempotency key')),
                ('digest', models.CharField(editable=False, max_length=64)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
            ],
            options={
                'verbose_name': 'ledger transaction',
                'verbose_name_plural': 'ledger transactions',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Payment',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('provider', models.CharField(max_length=50, verbose_name='provider')),
                ('reference', models.CharField(max_length=200, verbose_name='reference')),
                ('amount_nano', models.BigIntegerField(verbose_name='amount')),
                ('currency', models.CharField(choices=[('CNY', 'CNY'), ('USD', 'USD')], max_length=3, verbose_name='currency')),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('confirmed', 'Confirmed'), ('failed', 'Failed'), ('refunded', 'Refunded')], default='pending', max_length=16, verbose_name='state')),
                ('note', models.CharField(blank=True, max_length=500, verbose_name='note')),
                ('pay_url', models.CharField(blank=True, max_length=2000, verbose_name='payment page')),
                ('created_by', models.CharField(max_length=254, verbose_name='created by')),
            ],
            options={
                'verbose_name': 'payment',
                'verbose_name_plural': 'payments',
                'ordering': ['-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='Price',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('input_nano', models.BigIntegerField(default=0, verbose_name='input, per million tokens')),
                ('cached_nano', models.BigIntegerField(default=0, verbose_name='cached input, per million tokens')),
                ('output_nano', models.BigIntegerField(default=0, verbose_name='output, per million tokens')),
                ('call_nano', models.BigIntegerField(default=0, verbose_name='per call')),
                ('gpu_second_nano', models.BigIntegerField(default=0, verbose_name='per GPU second')),
                ('slot_hour_nano', models.BigIntegerField(default=0, verbose_name='per hour of an occupied slot')),
                ('tiers', models.JSONField(blank=True, default=dict, verbose_name='tiers')),
                ('included', models.JSONField(blank=True, default=dict, verbose_name='included every month')),
            ],
            options={
                'verbose_name': 'price',
                'verbose_name_plural': 'prices',
                'ordering': ['version', 'model'],
            },
        ),
        migrations.CreateModel(
            name='PricePlan',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('slug', models.CharField(max_length=50, unique=True, validators=[django.core.validators.RegexValidator('^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?\\Z', 'Use lower-case letters, digits and hyphens; begin and end with a letter or digit.', code='invalid_slug')], verbose_name='short name')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('currency', models.CharField(choices=[('CNY', 'CNY'), ('USD', 'USD')], max_length=3, verbose_name='currency')),
            ],
            options={
                'verbose_name': 'price plan',
                'verbose_name_plural': 'price plans',
                'ordering': ['slug'],
            },
        ),
        migrations.CreateModel(
            name='PricePlanVersion',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField(verbose_name='number')),
                ('valid_from', models.DateTimeField(verbose_name='valid from')),
                ('note', models.CharField(blank=True, max_length=500, verbose_name='note')),
                ('created_at', models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False, verbose_name='created')),
            ],
            options={
                'verbose_name': 'price plan version',
                'verbose_name_plural': 'price plan versions',
                'ordering': ['plan', '-number'],
            },
        ),
        migrations.CreateModel(
            name='PriceSubscription',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('valid_from', models.DateTimeField(verbose_name='valid from')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
            ],
            options={
                'verbose_name': 'price subscription',
                'verbose_name_plural': 'price subscriptions',
                'ordering': ['-valid_from', '-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='UsageCounter',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('month', models.DateField(verbose_name='month')),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('input', models.BigIntegerField(default=0, verbose_name='input tokens')),
                ('cached', models.BigIntegerField(default=0, verbose_name='cached input tokens')),
                ('output', models.BigIntegerField(default=0, verbose_name='output tokens')),
                ('calls', models.BigIntegerField(default=0, verbose_name='calls')),
                ('gpu_ns', models.BigIntegerField(default=0, verbose_name='GPU nanoseconds')),
                ('slot_ms', models.BigIntegerField(default=0, verbose_name='slot milliseconds')),
            ],
            options={
                'verbose_name': 'usage counter',
                'verbose_name_plural': 'usage counters',
                'ordering': ['-month', 'model'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='charge_nano',
            field=models.BigIntegerField(default=0, verbose_name='charged'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='currency',
            field=models.CharField(blank=True, default='', max_length=3, verbose_name='currency'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='epoch',
            field=models.CharField(blank=True, default='', max_length=100, verbose_name='epoch'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='escrow_nano',
            field=models.BigIntegerField(default=0, verbose_name='charged to the hold'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='gpu_decode_ns',
            field=models.PositiveBigIntegerField(default=0, verbose_name='GPU time for the answer'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='gpu_prefill_ns',
            field=models.PositiveBigIntegerField(default=0, verbose_name='GPU time for the prompt'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='hold_nano',
            field=models.BigIntegerField(default=0, verbose_name='held'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='is_settled',
            field=models.BooleanField(default=False, verbose_name='settled'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='ledger_transaction_id',
            field=models.UUIDField(blank=True, null=True, verbose_name='ledger transaction'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='price_id',
            field=models.UUIDField(blank=True, null=True, verbose_name='price'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='rated_nano',
            field=models.BigIntegerField(default=0, verbose_name='rated'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='tags',
            field=models.JSONField(blank=True, default=dict, verbose_name='tags'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('ledger_transaction_id__isnull', False)), fields=['tenant', 'ledger_transaction_id'], name='billing_usage_by_transaction'),
        ),
        migrations.AddConstraint(
            model_name='usagerecord',
            constraint=models.CheckConstraint(condition=models.Q(('charge_nano__gte', 0), ('charge_nano__lte', models.F('hold_nano')), ('escrow_nano__gte', 0), ('escrow_nano__lte', models.F('hold_nano'))), name='billing_usage_charge_within_hold'),
        ),
        migrations.AddField(
            model_name='account',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='correction',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='escrowepoch',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.account', verbose_name='account'),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='ledgertransaction',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='transaction',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.ledgertransaction', verbose_name='transaction'),
        ),
        migrations.AddField(
            model_name='correction',
            name='corrects',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgertransaction', verbose_name='corrects'),
        ),
        migrations.AddField(
            model_name='correction',
            name='transaction',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgertransaction', verbose_name='ledger transaction'),
        ),
        migrations.AddField(
            model_name='payment',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='payment',
            name='transaction',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgertransaction', verbose_name='ledger transaction'),
        ),
        migrations.AddConstraint(
            model_name='priceplan',
            constraint=models.CheckConstraint(condition=models.Q(('currency__in', ['CNY', 'USD'])), name='billing_plan_currency_known'),
        ),
        migrations.AddConstraint(
            model_name='priceplan',
            constraint=models.CheckConstraint(condition=models.Q(('slug__regex', '^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$')), name='billing_plan_slug_form'),
        ),
        migrations.AddField(
            model_name='priceplanversion',
            name='plan',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='billing.priceplan', verbose_name='price plan'),
        ),
        migrations.AddField(
            model_name='price',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='prices', to='billing.priceplanversion', verbose_name='version'),
        ),
        migrations.AddField(
            model_name='pricesubscription',
            name='plan',
            field=models.ForeignKey(blank=True, help_text='Empty: from then on the tenant is not charged.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='subscriptions', to='billing.priceplan', verbose_name='price plan'),
        ),
        migrations.AddField(
            model_name='pricesubscription',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='usagecounter',
            name='plan',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.priceplan', verbose_name='price plan'),
        ),
        migrations.AddField(
            model_name='usagecounter',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.UniqueConstraint(fields=('tenant', 'currency', 'kind'), name='billing_account_once'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.UniqueConstraint(fields=('id', 'tenant', 'currency'), name='billing_account_owner'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['adjustments', 'credit', 'escrow', 'payments', 'revenue', 'uncollectable', 'wallet'])), name='billing_account_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(('currency__in', ['CNY', 'USD'])), name='billing_account_currency_known'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('credit_limit_nano__gte', 0), ('kind', 'wallet')), ('credit_limit_nano', 0), _connector='OR'), name='billing_account_credit_line'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'wallet'), _negated=True), ('balance_nano__gte', django.db.models.expressions.CombinedExpression(models.F('credit_limit_nano'), '*', models.Value(-1))), _connector='OR'), name='billing_account_not_overdrawn'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind__in', ['escrow', 'revenue']), _negated=True), ('balance_nano__gte', 0), _connector='OR'), name='billing_account_not_negative'),
        ),
        migrations.AddIndex(
            model_name='escrowepoch',
            index=models.Index(condition=models.Q(('state', 'open')), fields=['epoch'], name='billing_epoch_open'),
        ),
        migrations.AddConstraint(
            model_name='escrowepoch',
            constraint=models.UniqueConstraint(fields=('tenant', 'epoch', 'currency'), name='billing_epoch_once'),
        ),
        migrations.AddConstraint(
            model_name='escrowepoch',
            constraint=models.CheckConstraint(condition=models.Q(('charged_nano__gte', 0), ('granted_nano__gte', 0), ('returned_nano__gte', 0), ('granted_nano__gte', django.db.models.expressions.CombinedExpression(models.F('charged_nano'), '+', models.F('returned_nano')))), name='billing_epoch_not_overspent'),
        ),
        migrations.AddConstraint(
            model_name='escrowepoch',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('closed_at__isnull', True), ('state', 'open')), models.Q(('closed_at__isnull', False), ('granted_nano', django.db.models.expressions.CombinedExpression(models.F('charged_nano'), '+', models.F('returned_nano'))), ('state', 'closed')), _connector='OR'), name='billing_epoch_closed_is_empty'),
        ),
        migrations.AddIndex(
            model_name='ledgertransaction',
            index=models.Index(fields=['tenant', '-id'], name='billing_transaction_by_time'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.UniqueConstraint(fields=('tenant', 'idempotency_key'), name='billing_transaction_once'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.UniqueConstraint(fields=('id', 'tenant'), name='billing_transaction_owner'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['top_up', 'refund', 'credit', 'grant', 'return', 'usage', 'uncollectable', 'correction'])), name='billing_transaction_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nano', 0), _negated=True), name='billing_entry_not_nothing'),
        ),
        migrations.AddConstraint(
            model_name='ledgerentry',
            constraint=models.UniqueConstraint(fields=('account', 'number'), name='billing_entry_once'),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(fields=['tenant', '-id'], name='billing_correction_by_time'),
        ),
        migrations.AddConstraint(
            model_name='correction',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nano', 0), _negated=True), name='billing_correction_amount'),
        ),
        migrations.AddConstraint(
            model_name='correction',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='billing_correction_reason'),
        ),
        migrations.AddConstraint(
            model_name='correction',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'approved'), _negated=True), models.Q(('decided_by_id__isnull', False), ('transaction__isnull', False), models.Q(('requested_by_id__isnull', True), models.Q(('decided_by_id', models.F('requested_by_id')), _negated=True), _connector='OR')), _connector='OR'), name='billing_correction_four_eyes'),
        ),
        migrations.AddConstraint(
            model_name='correction',
            constraint=models.CheckConstraint(condition=models.Q(('state', 'approved'), ('transaction__isnull', True), _connector='OR'), name='billing_correction_in_ledger'),
        ),
        migrations.AddConstraint(
            model_name='payment',
            constraint=models.UniqueConstraint(fields=('tenant', 'provider', 'reference'), name='billing_payment_once'),
        ),
        migrations.AddConstraint(
            model_name='payment',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nano__gt', 0)), name='billing_payment_amount'),
        ),
        migrations.AddConstraint(
            model_name='payment',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['pending', 'confirmed', 'failed', 'refunded'])), name='billing_payment_state_known'),
        ),
        migrations.AddConstraint(
            model_name='payment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state__in', ['confirmed', 'refunded']), ('transaction__isnull', False)), models.Q(('state__in', ['pending', 'failed']), ('transaction__isnull', True)), _connector='OR'), name='billing_payment_in_ledger'),
        ),
        migrations.AddIndex(
            model_name='priceplanversion',
            index=models.Index(fields=['plan', '-valid_from', '-number'], name='billing_plan_version_in_force'),
        ),
        migrations.AddConstraint(
            model_name='priceplanversion',
            constraint=models.UniqueConstraint(fields=('plan', 'number'), name='billing_plan_version_once'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.UniqueConstraint(fields=('version', 'model'), name='billing_price_once'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('input_nano__gte', 0), ('input_nano__lte', 1000000000000000)), name='billing_price_input_nano'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('cached_nano__gte', 0), ('cached_nano__lte', 1000000000000000)), name='billing_price_cached_nano'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('output_nano__gte', 0), ('output_nano__lte', 1000000000000000)), name='billing_price_output_nano'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('call_nano__gte', 0), ('call_nano__lte', 1000000000000000)), name='billing_price_call_nano'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('gpu_second_nano__gte', 0), ('gpu_second_nano__lte', 1000000000000000)), name='billing_price_gpu_second_nano'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('slot_hour_nano__gte', 0), ('slot_hour_nano__lte', 1000000000000000)), name='billing_price_slot_hour_nano'),
        ),
        migrations.AddIndex(
            model_name='pricesubscription',
            index=models.Index(fields=['tenant', '-valid_from', '-id'], name='billing_subscription_in_force'),
        ),
        migrations.AddConstraint(
            model_name='usagecounter',
            constraint=models.UniqueConstraint(fields=('tenant', 'month', 'plan', 'model'), name='billing_usage_counter_once'),
        ),
        migrations.AddConstraint(
            model_name='usagecounter',
            constraint=models.CheckConstraint(condition=models.Q(('cached__gte', 0), ('calls__gte', 0), ('gpu_ns__gte', 0), ('input__gte', 0), ('output__gte', 0), ('slot_ms__gte', 0)), name='billing_usage_counter_not_negative'),
        ),
        migrations.RunSQL(ENTRIES_BALANCE, NO_ENTRIES_BALANCE),
        migrations.RunSQL(PRICES_COME_WITH_THEIR_VERSION, NO_PRICES_COME_WITH_THEIR_VERSION),
        *(
            EnableRowLevelSecurity(name)
            for name in (
                *("account", "ledgertransaction", "ledgerentry", "escrowepoch", "usagecounter"),
                *("pricesubscription", "payment", "correction"),
            )
        ),
        *(
            AppendOnly(name)
            for name in (
                *("priceplanversion", "price", "pricesubscription", "ledgertransaction", "ledgerentry"),
            )
        ),
    ]
