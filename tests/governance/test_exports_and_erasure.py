"""A tenant takes all of its data along, and one end user's data goes everywhere at once, with a certificate."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from audit.models import AuditEvent
from billing.models import UsageRecord, UsageRollup
from core import clock, governance
from core.actors import system
from core.scoping import platform_scope, tenant_scope
from core.valkey import sync_client
from inference.models import CallLog, CallLogText
from inference.queue.keys import CALL_LOGS
from safety import terms
from safety.models import Review
from tenants.models import Erasure, Tenant, TenantExport
from tenants.services import erasure, exports, retention
from tests.api.client import REST
from tests.call_logs.test_rest import full
from tests.factories.access import APIKeyFactory
from tests.factories.billing import UsageRecordFactory
from tests.factories.call_logs import CallLogFactory, CallLogTextFactory
from tests.factories.governance import TenantExportFactory
from tests.factories.inference import ChatMessageFactory, ChatSessionFactory
from tests.factories.safety import SECRET_WORD, ReviewFactory, RuleSetVersionFactory, WordListFactory
from tests.governance import stores

pytestmark = pytest.mark.usefixtures("transactional_db")
ACTOR = system("tests")


def made(tenant: Tenant) -> TenantExport:
    with tenant_scope(tenant.pk):
        asked = exports.request(actor=ACTOR, tenant_id=tenant.pk)
    return exports.build(export_id=asked.pk, tenant_id=tenant.pk)


def lines(archive: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(name).splitlines()]


@pytest.mark.slow
def test_an_export_holds_everything_of_the_tenant_and_nothing_of_others(
    acme: Tenant, globex: Tenant, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    for tenant in (acme, globex):
        session = ChatSessionFactory(tenant=tenant, title=f"chat of {tenant.slug}")
        for number in range(5):
            ChatMessageFactory(tenant=tenant, session=session, content=f"{tenant.slug} {number} 你好")
        CallLogFactory(tenant=tenant, prompt_summary=f"prompt of {tenant.slug}")
        ReviewFactory(tenant=tenant)
    full(acme)
    words = WordListFactory(tenant=acme, content=terms.pack(["rain", "雨"]))
    RuleSetVersionFactory(tenant=acme)
    with platform_scope("tests"):
        review = Review.objects.get(tenant=acme)
    export = made(acme)
    path = exports.path_of(export)
    assert (export.state, export.size_bytes) == ("done", path.stat().st_size)
    assert export.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        whole = b"".join(archive.read(name) for name in archive.namelist()).decode()
        messages = lines(archive, "chats/inference_chatmessage.jsonl")
        texts = lines(archive, "call_texts/texts.jsonl")
        held = lines(archive, "safety_reviews/texts.jsonl")
        listed = lines(archive, "safety_rules/words.jsonl")
        published = lines(archive, "safety_rules/published.jsonl")
        manifest = json.loads(archive.read("manifest.json"))
    assert sorted(row["content"] for row in messages) == [f"acme {number} 你好" for number in range(5)]
    assert "globex" not in whole
    assert texts[0]["prompt"] == "the prompt"
    assert held == [{"id": review.public_id, "text": SECRET_WORD}]
    assert listed == [{"id": words.public_id, "name": words.name, "words": ["rain", "雨"]}]
    assert published[0]["rule_set"]["rules"][0]["terms"] == ["thunder"]
    assert manifest["classes"]["chats"]["rows"] == {"inference_chatsession": 1, "inference_chatmessage": 5}
    exported = {name for name, each in governance.catalogue().items() if each.exported}
    assert set(manifest["classes"]) == exported
    assert export.steps_done == export.steps == len(exported)


def test_an_export_holds_no_secret(acme: Tenant) -> None:
    key = APIKeyFactory(tenant=acme)
    full(acme)
    with zipfile.ZipFile(exports.path_of(made(acme))) as archive:
        whole = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert key.name in whole
    assert key.digest not in whole
    assert '"wrapped"' not in whole


@pytest.mark.slow
def test_an_export_is_downloaded_by_administrators_and_each_time_is_in_the_trail(
    acme: Tenant, alice_client: Client, bob_client: Client, olive_client: Client, charlie_client: Client
) -> None:
    """Attack 32."""
    assert REST(bob_client).post("/exports/", {}).status_code == 403
    asked = REST(alice_client).post("/exports/", {})
    assert asked.status_code == 201, asked.content
    path = f"/exports/{asked.json()['id']}/download/"
    assert REST(alice_client).get(path).status_code == 409
    with platform_scope("tests"):
        row = TenantExport.objects.get()
    exports.build(export_id=row.pk, tenant_id=acme.pk)
    for client in (bob_client, olive_client):
        assert REST(client).get(path).status_code == 403
    assert REST(charlie_client).get(path).status_code == 404
    answer = REST(alice_client).get(path)
    data = b"".join(answer.streaming_content)
    assert answer.headers["Content-Type"] == "application/zip"
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    with platform_scope("tests"):
        (event,) = AuditEvent.objects.filter(action="tenants.export.downloaded")
    assert event.actor_label == "alice@acme.example"


@pytest.mark.slow
def test_exports_are_few_at_once_and_expire(acme: Tenant, alice_client: Client, exports_dir: Path) -> None:
    rest = REST(alice_client)
    assert [rest.post("/exports/", {}).status_code for _ in range(3)] == [201, 201, 409]
    export = made_again(acme)
    assert list(exports_dir.rglob("*.zip"))
    with platform_scope("tests"):
        TenantExport.objects.filter(pk=export.pk).update(expires_at=clock.now() - timedelta(seconds=1))
    (run,) = retention.apply(actor=ACTOR, data_class="exports")
    assert run.removed == 1
    assert not list(exports_dir.rglob("*.zip"))
    with platform_scope("tests"):
        assert TenantExport.objects.get(pk=export.pk).state == "expired"


def made_again(tenant: Tenant) -> TenantExport:
    row = TenantExportFactory(tenant=tenant)
    return exports.build(export_id=row.pk, tenant_id=tenant.pk)


def test_an_export_that_fails_leaves_no_file_and_says_so(
    acme: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = TenantExportFactory(tenant=acme)

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(exports, "rows_after", fails)
        with pytest.raises(RuntimeError):
            exports.build(export_id=row.pk, tenant_id=acme.pk)
    assert list(exports_dir.rglob("*.*")) == []
    with platform_scope("tests"):
        assert TenantExport.objects.get(pk=row.pk).state == "failed"
    assert exports.build(export_id=row.pk, tenant_id=acme.pk).state == "done"


# --- One end user

END_USER = "patient-0815-qzx"


def test_one_end_users_data_goes_everywhere_and_nobody_elses(
    acme: Tenant, globex: Tenant, alice_client: Client
) -> None:
    for tenant in (acme, globex):
        for user in (END_USER, "somebody else"):
            log = CallLogFactory(tenant=tenant, end_user=user)
            ReviewFactory(tenant=tenant, request_id=log.request_id)
            CallLogTextFactory(tenant=tenant, end_user=user)
            UsageRecordFactory(tenant=tenant, end_user=user, completion_tokens=7)
            note = {"tenant_id": str(tenant.pk), "end_user": user, "request_id": "x"}
            sync_client().xadd(CALL_LOGS, {"r": json.dumps(note)})
    answer = REST(alice_client).post("/erasures/", {"end_user": END_USER, "reason": "asked for it"})
    assert answer.status_code == 201, answer.content
    assert END_USER not in answer.content.decode()
    with platform_scope("tests"):
        asked = Erasure.objects.get()
        sums = UsageRollup.objects.filter(tenant=acme).values_list("completion_tokens", flat=True)
        before = sorted(sums)
    assert END_USER not in asked.subject
    done = erasure.run(erasure_id=asked.pk, tenant_id=acme.pk)
    assert done.removed == {
        "call_logs": {CALL_LOGS: 1, "inference_calllog": 1, "safety_review": 1},
        "call_texts": {"inference_calllogtext": 1},
        "usage_records": {"billing_usagerecord": 1},
    }
    with platform_scope("tests"):
        assert set(CallLog.objects.filter(tenant=acme).values_list("end_user", flat=True)) == {
            "somebody else"
        }
        assert CallLog.objects.filter(tenant=globex).count() == 2
        assert CallLogText.objects.filter(tenant=globex).count() == 2
        assert Review.objects.filter(tenant=acme).count() == 1
        assert Review.objects.filter(tenant=globex).count() == 2
        # What was used stays, nobody's.
        used = UsageRecord.objects.filter(tenant=acme)
        assert sorted(used.values_list("end_user", "completion_tokens")) == [("", 7), ("somebody else", 7)]
        assert (
            sorted(UsageRollup.objects.filter(tenant=acme).values_list("completion_tokens", flat=True))
            == before
        )
        Tenant.objects.filter(pk=globex.pk).update(name="Globex")
    left = stores.tables_with(END_USER)
    assert left == {"inference_calllog": 1, "inference_calllogtext": 1, "billing_usagerecord": 1}  # Globex's
    body = REST(alice_client).get(f"/erasures/{done.public_id}/certificate/").json()
    assert body["is_genuine"] is True
    assert body["certificate"]["removed"] == done.removed
    assert body["certificate"]["end_user_digest"] == erasure.subject_digest(acme.pk, END_USER)
    assert body["certificate"]["end_user_digest"] != erasure.subject_digest(globex.pk, END_USER)
    sync_client().delete(CALL_LOGS)


@pytest.mark.parametrize(
    "body", [{}, {"end_user": ""}, {"end_user": "x" * 300, "reason": "x"}, {"end_user": "x"}]
)
def test_an_erasure_needs_a_name_and_a_reason(
    body: dict[str, Any], acme: Tenant, alice_client: Client
) -> None:
    assert REST(alice_client).post("/erasures/", body).status_code == 400


def test_what_does_the_work_is_sent_ids_only(
    acme: Tenant, alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L19: no name in a message of Celery's."""
    from celery import current_app

    sent: list[Any] = []
    monkeypatch.setattr(current_app, "send_task", lambda *args, **kwargs: sent.append((args, kwargs)))
    REST(alice_client).post("/erasures/", {"end_user": END_USER, "reason": "asked"})
    assert sent
    assert END_USER not in str(sent)
