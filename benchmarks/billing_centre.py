"""How fast the billing centre answers over a month of ten million usage records, and how much memory exports take.

    python benchmarks/billing_centre.py [--records 10000000] [--export 1000000]

Starts a PostgreSQL and a Valkey of its own, as the tests do, and removes them. One tenant has all records: 200 keys,
8 models, 50 members, 12 tags, spread over one month. Prints a line per figure. Bounded in time by --seconds for the
filling: with less time there are fewer records, and the first line says how many.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")

from tests import services  # noqa: E402 - the paths above come first

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
STEP = 250_000

FILL = """
INSERT INTO billing_usagerecord (id, tenant_id, request_id, key_id, user_id, model, replica, route, stream,
  prompt_tokens, cached_tokens, completion_tokens, queue_ms, first_token_ms, duration_ms, outcome, error_code,
  end_user, started_at, finished_at, gpu_prefill_ns, gpu_decode_ns, tags, hold_nano, epoch, charge_nano, currency)
SELECT gen_random_uuid(), %(tenant)s, 'bench-' || n,
  ('00000000-0000-7000-8000-' || lpad((n %% 200)::text, 12, '0'))::uuid,
  ('00000000-0000-7000-9000-' || lpad((n %% 50)::text, 12, '0'))::uuid, 'model-' || n %% 8, 'node/' || n %% 4,
  'chat.completions', true, 100 + n %% 900, n %% 100, 50 + n %% 450, n %% 50, 20, 1000 + n %% 5000,
  CASE WHEN n %% 100 = 0 THEN 'cancelled' ELSE 'completed' END, '', '', started, started + interval '2 seconds',
  n %% 1000000, n %% 3000000, jsonb_build_object('team', 'team-' || n %% 12), 10000000, '', n %% 10000000, 'CNY'
FROM (SELECT n, %(begin)s::timestamptz + interval '1 second' * (n::float8 * %(span)s / %(total)s) AS started
      FROM generate_series(%(first)s, %(last)s) n) r
"""


def fill(tenant_id: Any, total: int, seconds: float) -> int:
    """Write up to `total` records spread over the month, in statements of STEP; returns how many there are."""
    from django.db import connection

    from core.scoping import tenant_scope

    began, done = time.monotonic(), 0
    span = (END - BEGIN).total_seconds() - 1
    while done < total and time.monotonic() - began < seconds:
        last = min(done + STEP, total)
        with tenant_scope(tenant_id), connection.cursor() as cursor:
            # Statements of settlement hold 1,000 records; the triggers' work is measured apart (`settling`).
            cursor.execute(
                FILL,
                {
                    "tenant": tenant_id,
                    "begin": BEGIN,
                    "span": span,
                    "total": total,
                    "first": done + 1,
                    "last": last,
                },
            )
        done = last
    return done


ROLL_UP = """
INSERT INTO billing_usagerollup (id, tenant_id, grain, begin, model, currency, key_id, user_id, outcome, requests,
  prompt_tokens, cached_tokens, completion_tokens, gpu_ns, slot_ms, charge_nano)
SELECT gen_random_uuid(), %(tenant)s, %(grain)s, %(begin)s::timestamptz + n * %(step)s::interval, 'model-' || m, 'CNY',
  ('00000000-0000-7000-8000-' || lpad(k::text, 12, '0'))::uuid,
  ('00000000-0000-7000-9000-' || lpad((k %% 50)::text, 12, '0'))::uuid,
  'completed', e, e * 500, e * 50, e * 300, e * 2000000, e * 3500,
  e * 5000000
FROM generate_series(0, %(buckets)s - 1) n, generate_series(0, 3) m, generate_series(0, 99) k,
  (SELECT %(each)s::bigint AS e) one
"""
TAG = """
INSERT INTO billing_tagrollup (id, tenant_id, grain, begin, model, currency, name, value, requests, prompt_tokens,
  cached_tokens, completion_tokens, gpu_ns, slot_ms, charge_nano)
SELECT gen_random_uuid(), tenant_id, grain, begin, model, currency, 'team', 'team-' || t, sum(requests) / 12,
  sum(prompt_tokens) / 12, sum(cached_tokens) / 12, sum(completion_tokens) / 12, sum(gpu_ns) / 12, sum(slot_ms) / 12,
  sum(charge_nano) / 12
FROM billing_usagerollup, generate_series(1, 12) t GROUP BY tenant_id, grain, begin, model, currency, t
"""


def roll_up(tenant_id: Any, total: int) -> int:
    """Write the roll-ups that `total` records of 100 keys and 4 models leave, without the records."""
    from django.db import connection

    from core.scoping import tenant_scope

    with tenant_scope(tenant_id), connection.cursor() as cursor:
        for grain, step, buckets in (("hour", "1 hour", 744), ("day", "1 day", 31)):
            values = {"tenant": tenant_id, "grain": grain, "step": step, "buckets": buckets, "begin": BEGIN}
            cursor.execute(ROLL_UP, {**values, "each": total // (buckets * 400)})
        cursor.execute(TAG)
    return total


def timed(name: str, work: Callable[[], object], repeats: int = 7) -> None:
    """Print the wall time of some runs, and the processors' time that one takes here and in PostgreSQL.

    On a machine that does much else the second is what the work costs, and the first what waiting adds.
    """
    work()
    times, before = [], processor_ms()
    for _number in range(repeats):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    cpu = (processor_ms() - before) / repeats
    print(
        f"{name:36} median {statistics.median(times):7.1f} ms   least {min(times):7.1f} ms   processor {cpu:6.1f} ms",
        flush=True,
    )


def processor_ms() -> float:
    """Processor time of this process and of its connection's server process so far."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        fields = Path(f"/proc/{cursor.fetchone()[0]}/stat").read_text().rpartition(")")[2].split()
    ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return (time.process_time() + ticks) * 1000


