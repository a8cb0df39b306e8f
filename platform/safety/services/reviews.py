"""Texts that a rule holds for a person: kept encrypted, approved or rejected, and then the same text passes or not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from access import policies as access
from audit import services as audit
from core import clock
from core.actors import Actor
from core.encryption import decrypt, encrypt, keyed_digest
from core.errors import Conflict, InvalidInput, NotFound
from core.scoping import platform_scope, tenant_scope
from safety.errors import AlreadyDecided
from safety.models import Review, ReviewState
from safety.owners import owner_of
from safety.services.heads import locked
from safety.spec import Direction, Verdict

log = structlog.get_logger(__name__)

MAX_TEXT = 200_000  # characters that are kept of one text
MAX_WAITING = 10_000  # texts of one tenant that wait for a person
MAX_APPROVED = 10_000  # texts of one tenant that pass: every process knows all of them
WAITING_DAYS = 90
DECIDED_DAYS = 30


def digest_of(tenant_id: UUID, text: str) -> str:
    """By what the same text is known again: an HMAC with a key of the tenant's own."""
    return keyed_digest(f"safety-review:{tenant_id}", text)


def hold(
    *,
    tenant_id: UUID,
    text: str,
    verdicts: Sequence[Verdict],
    refused: Verdict,
    direction: Direction,
    model: str = "",
    request_id: str = "",
) -> Review | None:
    """Keep a refused text for a person; the same text again is counted on its row. For the data plane, in a thread.

    None when too many wait already: the text is refused all the same. Opens the tenant's scope itself. Two statements.
    """
    digest = digest_of(tenant_id, text)
    with tenant_scope(tenant_id):
        same = Review.objects.filter(digest=digest, direction=direction.value)
        if same.update(times_refused=F("times_refused") + 1, updated_at=clock.now()):
            return same.first()
        if Review.objects.filter(state=ReviewState.PENDING).count() >= MAX_WAITING:
            log.warning("safety.reviews_full", tenant_id=str(tenant_id))
            return None
        row = Review(
            tenant_id=tenant_id,
            digest=digest,
            direction=direction.value,
            text_cipher=encrypt(_purpose(tenant_id), text[:MAX_TEXT]),
            text_length=len(text),
            is_cut=len(text) > MAX_TEXT,
            verdicts=[_plain(verdict) for verdict in verdicts[:100]],
            rule=refused.rule[:100],
            category=refused.category[:50],
            model=model[:200],
            request_id=request_id[:100],
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:  # the same text, at the same moment
            same.update(times_refused=F("times_refused") + 1, updated_at=clock.now())
            return same.first()
        return row


def read_text(*, review: Review, actor: Actor) -> str:
    """The text itself, for who decides. Written to the trail. Raises NotAllowed, NotFound when it was forgotten."""
    access.require(actor, "safety.review.decide")
    if not review.text_cipher:
        raise NotFound(_("The text is not kept any more."))
    with transaction.atomic():
        audit.record("safety.review.opened", actor=actor, target=review)
    try:
        return opened(review)
    except ValueError:
        raise NotFound(_("The text cannot be decrypted any more.")) from None


def opened(review: Review) -> str:
    """The text that a review keeps, for the tenant's own export. Raises ValueError when its key has changed."""
    return decrypt(_purpose(review.tenant_id), review.text_cipher)


def approve(*, review: Review, actor: Actor, reason: str) -> Review:
    """Let the same text pass from now on, whatever rules would hold it; rules that block still do.

    Raises NotAllowed, InvalidInput, AlreadyDecided, Conflict, NotFound.
    """
    return _decide(review, actor, reason, {ReviewState.PENDING}, ReviewState.APPROVED, "approved")


def reject(*, review: Review, actor: Actor, reason: str) -> Review:
    """Refuse the text for good. Raises NotAllowed, InvalidInput, AlreadyDecided, NotFound."""
    return _decide(review, actor, reason, {ReviewState.PENDING}, ReviewState.REJECTED, "rejected")


def withdraw(*, review: Review, actor: Actor, reason: str) -> Review:
    """Take an approval back. Raises NotAllowed, InvalidInput, AlreadyDecided, NotFound."""
    return _decide(review, actor, reason, {ReviewState.APPROVED}, ReviewState.REJECTED, "withdrawn")


@transaction.atomic
def _decide(
    review: Review, actor: Actor, reason: str, allowed: set[str], state: ReviewState, verb: str
) -> Review:
    access.require(actor, "safety.review.decide")
    if not reason.strip():
        raise InvalidInput(_("Give a reason: it is kept in the audit trail."), field="reason")
    row: Review = locked(review)
    if row.state not in allowed:
        raise AlreadyDecided(
            _("This was decided already: %(state)s.") % {"state": ReviewState(row.state).label}
        )
    if state == ReviewState.APPROVED:
        same = Review.objects.filter(tenant_id=row.tenant_id, state=ReviewState.APPROVED)
        if same.count() >= MAX_APPROVED:
            raise Conflict(
                _("%(limit)d texts are approved already. Withdraw some.") % {"limit": MAX_APPROVED}
            )
    before = row.state
    row.state = state
    row.decided_at = clock.now()
    row.decided_by_id = actor.id
    row.decided_by = actor.label[:254]
    row.reason = reason.strip()[:1000]
    row.save()
    audit.record(
        f"safety.review.{verb}",
        actor=actor,
        target=row,
        reason=row.reason,
        before={"state": before},
        after={"state": row.state, "rule": row.rule},
    )
    owner_of(row).announce()
    return row


def forget_old(*, now: datetime | None = None) -> dict[str, int]:
    """Remove texts that waited WAITING_DAYS, and the texts (not the decisions) of what was decided DECIDED_DAYS ago.

    For the schedule; idempotent. Returns how many of each.
    """
    moment = now or clock.now()
    with platform_scope("safety.reviews.forget_old"):
        waited = Review.objects.filter(
            state=ReviewState.PENDING, updated_at__lt=moment - timedelta(days=WAITING_DAYS)
        )
        decided = Review.objects.exclude(state=ReviewState.PENDING).exclude(text_cipher="")
        counts: dict[str, Any] = {
            "waiting": waited.delete()[0],
            "texts": decided.filter(decided_at__lt=moment - timedelta(days=DECIDED_DAYS)).update(
                text_cipher=""
            ),
        }
    return counts


def _purpose(tenant_id: UUID) -> str:
    return f"safety-review-text:{tenant_id}"


def _plain(verdict: Verdict) -> dict[str, Any]:
    """All fields, those with their defaults too."""
    return {name: msgspec.to_builtins(getattr(verdict, name)) for name in verdict.__struct_fields__}
