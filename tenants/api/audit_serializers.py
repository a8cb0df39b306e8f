"""What the audit trail looks like outside, and how it is asked for."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from api.serializers import InputSerializer, OutputSerializer, OutputWithId
from audit import words
from audit.links import STAFF_ROLES, chain_name
from audit.proof.verify import Finding

FILES = [("csv", "CSV"), ("jsonl", "JSON Lines")]


class AuditEventOutput(OutputWithId):
    """One thing that somebody did."""

    occurred_at = serializers.DateTimeField()
    action = serializers.CharField()
    actor = serializers.CharField(source="actor_label")
    actor_kind = serializers.CharField()
    actor_role = serializers.CharField()
    address = serializers.SerializerMethodField()
    chain = serializers.SerializerMethodField(help_text=_("The tenant whose trail it is in, or “platform”."))
    target_type = serializers.CharField()
    target = serializers.CharField(source="target_id")
    target_label = serializers.CharField()
    reason = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)
    request_id = serializers.CharField()

    def get_address(self, event: Any) -> str:
        """Where from. Of the platform's staff, tenants see that they did something and not where they sat."""
        return shown_address(event, is_staff=bool(self.context.get("is_staff")))

    def get_chain(self, event: Any) -> str:
        """Whose trail it is in."""
        return chain_name(event.tenant_id)


def shown_address(event: Any, *, is_staff: bool) -> str:
    """The address that the reader may see."""
    return "" if event.actor_role in STAFF_ROLES and not is_staff else str(event.address)


class FileQuery(InputSerializer):
    """As what to export."""

    file = serializers.ChoiceField(FILES, required=False, default="csv")


class ChainQuery(InputSerializer):
    """Which chain; one's own without it."""

    chain = serializers.CharField(
        max_length=64, required=False, help_text=_("A tenant's id, or “platform”; for the platform's staff.")
    )


class VerifyInput(ChainQuery):
    """What to verify."""

    since = serializers.DateTimeField(
        required=False, help_text=_("Begin behind the last checkpoint that was signed by then.")
    )


class ChainOutput(OutputSerializer):
    """How a chain stands."""

    chain = serializers.CharField()
    last_sequence = serializers.IntegerField(help_text=_("Links so far."))
    last_hash = serializers.CharField()
    sealed_at = serializers.DateTimeField(allow_null=True)
    signed_through = serializers.IntegerField(help_text=_("The last link that a checkpoint covers."))
    signed_at = serializers.DateTimeField(allow_null=True)
    waiting = serializers.IntegerField(help_text=_("Events that are not sealed yet."))
    erased_through = serializers.IntegerField(help_text=_("Events up to this link were erased."))
    key_id = serializers.CharField()
    public_key = serializers.CharField(help_text=_("Ed25519, base64: what an export is verified against."))


class FindingOutput(OutputSerializer):
    """What is wrong, and where."""

    kind = serializers.CharField()
    sequence = serializers.IntegerField(allow_null=True, help_text=_("The link; none where there is none."))
    event = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()
    detail = serializers.CharField()
    is_note = serializers.BooleanField(help_text=_("Odd, and no proof of anything."))

    def get_event(self, found: Finding) -> str:
        """The event's public id, or an empty text."""
        return words.event_of(found)

    def get_message(self, found: Finding) -> str:
        """In the reader's language."""
        return words.sentence(found)


class VerifiedChainOutput(OutputSerializer):
    """The report on one chain."""

    chain = serializers.CharField()
    is_whole = serializers.BooleanField(source="report.is_whole")
    first = serializers.IntegerField(help_text=_("The link that verification began with."))
    links = serializers.IntegerField(source="report.links")
    checkpoints = serializers.IntegerField(source="report.checkpoints")
    last_sequence = serializers.IntegerField(source="report.last_sequence")
    last_hash = serializers.CharField(source="report.last_hash")
    last_good_sequence = serializers.IntegerField(
        source="report.last_good_sequence", help_text=_("The last link that is signed and sound.")
    )
    last_good_hash = serializers.CharField(source="report.last_good_hash")
    findings = FindingOutput(many=True, source="report.findings")
    left_out = serializers.IntegerField(source="report.left_out", help_text=_("Findings beyond these."))


class VerifiedOutput(OutputSerializer):
    """The report on one chain or several."""

    is_whole = serializers.BooleanField()
    is_complete = serializers.BooleanField(
        help_text=_("False where chains or older links were left to manage.py audit_verify.")
    )
    chains = VerifiedChainOutput(many=True)
