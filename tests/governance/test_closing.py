"""Closing a tenant: a canary in everything that it owns, and afterwards in nothing but what the law keeps (attack 33).

What its people write (prompts, answers, end users, messages) and what they name (keys, models, budgets) are told apart:
of the first nothing may stay anywhere, the second may stay in books and in the audit trail.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from audit.models import AuditEvent
from audit.services import checkpoints, sealing, verification
from audit.services.verification import Verified
from billing.models import UsageRecord
from core import governance
from core.actors import system
from core.checks import WALLED, own_models
from core.errors import Conflict
from core.scoping import platform_scope, tenant_scope
from core.threads import in_thread
from core.valkey import sync_client
from inference import tasks
from inference.call_logs import services as log_services
from inference.call_logs.recorder import process_call_logs
from inference.call_logs.wire import CallNote, encode_note
from inference.models import CallLog
from inference.queue import journal
from inference.queue.journal import process_journal
from inference.queue.keys import CALL_LOGS, USAGE
from inference.queue.wire import encode_usage
from safety import terms
from safety.services import hits
from safety.spec import Action, Direction, Kind, Severity, Verdict
from tenants.models import Erasure, Tenant, TenantStatus
from tenants.services import erasure, exports, tenants
from tests.api.client import REST
from tests.call_logs.conftest import bring_in
from tests.factories.accounts import UserFactory
from tests.factories.audit import AuditEventFactory
from tests.factories.base import factory_of
from tests.factories.billing import UsageRecordFactory
from tests.factories.inference import ChatMessageFactory, ChatSessionFactory
from tests.factories.safety import (
    HitCountFactory,
    OverrideFactory,
    ReviewFactory,
    RuleFactory,
    RuleSetVersionFactory,
    TenantSafetyFactory,
    WordListFactory,
)
from tests.factories.tenants import MembershipFactory, TenantFactory
from tests.governance import stores
from tests.inference.edge import BODY, Edge
from tests.metering.notes import note
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("transactional_db")

TEXT, NAME = "canarytextqzx", "canarynameqzx"
ACTOR = system("tests")


@pytest.fixture(autouse=True)
def _nothing_stays(settings: Any) -> Iterator[None]:
    """A test that fails leaves nothing for the next to find."""
    yield
    shutil.rmtree(Path(settings.ATRIUM_HOME) / "models" / NAME, ignore_errors=True)
    governance.delete_keys(
        sync_client(), ["atrium:adm:*", "atrium:usage:refused", "atrium:{*}:chat:*", hits.STREAM]
    )


# Where names of a closed tenant may stay: the books. Rows there are ids, amounts and such names.
BOOKS = {
    *("billing_account", "billing_ledgertransaction", "billing_ledgerentry", "billing_escrowepoch"),
    *("billing_payment", "billing_correction", "billing_pricesubscription", "billing_billingevent"),
    *("billing_invoice", "billing_invoiceline", "billing_usagerecord", "billing_usagerollup"),
    *("billing_usagecounter", "tenants_erasure"),
}
# Digests of what was erased, without a word of it.
PROOF = {"audit_auditseal", "audit_auditchain"}


@pytest.fixture
def own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a journal that no other test has written into, and that looks often."""
    monkeypatch.setattr(journal, "SEGMENT_S", 0.0)
    monkeypatch.setattr(journal, "LOOK_S", 0.05)
    fresh = journal.Journal(tmp_path / "journal")
    monkeypatch.setattr(journal, "_journal", fresh)
    monkeypatch.setattr(process_call_logs(), "_journal", fresh)
    yield tmp_path / "journal"
    fresh.close()


def plant(tenant: Tenant) -> None:
    """Through REST where people do it there; and at least one row of every class."""
    owner = MembershipFactory(tenant=tenant, role="owner").user
    client = Client()
    client.force_login(owner, backend="accounts.backends.ThrottledModelBackend")
    rest = REST(client)
    for path, body in (
        ("/keys/", {"name": f"{NAME} key", "scopes": ["invoke"]}),
        ("/models/", {"name": NAME, "title": f"{NAME} title", "description": TEXT, "source": "simulated"}),
        ("/budgets/", {"name": NAME, "scope": "tenant", "tokens": 10, "recipients": [f"{NAME}@example.com"]}),
        ("/limits/", {"kind": "requests_per_minute", "value": 10_000, "model": NAME}),
        ("/log-policy/change/", {"level": "full"}),
        ("/exports/", {}),
        ("/safety/disclaimers/", {"model": NAME, "prefix": TEXT}),
    ):
        answer = rest.request("post", path, body, headers={"Idempotency-Key": f"{TEXT}{path}"})
        assert answer.status_code in (200, 201), (path, answer.content)
    chat = ChatSessionFactory(tenant=tenant, title=TEXT, system_prompt=TEXT, parameters={"stop": [TEXT]})
    ChatMessageFactory(tenant=tenant, session=chat, content=f"I ask about {TEXT}")
    UsageRecordFactory(tenant=tenant, end_user=TEXT, tags={TEXT: TEXT})
    plant_rules(tenant)
    for model in own_models(*WALLED):
        with platform_scope("tests"):
            has_rows = model is Tenant or model.objects.filter(tenant_id=tenant.pk).exists()
        if not has_rows:
            factory = factory_of(model)
            assert factory is not None
            factory(tenant=tenant)
    valkey: Any = sync_client()
    valkey.hset(f"atrium:adm:{{{tenant.pk}}}:rates", "x", TEXT)
    valkey.hset(f"atrium:{{{tenant.pk}}}:chat:1", "0", TEXT)
    valkey.xadd("atrium:usage:refused", {"r": json.dumps({"tenant_id": str(tenant.pk), "end_user": TEXT})})
    valkey.xadd(CALL_LOGS, {"r": json.dumps({"tenant_id": str(tenant.pk), "prompt_summary": TEXT})})


