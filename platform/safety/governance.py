"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext_lazy as _

from core.governance import Counts, DataClass, delete_keys, register
from core.scoping import tenant_scope
from core.valkey import sync_client
from safety import snapshots, terms
from safety.errors import BrokenVersion
from safety.models import Review, RuleSetVersion, WordList
from safety.services import hits, incidents, reviews

PAGE = 8  # a published version may hold 100,000 words


def forget_hits(tenant_id: UUID) -> Counts:
    """A tenant's hits on their way to PostgreSQL."""
    return {hits.STREAM: hits.forget_tenant(tenant_id)}


def forget_incidents(tenant_id: UUID) -> Counts:
    """That a tenant's rules could not be checked, as processes tell each other."""
    return {"incidents": delete_keys(sync_client(), [incidents.keys_of(tenant_id)])}


def readable_rules(tenant_id: UUID) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Word lists and published versions, which tables hold compressed, for the tenant's export."""
    yield "words.jsonl", _lines(tenant_id, WordList, _words_of)
    yield "published.jsonl", _lines(tenant_id, RuleSetVersion, _rules_of)


def readable_reviews(tenant_id: UUID) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Texts that a rule held, opened, for the tenant's export."""
    yield "texts.jsonl", _lines(tenant_id, Review, _text_of)


def _words_of(row: WordList) -> dict[str, Any]:
    return {"id": row.public_id, "name": row.name, "words": terms.unpack(bytes(row.content))}


def _rules_of(row: RuleSetVersion) -> dict[str, Any]:
    rules = snapshots.decode(bytes(row.content), row.digest)
    return {"version": row.number, "rule_set": msgspec.to_builtins(rules)}


def _text_of(row: Review) -> dict[str, Any]:
    return {"id": row.public_id, "text": reviews.opened(row) if row.text_cipher else ""}


def _lines(tenant_id: UUID, model: Any, line_of: Any) -> Iterator[bytes]:
    after: UUID | None = None
    while True:
        with tenant_scope(tenant_id):
            rows = model.objects.order_by("pk")
            page = list(rows.filter(pk__gt=after)[:PAGE] if after is not None else rows[:PAGE])
            lines = []
            for row in page:
                try:
                    line = line_of(row)
                except (ValueError, BrokenVersion):
                    line = {"id": row.public_id, "error": "cannot be read any more"}
                lines.append(msgspec.json.encode(line) + b"\n")
        if not page:
            return
        yield b"".join(lines)
        after = page[-1].pk


def declare() -> None:
    """Put them into the catalogue."""
    until_closed = _("Until they are removed, or the tenant is closed.")
    register(
        DataClass(
            name="safety_rules",
            title=_("Safety rules"),
            holds=_("Rules, word lists, published versions, and what was changed of the platform's rules."),
            retained=until_closed,
            models=(
                *("safety.Rule", "safety.WordList", "safety.RuleSetVersion"),
                *("safety.TenantSafety", "safety.Override", "safety.Disclaimer"),
            ),
            secret_fields=frozenset({"content"}),  # readable in files of their own
            export=readable_rules,
        ),
        DataClass(
            name="safety_reviews",
            title=_("Reviews"),
            holds=_("Texts that a rule held for a person, encrypted, and what was decided."),
            retained=_("Texts 90 days undecided and 30 days after the decision; the decision until closing."),
            models=("safety.Review",),
            secret_fields=frozenset({"text_cipher", "digest"}),
            export=readable_reviews,
        ),
        DataClass(
            name="safety_hits",
            title=_("Hits of rules"),
            holds=_("How often which rule matched, by day. No text."),
            retained=_("Until the tenant is closed."),
            models=("safety.HitCount",),
            keys=(hits.STREAM,),
            erase=forget_hits,
        ),
        DataClass(
            name="safety_incidents",
            title=_("Incidents of safety"),
            holds=_("That a tenant's rules cannot be checked right now. No text."),
            retained=_("Until it is over; an hour at most without being told again."),
            keys=("atrium:{*}:safety:incident:*",),
            exported=False,
            erase=forget_incidents,
        ),
    )
