"""The billing centre: usage by month, roll-ups kept by triggers, budgets, invoices, reconciliation."""

import core.ids
import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models

from core.partitions import PartitionByMonth
from core.rls import AppendOnly, EnableRowLevelSecurity

# --- Roll-ups ---------------------------------------------------------------------------------------------------
# One text for all: what statements of INSERT, UPDATE and DELETE add (sign 1) and take away (sign -1), and what a
# rebuilding reads. Counts are bounded per request, far above what is possible, so that no absurd record can
# overflow a sum and hold up those behind it.
TOKENS, TIME = 10**12, 10**15
MEASURES = {
    "requests": "sum(r.sign)",
    "prompt_tokens": f"sum(r.sign * least(r.prompt_tokens, {TOKENS}))",
    "cached_tokens": f"sum(r.sign * least(r.cached_tokens, {TOKENS}))",
    "completion_tokens": f"sum(r.sign * least(r.completion_tokens, {TOKENS}))",
    "gpu_ns": f"sum(r.sign * (least(r.gpu_prefill_ns, {TIME}) + least(r.gpu_decode_ns, {TIME})))",
    "slot_ms": f"sum(r.sign * least(greatest(r.duration_ms - r.queue_ms, 0), {TIME}))",
    "charge_nano": "sum(r.sign * r.charge_nano)",
}
READ = (
    "tenant_id, started_at, model, currency, key_id, user_id, outcome, price_id, tags, prompt_tokens, cached_tokens,"
    " completion_tokens, gpu_prefill_ns, gpu_decode_ns, duration_ms, queue_ms, charge_nano"
)
BUCKET = ["tenant_id", "grain", "begin", "model", "currency"]
VALUES = ["r.tenant_id", "g.grain", "date_trunc(g.grain, r.started_at, 'UTC')", "r.model", "r.currency"]
# At most eight tags of a request count, the first by name: bounded work and rows.
TAGS = (
    "CROSS JOIN LATERAL (SELECT left(key, 64) AS name, left(value, 200) AS value"
    " FROM jsonb_each_text(CASE jsonb_typeof(r.tags) WHEN 'object' THEN r.tags ELSE '{}' END)"
    ' ORDER BY key COLLATE "C" LIMIT 8) t'
)


def add_up(source, *, table, dimensions, values, arbiter, join=""):
    """The statement that adds what `source` holds to a table of roll-ups, in one order for all writers."""
    sums = {name: f"({text})::bigint" for name, text in MEASURES.items()}
    groups = ", ".join(str(number + 2) for number in range(len(values)))
    return f"""
  INSERT INTO public.{table} AS kept (id, {", ".join(dimensions)}, {", ".join(sums)})
  SELECT gen_random_uuid(), {", ".join(values)}, {", ".join(sums.values())}
  FROM ({source}) r CROSS JOIN (VALUES ('hour'), ('day')) g(grain) {join}
  GROUP BY {groups}
  HAVING {" OR ".join(f"{text} <> 0" for text in MEASURES.values())}
  ORDER BY {groups}
  ON CONFLICT ({arbiter}) DO UPDATE SET
    {", ".join(f"{name} = kept.{name} + excluded.{name}" for name in sums)};"""


def both(source):
    """The statements for both tables."""
    return add_up(
        source,
        table="billing_usagerollup",
        dimensions=[*BUCKET, "key_id", "user_id", "outcome", "price_id"],
        values=[*VALUES, "r.key_id", "r.user_id", "r.outcome", "r.price_id"],
        arbiter="tenant_id, grain, begin, model, key_id, user_id, outcome, currency, price_id",
    ) + add_up(
        source + " WHERE tags <> '{}'" if " UNION " not in source else f"SELECT * FROM ({source}) b WHERE tags <> '{{}}'",
        table="billing_tagrollup",
        dimensions=[*BUCKET, "name", "value"],
        values=[*VALUES, "t.name", "t.value"],
        arbiter="tenant_id, grain, name, begin, value, model, currency",
        join=TAGS,
    )