def memory_mb() -> float:
    """What the process has in memory now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def queries(tenant_id: Any) -> None:
    """The dashboard's questions."""
    from billing import selectors
    from core.scoping import tenant_scope

    def ask(**how: Any) -> Callable[[], object]:
        def work() -> object:
            with tenant_scope(tenant_id):
                return selectors.usage_summary(**{"since": BEGIN, "until": END, **how})

        return work

    for by in ("day", "model", "key", "member", "tag", "outcome", "hour"):
        timed(f"month by {by}", ask(by=by))
    odd = {"since": BEGIN + timedelta(minutes=17), "until": END - timedelta(minutes=29)}
    timed("month less odd minutes, by model", ask(by="model", **odd))
    timed("month of one model by key", ask(by="key", model="model-3"))


def invoice(tenant_id: Any) -> None:
    """A draft."""
    from billing.selectors import invoices
    from core.scoping import tenant_scope

    def work() -> object:
        with tenant_scope(tenant_id):
            return invoices.compute(tenant_id=tenant_id, month=BEGIN.date(), currency="CNY")

    timed("draft invoice", work)


def settling(tenant_id: Any) -> None:
    """What triggers add to batches of 1,000 records."""
    from django.db import connection

    from core.scoping import tenant_scope
    from tests import database

    def batch(first: int) -> float:
        began = time.perf_counter()
        with tenant_scope(tenant_id), connection.cursor() as cursor:
            cursor.execute(
                FILL,
                {
                    "tenant": tenant_id,
                    "begin": END - timedelta(minutes=5),
                    "span": 200.0,
                    "total": 1000,
                    "first": first,
                    "last": first + 999,
                },
            )
        return 1000 / (time.perf_counter() - began)

    batch(100_000_001)
    with_triggers = statistics.median(batch(100_000_001 + 1000 * n) for n in range(1, 16))
    with database.as_owner() as owner:
        owner.execute("ALTER TABLE billing_usagerecord DISABLE TRIGGER USER")
    without = statistics.median(batch(200_000_001 + 1000 * n) for n in range(1, 16))
    with database.as_owner() as owner:
        owner.execute("ALTER TABLE billing_usagerecord ENABLE TRIGGER USER")
    print(
        f"records/s in batches of 1,000: {with_triggers:,.0f} with roll-ups, {without:,.0f} without",
        flush=True,
    )


def exports(tenant_id: Any, records: int, total: int) -> None:
    """Memory over an export of each kind."""
    from billing.documents.usage import export
    from billing.selectors.pages import Wanted

    until = BEGIN + (END - BEGIN) * min(1.0, records / total)
    for form in ("csv", "jsonl", "xlsx"):
        began, size = time.monotonic(), 0
        seen: list[float] = []
        for piece in export(Wanted(tenant_id, BEGIN, until), form=form):
            size += len(piece)
            seen.append(memory_mb())
        took = time.monotonic() - began
        quarter = max(1, len(seen) // 4)
        print(
            f"export {form:5} {size / 2**20:8.1f} MiB in {took:6.1f} s   memory {seen[0]:6.1f} MiB at first,"
            f" {max(seen[quarter:] or seen):6.1f} most, {seen[-1]:6.1f} at last",
            flush=True,
        )


def main() -> None:
    """Fill, ask, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--export", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1_800)
    parser.add_argument(
        "--rollups", action="store_true", help="write the roll-ups of --records, not the records"
    )
    options = parser.parse_args()
    services.start()
    import django

    django.setup()
    from core.partitions import make_partition
    from tests import database
    from tests.factories.tenants import TenantFactory

    database.prepare("atrium_bench")
    make_partition("billing_usagerecord", BEGIN.date())
    tenant = TenantFactory()
    began = time.monotonic()
    if options.rollups:
        count = roll_up(tenant.pk, options.records)
    else:
        count = fill(tenant.pk, options.records, options.seconds)
    print(f"{count:,} records in {time.monotonic() - began:.0f} s", flush=True)
    with database.as_owner() as owner:
        owner.autocommit = True
        owner.execute("ANALYZE billing_usagerollup, billing_tagrollup, billing_usagerecord")
        owner.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant.pk)])
        for table in ("billing_usagerollup", "billing_tagrollup"):
            print(
                table, owner.execute(f"SELECT grain, count(*) FROM {table} GROUP BY 1").fetchall(), flush=True
            )
    queries(tenant.pk)
    invoice(tenant.pk)
    if options.rollups:
        fill(tenant.pk, options.export, options.seconds)
        count = options.export
    else:
        settling(tenant.pk)
    exports(tenant.pk, options.export, max(count, 1))
    database.disconnect()
    database.drop("atrium_bench")


if __name__ == "__main__":
    main()
