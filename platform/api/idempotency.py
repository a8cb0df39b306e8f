"""`Idempotency-Key` on POST: a request that is sent twice is carried out once, and answered the same both
times.

The record is a row in PostgreSQL, not a key in Valkey, because it must commit together with the change: a
crash between the two would otherwise either lose the answer or repeat the work. Who holds a key is an
advisory lock of the transaction, so that a process that dies in the middle leaves nothing behind. Only
answers of success are kept: a request that failed changed nothing and may be sent again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpResponse
from django.utils.translation import gettext as _
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from api.models import IdempotencyRecord
from api.problems import Problem
from core import clock
from core.actors import Actor
from core.encryption import decrypt, encrypt, keyed_digest
from core.scoping import current_scope

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
MAX_KEY_LENGTH = 255
KEPT_FOR = timedelta(hours=24)
_PURPOSE = "idempotency"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST that carries a key, with the lock on that key held until the transaction ends."""

    tenant_id: UUID | None
    key_digest: str
    request_digest: str


def begin(request: Request, actor: Actor) -> Attempt | HttpResponse | None:
    """Start a POST: an attempt to finish with `keep`, the kept answer, or none when no key was sent.

    Must run inside the transaction of the change. Raises Problem: 409 while the same key is being worked
    on, 422 when the key was used for another request. Cost: two small statements.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        message = _("Use 1 to %(limit)d printable ASCII characters.") % {"limit": MAX_KEY_LENGTH}
        raise Problem(400, "invalid", message, field=HEADER)
    attempt = _attempt(request, actor, key)
    if not _lock(attempt.key_digest):
        raise Problem(409, "conflict", _("A request with this idempotency key is being worked on."))
    record = IdempotencyRecord.objects.filter(key_digest=attempt.key_digest).first()
    if record is None:
        return attempt
    if record.expires_at <= clock.now():
        record.delete()
        return attempt
    if record.request_digest != attempt.request_digest:
        raise Problem(
            422,
            "idempotency_key_reused",
            _("This idempotency key was used for another request."),
            field=HEADER,
        )
    return _replay(record)


def keep(attempt: Attempt, response: Response) -> None:
    """Keep the answer of a success; to be called in the same transaction. Others are not kept."""
    if not 200 <= response.status_code < 300:
        return
    IdempotencyRecord(
        tenant_id=attempt.tenant_id,
        key_digest=attempt.key_digest,
        request_digest=attempt.request_digest,
        status=response.status_code,
        location=response.headers.get("Location", ""),
        body=encrypt(_PURPOSE, JSONRenderer().render(response.data).decode()),
        expires_at=clock.now() + KEPT_FOR,
    ).save(force_insert=True)


def forget_expired() -> int:
    """Remove what is older than a day, of all tenants; to be called behind the platform door. Returns how
    many.
    """
    count, _each = IdempotencyRecord.objects.filter(expires_at__lte=clock.now()).delete()
    return count


def _attempt(request: Request, actor: Actor, key: str) -> Attempt:
    tenant_id = current_scope().tenant_id
    # Lengths first, so that no choice of key can imitate another actor's.
    owner = f"{tenant_id}|{actor.kind}|{actor.id}|{len(key)}|{key}"
    plain = request._request
    body = hashlib.sha256(plain.body).hexdigest()
    return Attempt(
        tenant_id=tenant_id,
        key_digest=keyed_digest("idempotency-key", owner),
        request_digest=keyed_digest("idempotency-body", f"{plain.method} {plain.get_full_path()} {body}"),
    )


def _lock(digest: str) -> bool:
    """Take the key for the rest of the transaction, or say at once that somebody else has it."""
    number = int(digest[:16], 16) - (1 << 63)
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def _replay(record: IdempotencyRecord) -> HttpResponse:
    content = decrypt(_PURPOSE, record.body)
    response = HttpResponse(content, status=record.status, content_type="application/json")
    response[REPLAYED_HEADER] = "true"
    if record.location:
        response["Location"] = record.location
    return response
