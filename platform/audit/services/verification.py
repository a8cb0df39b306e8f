"""Verification of one chain, or all: what stands in the database against itself and against what was signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from audit import keys, trail
from audit.links import chain_name, stamp
from audit.proof.verify import GENESIS, Report, checked_checkpoints, trusted_keys, verify_chain
from audit.services.events import record
from audit.sinks import CheckpointSink, checkpoint_sink
from core.actors import Actor
from core.scoping import platform_scope

log = structlog.get_logger(__name__)

# What one request over REST goes through at most; the newest links, from a checkpoint on.
MOST_LINKS = 200_000


@dataclass(frozen=True, slots=True)
class Verified:
    """The report on one chain. `first` is the link that it begins with; more than 1 where older ones were left out."""

    tenant_id: UUID | None
    report: Report
    first: int

    @property
    def chain(self) -> str:
        """The chain's name."""
        return chain_name(self.tenant_id)


def verify(
    *,
    tenant_id: UUID | None,
    since: datetime | None = None,
    anchors: Sequence[bytes] = (),
    most: int | None = None,
) -> Verified:
    """Verify one chain inside the caller's scope, in constant memory; about 20 µs per link.

    With `since` it begins behind the last checkpoint that was signed by then, with `most` behind one that leaves at
    most about so many links. `anchors` are the public keys to trust, the platform's own where none are given.
    Reads alone, and changes nothing.
    """
    sink, name, report = checkpoint_sink(), chain_name(tenant_id), Report()
    trusted = trusted_keys(sink.key_records(), anchors or keys.anchors(), report)
    start = (0, GENESIS)
    if since is not None or most is not None:
        at_least = trail.chain(tenant_id=tenant_id).sequence - most if most is not None else 0
        start = _start(sink, name, trusted, since, at_least)
    # Those of now: what is sealed and signed while the links are read is not among the links.
    count = sum(1 for _each in sink.records(name))
    verify_chain(
        name,
        trail.links(tenant_id=tenant_id, after=start[0]),
        lambda: islice(sink.records(name), count),
        trusted,
        report,
        start=start,
    )
    _look_for_loose(tenant_id, report)
    return Verified(tenant_id, report, start[0] + 1)


def verify_recorded(
    *, actor: Actor, tenant_id: UUID | None, since: datetime | None = None, most: int | None = MOST_LINKS
) -> Verified:
    """`verify`, with an event that says who had the trail verified and what came out. The permission is the
    caller's question ("audit.trail.verify")."""
    found = verify(tenant_id=tenant_id, since=since, most=most)
    record(
        "audit.trail.verified",
        actor=actor,
        tenant_id=tenant_id,
        after={
            "is_whole": found.report.is_whole,
            "first": found.first,
            "last": found.report.last_sequence,
            "findings": len(found.report.problems) + found.report.left_out,
        },
    )
    return found


@dataclass(frozen=True, slots=True)
class VerifiedChains:
    """The reports on several chains. Not complete where chains or older links were left out."""

    chains: list[Verified]
    is_complete: bool

    @property
    def is_whole(self) -> bool:
        """True when nothing was found in any of them."""
        return all(each.report.is_whole for each in self.chains)


def verify_several(
    *, actor: Actor, owners: Sequence[UUID | None], since: datetime | None = None
) -> VerifiedChains:
    """Verify chains in scope until MOST_LINKS links were gone through, and record each. For a request."""
    found: list[Verified] = []
    left = MOST_LINKS
    for owner in owners:
        if left <= 0:
            break
        found.append(verify_recorded(actor=actor, tenant_id=owner, since=since, most=left))
        left -= found[-1].report.links
    is_complete = len(found) == len(owners) and all(each.first == 1 or since is not None for each in found)
    return VerifiedChains(found, is_complete)


def verify_all() -> list[Verified]:
    """Verify every chain, and log each finding as an error. For the schedule."""
    with platform_scope("audit.verify"):
        owners = trail.chains()
    found = []
    for owner in owners:
        with platform_scope("audit.verify"):
            verified = verify(tenant_id=owner)
        for each in verified.report.problems:
            log.error("audit.tampered", chain=verified.chain, **each._asdict())
        found.append(verified)
    return found


def _start(
    sink: CheckpointSink, name: str, trusted: dict[str, bytes], since: datetime | None, at_least: int
) -> tuple[int, str]:
    """The last signed link that `since` allows and that is not behind `at_least`; the beginning where there is none."""
    wanted = stamp(since) if since is not None else None

    def until() -> Any:
        for each in sink.records(name):
            if each is None:
                continue
            if wanted is not None and str(each.get("time", "")) > wanted:
                return
            if wanted is None and int(each.get("sequence") or 0) > max(at_least, 0):
                return
            yield each

    found = (0, GENESIS)
    for pair in checked_checkpoints(until(), name, trusted, Report()):
        found = pair
    return found


def _look_for_loose(tenant_id: UUID | None, report: Report) -> None:
    loose = trail.loose(tenant_id=tenant_id)
    for event in loose.inserted:
        report.add("inserted", None, str(event))
    for event in loose.unsealed:
        report.add("unsealed", None, str(event))
    for event in loose.lost:
        report.add("deleted", None, str(event), "before it was sealed")
    for event, sequence in loose.twice:
        report.add("fork", sequence, str(event), "two links for one event")
    if settings.AUDIT_KEYS:
        first = trail.overdue_link(tenant_id=tenant_id, signed_through=report.signed_through)
        if first is not None:
            report.add("uncovered", first)