def trigger(event, source, tables):
    """The function and trigger for one kind of statement on the usage table."""
    name = f"billing_usage_rolls_up_{event.lower()}"
    return f"""
CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  -- Shared: a rebuilding of a tenant's roll-ups waits for writers, and they for it.
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('billing rollups ' || tenant_id::text, 0))
  FROM (SELECT DISTINCT tenant_id FROM ({source}) s ORDER BY tenant_id) touched;
{both(source)}
  RETURN NULL;
END
$function$;
CREATE TRIGGER rolls_up_{event.lower()} AFTER {event} ON public.billing_usagerecord
REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION public.{name}();
"""


ADDED = f"SELECT 1 AS sign, {READ} FROM new_rows"
TAKEN = f"SELECT -1 AS sign, {READ} FROM old_rows"
TRIGGERS = (
    trigger("INSERT", ADDED, "NEW TABLE AS new_rows")
    + trigger("UPDATE", f"{ADDED} UNION ALL {TAKEN}", "OLD TABLE AS old_rows NEW TABLE AS new_rows")
    + trigger("DELETE", TAKEN, "OLD TABLE AS old_rows")
)
NO_TRIGGERS = "".join(
    f"DROP TRIGGER rolls_up_{event} ON public.billing_usagerecord;"
    f" DROP FUNCTION public.billing_usage_rolls_up_{event}();"
    for event in ("insert", "update", "delete")
)

SPAN = "tenant_id = tenant AND started_at >= begins AND started_at < ends"
REBUILD = f"""
CREATE FUNCTION public.billing_rebuild_rollups(tenant uuid, begins timestamptz, ends timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  IF begins <> date_trunc('day', begins, 'UTC') OR ends <> date_trunc('day', ends, 'UTC') THEN
    RAISE EXCEPTION 'roll-ups are rebuilt by whole days' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('billing rollups ' || tenant::text, 0));
  DELETE FROM public.billing_usagerollup WHERE tenant_id = tenant AND begin >= begins AND begin < ends;
  DELETE FROM public.billing_tagrollup WHERE tenant_id = tenant AND begin >= begins AND begin < ends;
{both(f"SELECT 1 AS sign, {READ} FROM public.billing_usagerecord WHERE {SPAN}").replace(
    f"{SPAN} WHERE tags", f"{SPAN} AND tags"
)}
END
$function$
"""
# The walls of the roll-ups do not stand yet; that of the usage table binds the owner, who reads all of it once.
FILL = """
ALTER TABLE public.billing_usagerecord NO FORCE ROW LEVEL SECURITY;
DO $$
DECLARE
  one record;
BEGIN
  FOR one IN
    SELECT tenant_id, date_trunc('day', min(started_at), 'UTC') AS begins,
      date_trunc('day', max(started_at), 'UTC') + interval '1 day' AS ends
    FROM public.billing_usagerecord GROUP BY tenant_id
  LOOP
    PERFORM public.billing_rebuild_rollups(one.tenant_id, one.begins, one.ends);
  END LOOP;
END $$;
ALTER TABLE public.billing_usagerecord FORCE ROW LEVEL SECURITY;
"""