def plant_rules(tenant: Tenant) -> None:
    """What a tenant forbids is a secret of its own: words, patterns, what matched, texts that wait for a person."""
    WordListFactory(tenant=tenant, name=TEXT, content=terms.pack([TEXT]))
    RuleFactory(tenant=tenant, name=TEXT, terms=[TEXT], pattern=TEXT)
    RuleSetVersionFactory(tenant=tenant, note=TEXT)
    OverrideFactory(tenant=tenant, rule=TEXT)
    HitCountFactory(tenant=tenant, rule=TEXT)
    TenantSafetyFactory(tenant=tenant, refusal_message=TEXT)
    ReviewFactory(tenant=tenant, text=TEXT, verdicts=[{"rule": TEXT}], rule=TEXT)
    matched = Verdict(
        rule=TEXT,
        version=1,
        kind=Kind.TERMS,
        category=TEXT,
        severity=Severity.HIGH,
        action=Action.FLAG,
        direction=Direction.IN,
        start=0,
        end=1,
    )
    hits.record(hits.counts_of(tenant.pk, [matched]))
    valkey: Any = sync_client()
    valkey.set(f"atrium:{{{tenant.pk}}}:safety:incident:rules", TEXT)
    # In the trail too: somebody changed a thing and called it so.
    AuditEventFactory(tenant=tenant, target_label=TEXT, before={"name": TEXT}, reason=TEXT)
    sealing.seal()


def take_in() -> None:
    """What the jobs worker goes on doing."""
    bring_in()
    tasks.keep_engine_totals()


def close(tenant: Tenant) -> Erasure:
    with platform_scope("tests"):
        tenants.close(tenant=tenant, actor=ACTOR, reason="they left")
        asked = erasure.request_tenant(tenant=tenant, actor=ACTOR, confirm=tenant.slug, reason="they left")
    return erasure.run(erasure_id=asked.pk, tenant_id=tenant.pk)


async def ask(edge: Edge) -> None:
    """Real requests, one of them refused, with the text wherever a client may put one."""
    await edge.start_replica("rep-a")
    body = {
        **BODY,
        "messages": [{"role": "user", "content": f"Tell me of {TEXT}."}],
        "user": TEXT,
        "metadata": {"team": TEXT},
        "stop": [TEXT],
    }
    async with edge.http() as http:
        for extra in ({}, {"stream": True}, {"n": 10**9}):
            await http.post("/v1/chat/completions", json={**body, **extra}, headers={"User-Agent": TEXT})

    async def are_settled() -> bool:
        return sum(row.is_settled for row in await in_thread(bring_in)()) >= 2

    await until(are_settled)


def set_full(edge: Edge) -> None:
    with tenant_scope(edge.served.acme.pk):
        log_services.set_policy(actor=ACTOR, level="full")


