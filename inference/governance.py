"""This application's classes of data, for the catalogue (`core.governance`): chats, call logs, what Valkey holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext_lazy as _

from core.governance import (
    Counts,
    DataClass,
    delete_entries,
    delete_keys,
    delete_rows,
    escaped,
    register,
)
from core.scoping import platform_scope, tenant_scope
from core.valkey import sync_client
from inference.admission.keys import TENANTS, TenantKeys
from inference.call_logs import data_keys, retention
from inference.call_logs.models import CallLog, CallLogText, DataKey
from inference.queue.keys import CALL_LOGS, USAGE, DeploymentKeys, written
from inference.queue.wire import decode_ticket
from inference.services.intake import WRITTEN_TTL_S
from inference.services.usage import REFUSED
from models_registry.models import Deployment
from safety.models import Review

PAGE = 200


def _is_of(tenant_id: UUID, end_user: str | None = None) -> Callable[[Mapping[bytes, bytes]], bool]:
    """Whether an entry of a stream of records is a tenant's, and one end user's."""
    tenant = str(tenant_id)

    def is_theirs(fields: Mapping[bytes, bytes]) -> bool:
        raw = fields.get(b"r", b"")
        try:
            record = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            # Put aside as text that nobody could read: by its looks.
            return tenant.encode() in raw and (end_user is None or end_user.encode() in raw)
        if not isinstance(record, dict) or str(record.get("tenant_id")) != tenant:
            return False
        return end_user is None or record.get("end_user") == end_user

    return is_theirs


def forget_in_flight(tenant_id: UUID) -> Counts:
    """What Valkey holds of a tenant: counters and holds, requests in queues, unfinished answers."""
    valkey: Any = sync_client()
    keys = TenantKeys(str(tenant_id))
    counts = {
        "admission": delete_keys(valkey, [escaped(keys.prefix) + "*"])
        + int(valkey.zrem(TENANTS, str(tenant_id))),
        "unfinished answers": delete_keys(valkey, [f"atrium:{{{tenant_id}}}:chat:*"]),
        "queues": 0,
    }
    with platform_scope("governance.erase"):
        deployments = list(Deployment.objects.values_list("pk", "tenant_id"))
    for deployment, owner in deployments:
        names = DeploymentKeys(str(deployment))
        if owner == tenant_id:
            counts["queues"] += delete_keys(valkey, [escaped(names.prefix) + "*"])
            continue
        for request_id, payload in valkey.hscan_iter(names.requests, count=500):
            try:
                theirs = decode_ticket(payload).tenant == str(tenant_id)
            except msgspec.DecodeError:
                continue
            if theirs:
                counts["queues"] += int(valkey.hdel(names.requests, request_id))
                valkey.hdel(names.running, request_id)
                valkey.hdel(names.served, request_id)
    return counts


def forget_records(tenant_id: UUID) -> Counts:
    """Usage records of a tenant that PostgreSQL refused: put aside in Valkey for a person, who needs them no more."""
    return {REFUSED: delete_entries(sync_client(), REFUSED, _is_of(tenant_id))}


def forget_notes(tenant_id: UUID) -> Counts:
    """Call notes of a tenant on their way."""
    return {CALL_LOGS: _drop_notes(_is_of(tenant_id))}


def _drop_notes(is_theirs: Callable[[Mapping[bytes, bytes]], bool]) -> int:
    """Take notes off their way, and tell the journals that hold them: they are not to be offered again."""
    valkey: Any = sync_client()

    def is_dropped(fields: Mapping[bytes, bytes]) -> bool:
        theirs = is_theirs(fields)
        journal, _, number = fields.get(b"j", b"").decode().rpartition(":")
        if theirs and journal and number.isdigit():
            valkey.sadd(written(journal), number)
            valkey.expire(written(journal), WRITTEN_TTL_S)
        return theirs

    return delete_entries(valkey, CALL_LOGS, is_dropped)


def destroy_keys(tenant_id: UUID) -> Counts:
    """Destroy a tenant's data keys first: from now on its full texts are noise, also in backups and journals."""
    with tenant_scope(tenant_id):
        return {DataKey._meta.db_table: data_keys.destroy_all()}


def forget_end_user(tenant_id: UUID, end_user: str) -> Counts:
    """Logs of one end user, stored and on their way, and what safety rules held of their requests."""
    return {
        Review._meta.db_table: _delete_reviews(tenant_id, end_user),
        CALL_LOGS: _drop_notes(_is_of(tenant_id, end_user)),
        CallLog._meta.db_table: delete_rows(CallLog, tenant_id, column="end_user", value=end_user),
    }


