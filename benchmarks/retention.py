"""Retention of very many rows: time, and memory of this process and of PostgreSQL's.

    python benchmarks/retention.py [rows]

Makes call logs of several tenants, the older ones in a month of their own, removes them by batches and by whole
months, and prints what it took. Needs nothing running.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from tests import services  # noqa: E402

services.start()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")

import django  # noqa: E402

django.setup()

from tests import database  # noqa: E402

TENANTS = 10
_FILL = """
INSERT INTO inference_calllog (id, tenant_id, request_id, address, user_agent, route, model, replica, stream,
  parameters, prompt_summary, response_summary, search_text, prompt_chars, response_chars, prompt_tokens, cached_tokens,
  completion_tokens, queue_ms, duration_ms, charge_nano, currency, is_settled, verdicts, outcome, status, error_code,
  limit_name, finish_reason, trace_id, end_user, tags, has_text, started_at, finished_at)
SELECT gen_random_uuid(), %s::uuid, 'req_' || n, '', '', '', 'm', '', false, '{}', '', '', '', 0, 0, 0, 0, 0, 0, 0,
  0, '', true, '[]', 'completed', 200, '', '', '', '', '', '{}', false,
  %s::timestamptz + n * interval '1 millisecond', now()
FROM generate_series(1, %s) n
"""


def memory_mb() -> float:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def backend_mb() -> float:
    """The private memory of the PostgreSQL process behind this connection."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> None:
    """Fill, count, remove."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    database.prepare("atrium_bench_retention")
    try:
        run(rows)
    finally:
        database.disconnect()
        database.drop("atrium_bench_retention")


def run(rows: int) -> None:
    from django.db import transaction

    from core import clock, partitions
    from core.actors import system
    from core.scoping import platform_scope
    from tenants.services import retention
    from tests.factories.call_logs import LogPolicyFactory
    from tests.factories.tenants import TenantFactory

    # Half lies in a month that nobody keeps, half is old by some tenants' policies only.
    ancient = (clock.now() - timedelta(days=150)).replace(day=2)
    recent = clock.now() - timedelta(days=45)
    for moment in (ancient, recent):
        partitions.make_partition("inference_calllog", moment.date().replace(day=1))
    tenants = [TenantFactory() for _ in range(TENANTS)]
    LogPolicyFactory(tenant=tenants[0], retention_days=60)
    began = time.perf_counter()
    each = rows // TENANTS // 2
    for tenant in tenants:
        for moment in (ancient, recent):
            with transaction.atomic(), database.as_owner() as owner:
                owner.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.pk)])
                owner.execute(_FILL, [tenant.pk, moment, each])
    print(f"{rows:,} rows made in {time.perf_counter() - began:.0f} s")
    for dry_run in (True, False):
        with platform_scope("benchmark"):
            before = backend_mb()
        start_mb, began = memory_mb(), time.perf_counter()
        (done,) = retention.apply(actor=system("benchmark"), data_class="call_logs", dry_run=dry_run)
        took = time.perf_counter() - began
        with platform_scope("benchmark"):
            after = backend_mb()
        print(
            f"{'dry run' if dry_run else 'removal'}: {done.removed:,} rows in {took:.1f} s"
            f" ({done.removed / took:,.0f}/s); this process +{memory_mb() - start_mb:.1f} MB (peak {memory_mb():.0f});"
            f" PostgreSQL's process {before:.0f} -> {after:.0f} MB"
        )
        for how in ("partition", "rows"):
            print(f"  {how}: {sum(line['count'] for line in done.details if line['how'] == how):,}")


if __name__ == "__main__":
    main()