@pytest.mark.slow
async def test_of_a_closed_tenant_nothing_stays_but_what_the_law_keeps(
    edge: Edge,
    exports_dir: Path,
    capsys: pytest.CaptureFixture[str],
    settings: Any,
    own_journal: Path,
) -> None:
    acme, globex = edge.served.acme, edge.served.globex
    await in_thread(set_full)(edge)
    await ask(edge)
    await in_thread(plant)(acme)
    folder = Path(settings.ATRIUM_HOME) / "models" / NAME
    folder.mkdir(parents=True)
    (folder / "adapter.txt").write_text(TEXT)

    def prepare() -> None:
        from tests.factories.models_registry import ModelFactory, ModelVersionFactory

        version = ModelVersionFactory(tenant=acme, model=ModelFactory(tenant=acme))
        version.source, version.artifact_path, version.digest = "local", str(folder), "d" * 64
        with platform_scope("tests"):
            version.save()
        with platform_scope("tests"):
            export = acme_export(acme)
        exports.build(export_id=export.pk, tenant_id=acme.pk)
        ChatSessionFactory(tenant=globex, user=UserFactory(), title=f"globex {TEXT}")

    await in_thread(prepare)()
    # The control: it stood in every store, and every class that goes had rows.
    planted = await in_thread(stores.tables_with)(TEXT)
    assert {
        "inference_calllog",
        "inference_chatmessage",
        "models_registry_model",
        "billing_usagerecord",
    } <= set(planted)
    assert {
        *("safety_wordlist", "safety_rule", "safety_rulesetversion", "safety_override", "safety_disclaimer"),
        *("safety_tenantsafety", "safety_review", "safety_hitcount", "audit_auditevent"),
    } <= set(planted)
    assert {*(await in_thread(stores.keys_with)(TEXT))} >= {CALL_LOGS, "atrium:usage:refused", hits.STREAM}
    assert await in_thread(stores.files_with)(str(acme.pk), exports_dir, own_journal)
    owned = await in_thread(stores.rows_of)(acme.pk)
    assert {model._meta.db_table for model in governance.erasable_models()} <= set(owned)
    assert set(owned) >= PROOF

    done = await in_thread(close)(acme)

    left = await in_thread(stores.rows_of)(acme.pk)
    assert set(left) <= BOOKS | PROOF
    # Of the text only the neighbour's own is left; of names only those in books.
    assert await in_thread(stores.tables_with)(TEXT) == {"inference_chatsession": 1}
    assert set(await in_thread(stores.tables_with)(NAME)) <= BOOKS
    assert await in_thread(stores.keys_with)(TEXT) == set()
    assert await in_thread(stores.keys_with)(f"{{{acme.pk}}}") == set()
    assert not folder.exists()
    for mark in (TEXT, str(acme.pk)):
        for _ in range(100):  # journals look every two seconds; here twenty times a second
            if not (left_files := await in_thread(stores.files_with)(mark, exports_dir, own_journal)):
                break
            await in_thread(take_in)()
            process_journal()._wake.set()
            await asyncio.sleep(0.05)
        assert left_files == set()
    out, err = capsys.readouterr()
    assert TEXT not in out
    assert TEXT not in err

    def stone() -> Tenant:
        with platform_scope("tests"):
            return Tenant.objects.get(pk=acme.pk)

    tenant = await in_thread(stone)()
    assert (tenant.name, tenant.status) == ("", TenantStatus.CLOSED)
    assert tenant.slug.startswith("closed-")
    assert done.removed["call_logs"]["inference_calllog"] >= 3
    assert done.removed["data_keys"]["inference_datakey"] >= 1
    assert done.removed["models"]["model files"] == 1
    assert set(done.kept) >= {"ledger", "invoices", "usage_records", "audit_seals"}
    assert done.removed["audit_trail"]["audit_auditevent"] >= 1
    # The trail has ended with a signed record; that, and what was erased, stands in the platform's.
    assert [each.chain for each in await in_thread(verified)() if not each.report.is_whole] == []
    said = await in_thread(said_of_the_end)()
    assert [event.action for event in said] == ["audit.trail.erased", "tenants.tenant.erased"]
    assert said[1].after["sha256"] == done.digest
    assert await in_thread(erasure.is_genuine)(done)


def verified() -> list[Verified]:
    sealing.seal()
    checkpoints.sign_due(at_once=True)
    return verification.verify_all()


def said_of_the_end() -> list[AuditEvent]:
    with platform_scope("tests"):
        found = AuditEvent.objects.filter(tenant=None, action__contains="erased").order_by("pk")
        return list(found)


def acme_export(tenant: Tenant) -> Any:
    from tenants.models import TenantExport

    return TenantExport.objects.filter(tenant=tenant).first()


