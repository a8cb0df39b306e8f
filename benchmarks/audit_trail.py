"""How fast the audit trail is sealed, verified and exported, and how much memory that takes.

    python benchmarks/audit_trail.py [--events 200000]

Starts a PostgreSQL and a Valkey of its own, as the tests do, and removes them. One tenant has all events. Prints a
line per figure; the cost of the note that every event leaves for the sealer is measured by writing with and without
its trigger.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")

from tests import services  # noqa: E402 - the paths above come first

FILL = """
INSERT INTO audit_auditevent (id, tenant_id, occurred_at, action, actor_kind, actor_id, actor_label, actor_role,
  address, target_type, target_id, target_label, reason, before, after, request_id)
SELECT gen_random_uuid(), %(tenant)s, now(), 'access.key.rotated', 'person', gen_random_uuid(),
  'alice@acme.example', 'owner', '203.0.113.7', 'access.APIKey', 'key_' || n, 'a key ' || n, '',
  jsonb_build_object('name', 'before ' || n, 'scopes', jsonb_build_array('invoke', 'read')),
  jsonb_build_object('name', 'after ' || n, 'expires_at', now()), 'req_' || n
FROM generate_series(%(first)s, %(last)s) n
"""
STEP = 50_000


@contextmanager
def measured(what: str, count: int) -> Iterator[None]:
    """Print how long the block took, per item, and the most memory that the process has had so far."""
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    each = took / max(count, 1) * 1e6
    print(f"{what}: {took:.1f} s, {count / took:,.0f}/s, {each:.1f} µs each, peak {peak} MiB", flush=True)


def fill(tenant_id: Any, first: int, last: int) -> None:
    """Write events, in statements of STEP."""
    from django.db import connection

    from core.scoping import tenant_scope

    for begin in range(first, last + 1, STEP):
        end = min(begin + STEP - 1, last)
        with tenant_scope(tenant_id), connection.cursor() as cursor:
            cursor.execute(FILL, {"tenant": tenant_id, "first": begin, "last": end})


def run(events: int) -> None:
    """Write, seal, sign, verify, export."""
    from audit import trail
    from audit.bundle import bundle
    from audit.services import checkpoints, sealing, verification
    from core.scoping import platform_scope
    from tests import database
    from tests.factories.tenants import TenantFactory

    tenant = TenantFactory()
    sample = min(events, STEP)
    with database.as_owner() as owner:
        owner.autocommit = True
        owner.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER note_event")
        with measured("writing without the note", sample):
            fill(TenantFactory().pk, 1, sample)
        owner.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER note_event")
    with measured("writing with it", sample):
        fill(tenant.pk, 1, sample)
    fill(tenant.pk, sample + 1, events)
    with measured("sealing", events):
        sealing.seal()
    with measured("signing", 1):
        checkpoints.sign_due(at_once=True)
    with platform_scope("benchmark"), measured("verifying", events):
        found = verification.verify(tenant_id=tenant.pk)
    print(f"whole: {found.report.is_whole}, {found.report.links:,} links", flush=True)
    with platform_scope("benchmark"):
        head = trail.chain(tenant_id=tenant.pk)
    size = 0
    with measured("exporting with proof", events):
        for piece in bundle(tenant_id=tenant.pk, last_sequence=head.sequence, last_hash=head.hash):
            size += len(piece)
    print(f"archive: {size / 1e6:.1f} MB", flush=True)


def main() -> None:
    """Start, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    options = parser.parse_args()
    services.start()
    import django

    django.setup()
    from django.conf import settings

    from tests import database

    database.prepare("atrium_bench_audit")
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings.AUDIT_DIR = Path(folder) / "audit"
            run(options.events)
    finally:
        database.disconnect()
        database.drop("atrium_bench_audit")


if __name__ == "__main__":
    main()
