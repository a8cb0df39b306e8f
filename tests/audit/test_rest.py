"""The trail over REST: filters, exports, the button that verifies; and that nobody reaches another's (attack 31)."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEvent
from core.ids import public_id
from core.scoping import platform_scope
from tenants.models import Tenant
from tests.api.client import REST, with_key
from tests.audit.conftest import Trail
from tests.factories.access import APIKeyFactory
from tests.factories.audit import AuditEventFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def theirs(trail: Trail, globex: Tenant) -> Trail:
    """Globex's trail, signed."""
    made = Trail(globex.pk, trail.folder)
    made.grow(2, 2)
    return made


def found(rest: REST, query: str) -> list[str]:
    """The ids of a filtered list."""
    answer = rest.get(f"/audit-events/?{query}")
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


class TestFilters:
    """Of the list and of its exports."""

    def test_each_filter_finds_what_it_says(self, acme: Tenant, alice: Any, alice_client: Client) -> None:
        rest = REST(alice_client)
        key = APIKeyFactory(tenant=acme)
        one = AuditEventFactory(
            tenant=acme,
            action="access.key.revoked",
            actor_kind="key",
            actor_id=key.pk,
            actor_label="program",
            actor_role="",
            address="203.0.113.1",
            target_type="access.APIKey",
            target_id="key_1",
            request_id="req_1",
        )
        two = AuditEventFactory(tenant=acme, actor_kind="person", actor_id=alice.pk, actor_role="owner")
        for query in (
            "action=access.key.revoked",
            "action=access.",
            "actor=program",
            f"actor_id={key.public_id}",
            "actor_kind=key",
            "address=203.0.113.1",
            "target=key_1",
            "target_type=access.APIKey",
            "request_id=req_1",
            f"since={one.occurred_at:%Y-%m-%dT%H:%M:%S.%fZ}&until={two.occurred_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        ):
            assert found(rest, query) == [one.public_id], query
        assert found(rest, f"actor_id={alice.public_id}") == [two.public_id]
        assert found(rest, f"tenant={acme.public_id}") == [two.public_id, one.public_id]
        assert found(rest, "actor_id=nonsense") == []

    @pytest.mark.slow
    def test_no_filter_and_no_ordering_leads_to_anothers_events(
        self, acme: Tenant, globex: Tenant, alice_client: Client, charlie_client: Client
    ) -> None:
        """Attack 31."""
        foreign = AuditEventFactory(
            tenant=globex,
            action="access.key.revoked",
            target_id="key_9",
            actor_label="x",
            request_id="req_9",
            address="203.0.113.9",
            target_type="access.APIKey",
        )
        for query in (
            f"tenant={globex.public_id}",
            "action=access.key.revoked",
            "target=key_9",
            "actor=x",
            "address=203.0.113.9",
            "request_id=req_9",
            "target_type=access.APIKey",
        ):
            assert found(REST(alice_client), query) == [], query
            assert found(REST(charlie_client), query) == [foreign.public_id], query
            for form in ("csv", "jsonl"):
                path = f"/audit-events/export/?{query}&file={form}"
                text = b"".join(REST(alice_client).get(path).streaming_content).decode()
                assert foreign.public_id not in text
                text = b"".join(REST(charlie_client).get(path).streaming_content).decode()
                assert foreign.public_id in text
        for query in ("tenant_id=1", "ordering=id", "tenant__slug=globex", "file=exe"):
            assert REST(alice_client).get(f"/audit-events/export/?{query}").status_code == 400

    def test_where_staff_sat_is_neither_shown_nor_found_out_by_asking(
        self, acme: Tenant, alice_client: Client, olive_client: Client
    ) -> None:
        event = AuditEventFactory(tenant=acme, actor_role="support", actor_label="sam", address="203.0.113.5")
        rest = REST(alice_client)
        assert found(rest, "actor=sam") == [event.public_id]
        assert found(rest, "address=203.0.113.5") == []
        exported = b"".join(rest.get("/audit-events/export/?file=jsonl").streaming_content).decode()
        assert "sam" in exported
        assert "203.0.113.5" not in exported
        assert found(REST(olive_client), "address=203.0.113.5") == [event.public_id]


@pytest.mark.slow
def test_a_tenants_canary_is_in_nothing_that_another_reads(
    trail: Trail, theirs: Trail, globex: Tenant, alice_client: Client, charlie_client: Client
) -> None:
    """Attack 65, and 66: what a client says of itself in headers chooses no trail."""
    canary = "canary-8c1f0d7e"
    AuditEventFactory(
        tenant=globex, reason=canary, actor_label=canary, request_id=canary, after={"x": canary}
    )
    theirs.seal()
    headers = {"x-tenant": "globex", "x-tenant-id": globex.public_id, "x-forwarded-for": "203.0.113.9"}

    def everything(rest: REST) -> bytes:
        paths = ("/audit-events/", "/audit/", "/audit-events/export/", "/audit-events/export/?file=jsonl")
        read = b""
        for path in paths:
            answer = rest.get(path, headers=headers)
            assert answer.status_code == 200
            read += b"".join(answer.streaming_content) if answer.streaming else answer.content
        archive = b"".join(rest.get("/audit/export/", headers=headers).streaming_content)
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            read += b"".join(map(files.read, files.namelist()))
        return read + rest.post("/audit/verify/", {}, headers=headers).content

    assert canary.encode() not in everything(REST(alice_client))
    assert canary.encode() in everything(REST(charlie_client))


class TestExport:
    """As files."""

    def test_both_forms_hold_all_pages_newest_first(
        self, acme: Tenant, alice_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tenants.api.audit_files.PAGE", 2)
        made = [event.public_id for event in AuditEventFactory.create_batch(5, tenant=acme, reason="=1+1")]
        rest = REST(alice_client)
        path = "/audit-events/export/?action=tests.thing.done"
        table = list(csv.DictReader(io.StringIO(b"".join(rest.get(path).streaming_content).decode())))
        assert [row["id"] for row in table] == made[::-1]
        assert {row["reason"] for row in table} == {"'=1+1"}  # no formula
        lines = b"".join(rest.get(f"{path}&file=jsonl").streaming_content).decode().splitlines()
        assert [json.loads(line)["id"] for line in lines] == made[::-1]


class TestVerification:
    """The button."""

    def test_a_tenant_verifies_its_own_trail(self, trail: Trail, theirs: Trail, alice_client: Client) -> None:
        rest = REST(alice_client)
        answer = rest.post("/audit/verify/", {})
        assert answer.status_code == 200, answer.content
        body = answer.json()
        assert (body["is_whole"], body["is_complete"]) == (True, True)
        (chain,) = body["chains"]
        assert (chain["chain"], chain["links"], chain["last_good_sequence"]) == (trail.chain, 9, 9)
        event = trail.event_of(4)
        trail.attack("UPDATE audit_auditevent SET reason = 'forged' WHERE id = %(event)s", event=event)
        body = rest.post("/audit/verify/", {"chain": trail.chain}).json()
        assert not body["is_whole"]
        (finding,) = body["chains"][0]["findings"]
        assert (finding["kind"], finding["sequence"]) == ("edited", 4)
        assert finding["event"] == public_id("aud", event)
        assert finding["message"]
        with platform_scope(reason="tests"):
            said = AuditEvent.objects.filter(action="audit.trail.verified", tenant_id=trail.tenant_id)
            assert [each.after["is_whole"] for each in said.order_by("id")] == [True, False]

    @pytest.mark.slow
    def test_nobody_names_anothers_chain(
        self, trail: Trail, theirs: Trail, alice_client: Client, acme: Tenant
    ) -> None:
        """Attack 31: foreign, absent and the platform's are refused alike."""
        for rest in (REST(alice_client), with_key(acme, "manage")):
            answers = [
                answer
                for chain in (theirs.chain, "ten_" + "0" * 26, "platform", "x")
                for answer in (
                    rest.post("/audit/verify/", {"chain": chain}),
                    rest.get(f"/audit/?chain={chain}"),
                    rest.get(f"/audit/export/?chain={chain}"),
                )
            ]
            assert {answer.status_code for answer in answers} == {400}
            assert {answer.json()["errors"][0]["code"] for answer in answers} == {"not_found"}
            assert rest.get(f"/audit/?chain={trail.chain}").status_code == 200

    def test_staff_verify_all_or_one(
        self, trail: Trail, theirs: Trail, olive_client: Client, sam_client: Client
    ) -> None:
        theirs.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=theirs.event_of(1))
        body = REST(olive_client).post("/audit/verify/", {}).json()
        whole = {each["chain"]: each["is_whole"] for each in body["chains"]}
        assert whole[trail.chain]
        assert not whole[theirs.chain]
        assert "platform" in whole
        body = REST(sam_client).post("/audit/verify/", {"chain": trail.chain}).json()
        assert [each["chain"] for each in body["chains"]] == [trail.chain]

    def test_a_long_trail_is_verified_from_a_signed_link_on(
        self, trail: Trail, alice_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("audit.services.verification.MOST_LINKS", 4)
        body = REST(alice_client).post("/audit/verify/", {}).json()
        assert (body["is_whole"], body["is_complete"]) == (True, False)
        assert (body["chains"][0]["first"], body["chains"][0]["links"]) == (4, 6)

    def test_the_state_says_what_is_sealed_signed_and_waiting(
        self, trail: Trail, alice_client: Client, olive_client: Client
    ) -> None:
        trail.write(2)
        body = REST(alice_client).get("/audit/").json()
        assert (body["chain"], body["last_sequence"], body["signed_through"]) == (trail.chain, 9, 9)
        assert body["waiting"] == 2
        assert body["public_key"]
        assert REST(olive_client).get("/audit/").json()["chain"] == "platform"

    @pytest.mark.slow
    def test_staff_verify_in_the_admin(self, trail: Trail, sam_client: Client) -> None:
        event = trail.event_of(4)
        trail.attack("UPDATE audit_auditevent SET reason = 'forged' WHERE id = %(event)s", event=event)
        body = {"action": "verify", "_selected_action": [str(event)], "reason": "", "index": 0}
        page = sam_client.post("/admin/audit/auditevent/", body, follow=True).content.decode()
        assert public_id("aud", event) in page
        assert "changed after it was sealed" in page


def test_the_trail_of_a_suspended_tenant_stays_open_to_its_auditor(
    acme: Tenant, sign_in: Callable[[Any], Client]
) -> None:
    from tests.factories.tenants import MembershipFactory

    auditor = MembershipFactory(tenant=acme, role="auditor").user
    with platform_scope(reason="tests"):
        Tenant.objects.filter(pk=acme.pk).update(status="suspended")
    rest = REST(sign_in(auditor))
    assert rest.get("/audit-events/").status_code == 200
    assert rest.get("/models/").status_code == 403
