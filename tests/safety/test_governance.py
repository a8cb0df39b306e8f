"""Of a closed tenant no hit stays on its way, and none comes back; its neighbours' are counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.scoping import platform_scope
from core.valkey import sync_client
from safety import governance
from safety.models import HitCount
from safety.services import hits, incidents
from safety.spec import Action, Direction, Kind, Severity, Verdict
from tenants.models import Tenant, TenantStatus

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(autouse=True)
def _empty_stream() -> Iterator[None]:
    sync_client().delete(hits.STREAM)
    yield
    sync_client().delete(hits.STREAM)


def matched(rule: str) -> list[Verdict]:
    return [
        Verdict(
            rule=rule,
            version=1,
            kind=Kind.TERMS,
            category="weather",
            severity=Severity.HIGH,
            action=Action.FLAG,
            direction=Direction.IN,
            start=0,
            end=1,
        )
    ]


def counted() -> dict[tuple[Any, str], int]:
    with platform_scope("tests"):
        return {(row.tenant_id, row.rule): row.count for row in HitCount.objects.all()}


def both(acme: Tenant, globex: Tenant) -> None:
    """One entry of the stream with hits of two tenants, and one of each alone."""
    ours, theirs = hits.counts_of(acme.pk, matched("own.secret")), hits.counts_of(globex.pk, matched("x"))
    for counts in (ours + theirs, ours, theirs):
        hits.record(counts)


def test_a_tenants_hits_leave_the_stream_and_its_neighbours_stay(acme: Tenant, globex: Tenant) -> None:
    both(acme, globex)
    assert governance.forget_hits(acme.pk) == {hits.STREAM: 2}
    assert str(acme.pk) not in str(sync_client().xrange(hits.STREAM))
    assert governance.forget_hits(acme.pk) == {hits.STREAM: 0}
    hits.ingest()
    assert counted() == {(globex.pk, "x"): 2}


def test_what_was_counted_while_it_was_forgotten_is_counted_once(acme: Tenant, globex: Tenant) -> None:
    """The jobs worker had read the entry that is replaced, and finishes it afterwards."""
    both(acme, globex)
    valkey: Any = sync_client()
    hits._make_group()
    read = valkey.xreadgroup(hits.GROUP, hits.CONSUMER, {hits.STREAM: ">"}, count=10)[0][1]
    governance.forget_hits(acme.pk)
    hits._take(read)
    hits.ingest()
    assert counted()[globex.pk, "x"] == 2
    assert valkey.xpending(hits.STREAM, hits.GROUP)["pending"] == 0


def test_what_nobody_can_read_and_names_the_tenant_goes(acme: Tenant) -> None:
    valkey: Any = sync_client()
    valkey.xadd(hits.STREAM, {"b": "x", "c": f"broken {acme.pk}"})
    assert governance.forget_hits(acme.pk) == {hits.STREAM: 1}
    assert valkey.xlen(hits.STREAM) == 0


def test_of_a_closed_tenant_no_hit_is_stored(acme: Tenant, globex: Tenant) -> None:
    both(acme, globex)
    with platform_scope("tests"):
        Tenant.objects.filter(pk=acme.pk).update(status=TenantStatus.CLOSED)
    hits.ingest()
    assert counted() == {(globex.pk, "x"): 2}


def test_incidents_of_one_tenant_are_forgotten(acme: Tenant, globex: Tenant) -> None:
    for tenant in (acme, globex):
        incidents.report(tenant_id=tenant.pk, what="checker", effect="closed", error="broken")
    assert governance.forget_incidents(acme.pk) == {"incidents": 1}
    assert governance.forget_incidents(globex.pk) == {"incidents": 1}