def _delete_reviews(tenant_id: UUID, end_user: str) -> int:
    """Reviews know requests and no end users: by the logs, so before these go."""
    with tenant_scope(tenant_id):
        theirs = CallLog.objects.filter(end_user=end_user).values("request_id")
        return Review.objects.filter(request_id__in=theirs).delete()[0]


def forget_texts_of_end_user(tenant_id: UUID, end_user: str) -> Counts:
    """Full texts of one end user."""
    return {
        CallLogText._meta.db_table: delete_rows(CallLogText, tenant_id, column="end_user", value=end_user)
    }


def opened_texts(tenant_id: UUID) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Full texts for the tenant's export, opened."""
    yield "texts.jsonl", _lines(tenant_id)


def _lines(tenant_id: UUID) -> Iterator[bytes]:
    after: Any = None
    while rows := _opened(tenant_id, after):
        yield b"".join(line for _pk, line in rows)
        after = rows[-1][0]


def _opened(tenant_id: UUID, after: Any) -> list[tuple[Any, bytes]]:
    with tenant_scope(tenant_id):
        rows = CallLogText.objects.order_by("pk")
        if after is not None:
            rows = rows.filter(pk__gt=after)
        found = []
        for row in rows[:PAGE]:
            head = {"request_id": row.request_id, "started_at": row.started_at.isoformat()}
            try:
                text = msgspec.json.decode(data_keys.open_text(row))
            except ValueError:
                text = {"error": "its key was destroyed"}
            found.append((row.pk, msgspec.json.encode({**head, **text}) + b"\n"))
        return found


def declare() -> None:
    """Put them into the catalogue."""
    _declare_kept()
    _declare_passing()


def _declare_kept() -> None:
    register(
        DataClass(
            name="chats",
            title=_("Chats"),
            holds=_("Chats with their messages, as people wrote them and models answered."),
            retained=_("Until their owner deletes them."),
            models=("inference.ChatSession", "inference.ChatMessage"),
        ),
        DataClass(
            name="call_logs",
            title=_("Call logs"),
            holds=_("Each request: who, what, how it ended, and redacted summaries of prompt and answer."),
            retained=_("By the tenant's log policy, 30 days where it has set none."),
            models=("inference.CallLog",),
            keys=(CALL_LOGS,),
            erase=forget_notes,
            erase_end_user=forget_end_user,
            retain=retention.logs,
        ),
        DataClass(
            name="call_texts",
            title=_("Full texts"),
            holds=_("Prompts and answers of requests, where the tenant keeps them, sealed with its own key."),
            retained=_("By the tenant's log policy, as its call logs."),
            models=("inference.CallLogText",),
            secret_fields=frozenset({"content"}),
            erase_end_user=forget_texts_of_end_user,
            retain=retention.texts,
            export=opened_texts,
        ),
        DataClass(
            name="data_keys",
            title=_("Data keys"),
            holds=_("The tenant's keys for full texts, wrapped by the platform's key."),
            retained=_("Until the last text that they sealed has gone."),
            models=("inference.DataKey",),
            secret_fields=frozenset({"wrapped"}),
            exported=False,
            erase=destroy_keys,
        ),
        DataClass(
            name="log_policy",
            title=_("Log policy"),
            holds=_("How much of requests is kept, and for how long."),
            retained=_("Until the tenant is closed."),
            models=("inference.LogPolicy",),
        ),
    )


def _declare_passing() -> None:
    moment = _(
        "Until the request is over and PostgreSQL has its record: seconds, or as long as that is away."
    )
    register(
        DataClass(
            name="in_flight",
            title=_("Requests in flight"),
            holds=_(
                "Prompts and answers of requests that wait or run, unfinished chat answers, counters and holds."
            ),
            retained=moment,
            keys=(
                *(TENANTS, "atrium:admission:epoch", "atrium:adm:{*}:*", "atrium:{*}:*"),
                *("atrium:out:*", "atrium:webs", "atrium:nodes", "atrium:placements", "atrium:engine-totals"),
            ),
            exported=False,
            erase=forget_in_flight,
        ),
        DataClass(
            name="usage_on_its_way",
            title=_("Records on their way"),
            holds=_("Usage records and call notes on their way to PostgreSQL, redacted or sealed already."),
            retained=moment,
            keys=(USAGE, REFUSED, "atrium:usage:written:*"),
            files=("ATRIUM_USAGE_JOURNAL_DIR/*",),
            exported=False,
            erase=forget_records,
        ),
    )