@pytest.mark.slow
def test_the_trail_ends_last_and_a_crash_before_that_costs_nothing(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the closing itself wrote goes too; without a key to sign the end with, nothing is called done."""
    tenant = TenantFactory(slug="leaving")
    AuditEventFactory(tenant=tenant)
    with monkeypatch.context() as broken:
        broken.setattr(django_settings, "AUDIT_KEYS", [])
        with pytest.raises(Conflict, match="ATRIUM_AUDIT_KEY"):
            close(tenant)
    with platform_scope("tests"):
        asked = Erasure.objects.get()
        assert (asked.state, Tenant.objects.get(pk=tenant.pk).slug) == ("failed", "leaving")
        assert AuditEvent.objects.filter(tenant=tenant).exists()
    done = erasure.run(erasure_id=asked.pk, tenant_id=tenant.pk)
    assert done.removed["audit_trail"]["audit_auditevent"] >= 3
    assert set(stores.rows_of(tenant.pk)) <= BOOKS | PROOF


@pytest.mark.slow
async def test_the_journal_forgets_what_postgresql_has(edge: Edge, own_journal: Path) -> None:
    """On the disk of a web process too: a segment of which nothing is open goes, though nothing more is written."""
    await ask(edge)
    found = {"?"}
    for _ in range(200):
        await in_thread(take_in)()
        found = await in_thread(stores.files_with)(TEXT, own_journal)
        if not found:
            break
        process_journal()._wake.set()
        await asyncio.sleep(0.05)
    assert found == set()
    assert process_call_logs().settle()


def test_a_tenant_is_erased_only_once_it_is_closing_and_by_name(transactional_db: None) -> None:
    from core.errors import InvalidInput
    from tenants.errors import WrongStatus

    tenant = TenantFactory(slug="leaving")
    with platform_scope("tests"):
        with pytest.raises(WrongStatus):
            erasure.request_tenant(tenant=tenant, actor=ACTOR, confirm="leaving", reason="x")
        tenants.close(tenant=tenant, actor=ACTOR, reason="x")
        with pytest.raises(InvalidInput):
            erasure.request_tenant(tenant=tenant, actor=ACTOR, confirm="other", reason="x")
        with pytest.raises(InvalidInput):
            erasure.request_tenant(tenant=tenant, actor=ACTOR, confirm="leaving", reason=" ")


def test_closing_tenants_are_erased_when_their_time_has_come(transactional_db: None, settings: Any) -> None:
    tenant, other = TenantFactory(slug="leaving"), TenantFactory(slug="staying")
    with platform_scope("tests"):
        tenants.close(tenant=tenant, actor=ACTOR, reason="x")
    assert erasure.erase_closed() == 0
    settings.CLOSING_GRACE_DAYS = 0
    assert erasure.erase_closed() == 1
    assert erasure.erase_closed() == 0  # taken on already
    with platform_scope("tests"):
        (asked,) = Erasure.objects.all()
    assert asked.tenant_id == tenant.pk
    assert other.is_active


@pytest.mark.slow
def test_an_erasure_that_was_cut_off_goes_on(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = TenantFactory(slug="leaving")
    ChatSessionFactory(tenant=tenant)
    with platform_scope("tests"):
        tenants.close(tenant=tenant, actor=ACTOR, reason="x")
        asked = erasure.request_tenant(tenant=tenant, actor=ACTOR, confirm="leaving", reason="x")

    def dies(model: Any, tenant_id: Any, **_: Any) -> int:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(governance, "delete_rows", dies)
        with pytest.raises(RuntimeError):
            erasure.run(erasure_id=asked.pk, tenant_id=tenant.pk)
    with platform_scope("tests"):
        assert Erasure.objects.get().state == "failed"
    done = erasure.run(erasure_id=asked.pk, tenant_id=tenant.pk)
    assert done.state == "done"
    assert done.removed["chats"]["inference_chatsession"] == 1
    assert erasure.run(erasure_id=asked.pk, tenant_id=tenant.pk).finished_at == done.finished_at


@pytest.mark.slow
def test_what_is_late_for_a_closed_tenant_comes_without_names_or_not_at_all(transactional_db: None) -> None:
    """A journal of a process that was down for weeks: what was used counts, what was erased does not come back."""
    tenant = TenantFactory(slug="leaving")
    close(tenant)
    late = note(tenant.pk, "req_late", end_user=TEXT, tags={TEXT: TEXT}, user_id=str(tenant.pk))
    said = CallNote(
        request_id="req_late",
        tenant_id=str(tenant.pk),
        started_ms=late.started_ms,
        finished_ms=late.finished_ms,
        outcome="completed",
        prompt_summary=TEXT,
    )
    valkey: Any = sync_client()
    valkey.xadd(USAGE, {"r": encode_usage(late)})
    valkey.xadd(CALL_LOGS, {"r": encode_note(said)})
    bring_in()
    assert stores.tables_with(TEXT) == {}
    assert stores.keys_with(TEXT) == set()
    with platform_scope("tests"):
        record = UsageRecord.objects.get(request_id="req_late")
        assert (record.completion_tokens, record.end_user, record.user_id) == (30, "", None)
        assert not CallLog.objects.exists()


@pytest.mark.slow
def test_a_certificate_that_was_changed_is_not_genuine(transactional_db: None) -> None:
    tenant = TenantFactory(slug="leaving")
    done = close(tenant)
    with platform_scope("tests"):
        stored = Erasure.objects.get(pk=done.pk)
        assert erasure.is_genuine(stored)
        stored.removed = {"call_logs": {"inference_calllog": 7}}
        assert not erasure.is_genuine(stored)