# --- Invoices ---------------------------------------------------------------------------------------------------
IMMUTABLE = """
CREATE FUNCTION public.billing_invoice_guard() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  may text[] := ARRAY['state', 'paid_at', 'payment_reference', 'updated_at'];
BEGIN
  IF OLD.state = 'draft' THEN
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION 'invoice % is closed and cannot be removed', OLD.number;
  END IF;
  IF (to_jsonb(NEW) - may) IS DISTINCT FROM (to_jsonb(OLD) - may)
     OR (NEW.state IS DISTINCT FROM OLD.state AND NOT (OLD.state = 'closed' AND NEW.state = 'paid')) THEN
    RAISE EXCEPTION 'invoice % is closed and cannot be changed', OLD.number;
  END IF;
  RETURN NEW;
END
$function$;
CREATE TRIGGER invoice_guard BEFORE UPDATE OR DELETE ON public.billing_invoice
FOR EACH ROW EXECUTE FUNCTION public.billing_invoice_guard();

CREATE FUNCTION public.billing_invoice_line_guard() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  IF NOT EXISTS (
    SELECT 1 FROM public.billing_invoice
    WHERE id = NEW.invoice_id AND tenant_id = NEW.tenant_id AND state = 'draft'
  ) THEN
    RAISE EXCEPTION 'lines are written while their invoice is being closed, and never afterwards';
  END IF;
  RETURN NEW;
END
$function$;
CREATE TRIGGER invoice_line_guard BEFORE INSERT ON public.billing_invoiceline
FOR EACH ROW EXECUTE FUNCTION public.billing_invoice_line_guard();
"""
MUTABLE = """
DROP TRIGGER invoice_line_guard ON public.billing_invoiceline;
DROP FUNCTION public.billing_invoice_line_guard();
DROP TRIGGER invoice_guard ON public.billing_invoice;
DROP FUNCTION public.billing_invoice_guard();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0002_ledger'),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillingEvent',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('type', models.CharField(max_length=100, verbose_name='type')),
                ('payload', models.JSONField(default=dict, verbose_name='payload')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
            ],
            options={
                'verbose_name': 'billing event',
                'verbose_name_plural': 'billing events',
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
            name='Budget',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('scope', models.CharField(choices=[('tenant', 'The whole tenant'), ('key', 'One key'), ('model', 'One model'), ('tag', 'One tag')], max_length=8, verbose_name='scope')),
                ('key_id', models.UUIDField(blank=True, null=True, verbose_name='key')),
                ('model', models.CharField(blank=True, max_length=200, verbose_name='model')),
                ('tag_name', models.CharField(blank=True, max_length=64, verbose_name='tag')),
                ('tag_value', models.CharField(blank=True, max_length=200, verbose_name='value')),
                ('limit_nano', models.BigIntegerField(blank=True, null=True, verbose_name='amount per month')),
                ('limit_tokens', models.BigIntegerField(blank=True, null=True, verbose_name='tokens per month')),
                ('currency', models.CharField(blank=True, max_length=3, verbose_name='currency')),
                ('thresholds', models.JSONField(default=list, verbose_name='thresholds in percent')),
                ('recipients', models.JSONField(blank=True, default=list, verbose_name='more recipients')),
                ('is_active', models.BooleanField(default=True, verbose_name='active')),
            ],
            options={
                'verbose_name': 'budget',
                'verbose_name_plural': 'budgets',
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
            name='BudgetAlert',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('period', models.DateField(verbose_name='month')),
                ('threshold', models.IntegerField(verbose_name='threshold in percent')),
                ('spent', models.BigIntegerField(verbose_name='used by then')),
                ('limit', models.BigIntegerField(verbose_name='limit at that time')),
                ('fired_at', models.DateTimeField(auto_now_add=True, verbose_name='reached')),
                ('mailed_at', models.DateTimeField(blank=True, null=True, verbose_name='e-mail sent')),
                ('mail_attempts', models.IntegerField(default=0, verbose_name='attempts')),
            ],
            options={
                'verbose_name': 'budget alert',
                'verbose_name_plural': 'budget alerts',
                'ordering': ['-fired_at', '-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='EngineTotal',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('replica', models.CharField(max_length=200, verbose_name='replica')),
                ('deployment_id', models.UUIDField(blank=True, null=True, verbose_name='deployment')),
                ('begun_at', models.DateTimeField(verbose_name='begun')),
                ('ended_at', models.DateTimeField(blank=True, null=True, verbose_name='ended')),
                ('reported_at', models.DateTimeField(auto_now=True, verbose_name='reported')),
                ('requests', models.BigIntegerField(default=0, verbose_name='requests')),
                ('prompt_tokens', models.BigIntegerField(default=0, verbose_name='prompt tokens')),
                ('completion_tokens', models.BigIntegerField(default=0, verbose_name='completion tokens')),
                ('busy_ns', models.BigIntegerField(default=0, verbose_name='busy time')),
                ('attributed_ns', models.BigIntegerField(default=0, verbose_name='of this attributed to requests')),
            ],
            options={
                'verbose_name': 'engine total',
                'verbose_name_plural': 'engine totals',
            },
        ),
        migrations.CreateModel(
            name='Invoice',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('month', models.DateField(verbose_name='month')),
                ('currency', models.CharField(max_length=3, verbose_name='currency')),
                ('state', models.CharField(choices=[('draft', 'Draft'), ('closed', 'Closed'), ('paid', 'Paid')], default='draft', max_length=8, verbose_name='state')),
                ('number', models.CharField(blank=True, max_length=32, null=True, unique=True, verbose_name='number')),
                ('customer', models.CharField(blank=True, max_length=100, verbose_name='customer')),
                ('total_nano', models.BigIntegerField(default=0, verbose_name='exact total')),
                ('total_minor', models.BigIntegerField(default=0, verbose_name='total')),
                ('computed_at', models.DateTimeField(blank=True, null=True, verbose_name='computed')),
                ('closed_at', models.DateTimeField(blank=True, null=True, verbose_name='closed')),
                ('paid_at', models.DateTimeField(blank=True, null=True, verbose_name='paid')),
                ('payment_reference', models.CharField(blank=True, max_length=200, verbose_name='payment reference')),
            ],
            options={
                'verbose_name': 'invoice',
                'verbose_name_plural': 'invoices',
                'ordering': ['-month', 'currency', '-id'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='InvoiceLine',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('position', models.IntegerField(verbose_name='line')),
                ('kind', models.CharField(choices=[('usage', 'Usage'), ('late', 'Usage of an earlier month'), ('correction', 'Correction'), ('rounding', 'Rounding difference')], max_length=12, verbose_name='kind')),
                ('model', models.CharField(blank=True, max_length=200, verbose_name='model')),
                ('component', models.CharField(blank=True, choices=[('input', 'Input tokens'), ('cached', 'Cached input tokens'), ('output', 'Output tokens'), ('calls', 'Calls'), ('gpu', 'GPU seconds'), ('slots', 'Slot hours'), ('whole', 'Requests'), ('', 'None')], max_length=8, verbose_name='component')),
                ('period', models.DateField(verbose_name='month of the usage')),
                ('quantity', models.BigIntegerField(default=0, verbose_name='quantity')),
                ('exact_nano', models.BigIntegerField(verbose_name='exact amount')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount')),
                ('reference', models.UUIDField(blank=True, null=True, verbose_name='ledger transaction')),
                ('note', models.CharField(blank=True, max_length=1000, verbose_name='note')),
            ],
            options={
                'verbose_name': 'invoice line',
                'verbose_name_plural': 'invoice lines',
                'ordering': ['position'],
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='InvoiceSeries',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('year', models.IntegerField(unique=True, verbose_name='year')),
                ('last_number', models.IntegerField(default=0, verbose_name='last number')),
            ],
            options={
                'verbose_name': 'invoice series',
                'verbose_name_plural': 'invoice series',
            },
        ),
        migrations.CreateModel(
            name='Reconciliation',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('begin', models.DateTimeField(verbose_name='from')),
                ('end', models.DateTimeField(verbose_name='to')),
                ('state', models.CharField(choices=[('balanced', 'Balanced'), ('different', 'With differences')], max_length=12, verbose_name='state')),
                ('checks', models.IntegerField(verbose_name='comparisons')),
                ('ran_at', models.DateTimeField(auto_now_add=True, verbose_name='run')),
                ('ran_by', models.CharField(max_length=254, verbose_name='run by')),
            ],
            options={
                'verbose_name': 'reconciliation',
                'verbose_name_plural': 'reconciliations',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ReconciliationDifference',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('engine', 'Engine counters and usage records'), ('busy', 'Engine busy time and GPU time of requests'), ('rollup', 'Usage records and roll-ups'), ('ledger', 'Usage records and ledger'), ('invoice', 'Usage records and invoices')], max_length=12, verbose_name='check')),
                ('subject', models.CharField(max_length=250, verbose_name='subject')),
                ('measure', models.CharField(max_length=32, verbose_name='measure')),
                ('left', models.BigIntegerField(verbose_name='first figure')),
                ('right', models.BigIntegerField(verbose_name='second figure')),
                ('cause', models.CharField(max_length=32, verbose_name='probable cause')),
            ],
            options={
                'verbose_name': 'difference',
                'verbose_name_plural': 'differences',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='TagRollup',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('grain', models.CharField(choices=[('hour', 'Hour'), ('day', 'Day')], max_length=4, verbose_name='grain')),
                ('begin', models.DateTimeField(verbose_name='beginning')),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('currency', models.CharField(blank=True, max_length=3, verbose_name='currency')),
                ('requests', models.BigIntegerField(default=0, verbose_name='requests')),
                ('prompt_tokens', models.BigIntegerField(default=0, verbose_name='prompt tokens')),
                ('cached_tokens', models.BigIntegerField(default=0, verbose_name='of these cached')),
                ('completion_tokens', models.BigIntegerField(default=0, verbose_name='completion tokens')),
                ('gpu_ns', models.BigIntegerField(default=0, verbose_name='GPU time')),
                ('slot_ms', models.BigIntegerField(default=0, verbose_name='occupied slot time')),
                ('charge_nano', models.BigIntegerField(default=0, verbose_name='charge')),
                ('name', models.CharField(max_length=64, verbose_name='tag')),
                ('value', models.CharField(blank=True, max_length=200, verbose_name='value')),
            ],
            options={
                'verbose_name': 'tag roll-up',
                'verbose_name_plural': 'tag roll-ups',
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='UsageRollup',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('grain', models.CharField(choices=[('hour', 'Hour'), ('day', 'Day')], max_length=4, verbose_name='grain')),
                ('begin', models.DateTimeField(verbose_name='beginning')),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('currency', models.CharField(blank=True, max_length=3, verbose_name='currency')),
                ('requests', models.BigIntegerField(default=0, verbose_name='requests')),
                ('prompt_tokens', models.BigIntegerField(default=0, verbose_name='prompt tokens')),
                ('cached_tokens', models.BigIntegerField(default=0, verbose_name='of these cached')),
                ('completion_tokens', models.BigIntegerField(default=0, verbose_name='completion tokens')),
                ('gpu_ns', models.BigIntegerField(default=0, verbose_name='GPU time')),
                ('slot_ms', models.BigIntegerField(default=0, verbose_name='occupied slot time')),
                ('charge_nano', models.BigIntegerField(default=0, verbose_name='charge')),
                ('key_id', models.UUIDField(blank=True, null=True, verbose_name='key')),
                ('user_id', models.UUIDField(blank=True, null=True, verbose_name='user')),
                ('outcome', models.CharField(max_length=16, verbose_name='outcome')),
                ('price_id', models.UUIDField(blank=True, null=True, verbose_name='price')),
            ],
            options={
                'verbose_name': 'usage roll-up',
                'verbose_name_plural': 'usage roll-ups',
                'abstract': False,
                'base_manager_name': 'unscoped',
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='usagerecord',
            name='billing_usage_once',
        ),
        PartitionByMonth("UsageRecord", "started_at"),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(fields=['tenant', 'started_at', 'id'], name='billing_usage_by_start'),
        ),
        migrations.AddConstraint(
            model_name='usagerecord',
            constraint=models.UniqueConstraint(fields=('tenant', 'request_id', 'started_at'), name='billing_usage_once'),
        ),
        migrations.AddField(
            model_name='billingevent',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='budget',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='budgetalert',
            name='budget',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='billing.budget', verbose_name='budget'),
        ),
        migrations.AddField(
            model_name='budgetalert',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddIndex(
            model_name='enginetotal',
            index=models.Index(fields=['begun_at'], name='billing_engine_total_by_time'),
        ),
        migrations.AddConstraint(
            model_name='enginetotal',
            constraint=models.UniqueConstraint(fields=('replica', 'begun_at'), name='billing_engine_total_once'),
        ),
        migrations.AddField(
            model_name='invoice',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='invoiceline',
            name='invoice',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='billing.invoice', verbose_name='invoice'),
        ),
        migrations.AddField(
            model_name='invoiceline',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='reconciliationdifference',
            name='reconciliation',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='differences', to='billing.reconciliation', verbose_name='reconciliation'),
        ),
        migrations.AddField(
            model_name='tagrollup',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='usagerollup',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddIndex(
            model_name='billingevent',
            index=models.Index(fields=['tenant', '-id'], name='billing_event_by_tenant'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='billing_budget_name_once'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('limit_nano__gt', 0), ('limit_tokens', None), models.Q(('currency', ''), _negated=True)), models.Q(('limit_nano', None), ('limit_tokens__gt', 0)), _connector='OR'), name='billing_budget_one_limit'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('scope__in', ['tenant', 'key', 'model', 'tag'])), name='billing_budget_scope_known'),
        ),
        migrations.AddIndex(
            model_name='budgetalert',
            index=models.Index(condition=models.Q(('mailed_at', None)), fields=['fired_at'], name='billing_budget_alert_waiting'),
        ),
        migrations.AddConstraint(
            model_name='budgetalert',
            constraint=models.UniqueConstraint(fields=('tenant', 'budget', 'period', 'threshold'), name='billing_budget_alert_once'),
        ),
        migrations.AddIndex(
            model_name='invoice',
            index=models.Index(condition=models.Q(('state', 'draft')), fields=['month'], name='billing_invoice_drafts'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.UniqueConstraint(fields=('tenant', 'month', 'currency'), name='billing_invoice_once'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('number', None), ('state', 'draft')), models.Q(('number__isnull', False), ('state__in', ['closed', 'paid'])), _connector='OR'), name='billing_invoice_numbered_when_closed'),
        ),
        migrations.AddConstraint(
            model_name='invoiceline',
            constraint=models.UniqueConstraint(fields=('tenant', 'invoice', 'position'), name='billing_invoice_line_once'),
        ),
        migrations.AddConstraint(
            model_name='invoiceline',
            constraint=models.UniqueConstraint(condition=models.Q(('reference__isnull', False)), fields=('tenant', 'reference'), name='billing_invoice_correction_once'),
        ),
        migrations.AddIndex(
            model_name='tagrollup',
            index=models.Index(fields=['grain', 'begin'], name='billing_tag_rollup_by_begin'),
        ),
        migrations.AddConstraint(
            model_name='tagrollup',
            constraint=models.UniqueConstraint(fields=('tenant', 'grain', 'name', 'begin', 'value', 'model', 'currency'), name='billing_tag_rollup_once'),
        ),
        migrations.AddIndex(
            model_name='usagerollup',
            index=models.Index(fields=['grain', 'begin'], name='billing_rollup_by_begin'),
        ),
        migrations.AddConstraint(
            model_name='usagerollup',
            constraint=models.UniqueConstraint(fields=('tenant', 'grain', 'begin', 'model', 'key_id', 'user_id', 'outcome', 'currency', 'price_id'), name='billing_rollup_once', nulls_distinct=False),
        ),
        migrations.RunSQL(REBUILD, "DROP FUNCTION public.billing_rebuild_rollups(uuid, timestamptz, timestamptz)"),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
        migrations.RunSQL(IMMUTABLE, MUTABLE),
        EnableRowLevelSecurity("UsageRollup"),
        EnableRowLevelSecurity("TagRollup"),
        EnableRowLevelSecurity("Budget"),
        EnableRowLevelSecurity("BudgetAlert"),
        EnableRowLevelSecurity("BillingEvent"),
        EnableRowLevelSecurity("Invoice"),
        EnableRowLevelSecurity("InvoiceLine"),
        AppendOnly("BillingEvent"),
        AppendOnly("InvoiceLine"),
    ]
