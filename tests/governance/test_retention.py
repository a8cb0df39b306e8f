"""Retention: what is too old goes, tenant by tenant and by each one's policy, and each run says what it removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from audit.models import AuditEvent
from core import clock, governance
from core.actors import system
from core.scoping import platform_scope
from inference.call_logs import retention as log_retention
from inference.models import CallLog, CallLogText, DataKey
from tenants.models import RetentionRun, Tenant
from tenants.services import retention
from tests import database
from tests.api.client import REST
from tests.factories.call_logs import CallLogFactory, CallLogTextFactory, LogPolicyFactory

ACTOR = system("tests")


def log_of(tenant: Tenant, days: float) -> CallLog:
    moment = clock.now() - timedelta(days=days)
    return CallLogFactory(tenant=tenant, started_at=moment, finished_at=moment)


def stored(tenant: Tenant) -> set[Any]:
    with platform_scope("tests"):
        return set(CallLog.objects.filter(tenant=tenant).values_list("pk", flat=True))


@pytest.fixture
def made(transactional_db: None) -> dict[str, Any]:
    """Acme keeps 30 days, by default; Globex 90."""
    acme, globex = _tenants()
    LogPolicyFactory(tenant=globex, retention_days=90)
    return {
        "acme": acme,
        "globex": globex,
        "young": log_of(acme, 29),
        "old": [log_of(acme, 31 + number) for number in range(7)],
        "theirs": [log_of(globex, 31), log_of(globex, 89)],
        "their old": [log_of(globex, 91)],
    }


def _tenants() -> tuple[Tenant, Tenant]:
    from tests.factories.tenants import TenantFactory

    return TenantFactory(slug="acme"), TenantFactory(slug="globex")


def test_each_tenants_own_policy_decides(made: dict[str, Any]) -> None:
    (run,) = retention.apply(actor=ACTOR, data_class="call_logs")
    assert stored(made["acme"]) == {made["young"].pk}
    assert stored(made["globex"]) == {row.pk for row in made["theirs"]}
    assert run.removed == 8
    by_tenant = {line["tenant"]: line for line in run.details if line["how"] == "rows"}
    assert by_tenant[made["acme"].public_id]["count"] == 7
    oldest = min(row.started_at for row in made["old"])
    assert datetime.fromisoformat(by_tenant[made["acme"].public_id]["begin"]) == oldest
    with platform_scope("tests"):
        (event,) = AuditEvent.objects.filter(action="tenants.retention.applied")
    assert event.after == {"class": "call_logs", "removed": 8, "sha256": run.digest}


def test_a_dry_run_counts_the_same_and_removes_nothing(made: dict[str, Any]) -> None:
    before = stored(made["acme"]) | stored(made["globex"])
    (dry,) = retention.apply(actor=ACTOR, data_class="call_logs", dry_run=True)
    assert stored(made["acme"]) | stored(made["globex"]) == before
    (wet,) = retention.apply(actor=ACTOR, data_class="call_logs")
    assert dry.removed == wet.removed == 8
    assert [line for line in dry.details if line["how"] == "rows"] == [
        line for line in wet.details if line["how"] == "rows"
    ]
    with platform_scope("tests"):
        assert AuditEvent.objects.filter(action="tenants.retention.applied").count() == 1
    (again,) = retention.apply(actor=ACTOR, data_class="call_logs")
    assert again.removed == 0


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches_of_any_size_remove_the_same_and_say_the_same(made: dict[str, Any], size: int) -> None:
    cutoff = clock.now() - timedelta(days=30)
    arguments: dict[str, Any] = {"tenant_id": made["acme"].pk, "size": size}
    dry = governance.delete_before(CallLog, "started_at", cutoff, dry_run=True, **arguments)
    wet = governance.delete_before(CallLog, "started_at", cutoff, dry_run=False, **arguments)
    assert (wet.count, wet.begin, wet.end, wet.digest) == (dry.count, dry.begin, dry.end, dry.digest)
    assert wet.count == 7
    assert stored(made["acme"]) == {made["young"].pk}


def test_rows_of_one_moment_end_no_batch_too_early(transactional_db: None) -> None:
    tenant, _ = _tenants()
    moment = clock.now() - timedelta(days=40)
    for _number in range(5):
        CallLogFactory(tenant=tenant, started_at=moment, finished_at=moment)
    removed = governance.delete_before(
        CallLog, "started_at", clock.now(), tenant_id=tenant.pk, dry_run=False, size=2
    )
    assert removed.count == 5


def test_the_digest_tells_other_rows_apart(made: dict[str, Any]) -> None:
    cutoff = clock.now() - timedelta(days=30)
    first = governance.delete_before(CallLog, "started_at", cutoff, tenant_id=made["acme"].pk, dry_run=True)
    other = governance.delete_before(CallLog, "started_at", cutoff, tenant_id=made["globex"].pk, dry_run=True)
    assert first.digest != other.digest


def partition_of(month: datetime) -> bool:
    with database.as_owner() as owner:
        row = owner.execute(
            "SELECT to_regclass(%s) IS NOT NULL", [f"inference_calllog_{month:%Y_%m}"]
        ).fetchone()
    return bool(row and row[0])


def test_months_that_nobody_keeps_go_whole(transactional_db: None) -> None:
    from core import partitions

    acme, globex = _tenants()
    long_ago = (clock.now() - timedelta(days=120)).replace(day=1)
    partitions.make_partition("inference_calllog", long_ago.date())
    for tenant in (acme, globex):
        CallLogFactory(tenant=tenant, started_at=long_ago + timedelta(days=3), finished_at=long_ago)
    try:
        (dry,) = retention.apply(actor=ACTOR, data_class="call_logs", dry_run=True)
        assert partition_of(long_ago)
        (run,) = retention.apply(actor=ACTOR, data_class="call_logs")
        assert not partition_of(long_ago)
    finally:
        with platform_scope("tests"):
            partitions.drop_partition("inference_calllog", long_ago.date())
    (line,) = run.details
    assert (line["how"], line["count"], line["tenant"]) == ("partition", 2, None)
    assert run.removed == 2
    assert dry.details == run.details
    assert dry.removed == run.removed


def test_one_tenant_that_keeps_longer_keeps_its_month(transactional_db: None) -> None:
    from core import partitions

    acme, globex = _tenants()
    LogPolicyFactory(tenant=globex, retention_days=365)
    long_ago = (clock.now() - timedelta(days=120)).replace(day=1)
    partitions.make_partition("inference_calllog", long_ago.date())
    try:
        rows = [
            CallLogFactory(tenant=tenant, started_at=long_ago + timedelta(days=3), finished_at=long_ago)
            for tenant in (acme, globex)
        ]
        retention.apply(actor=ACTOR, data_class="call_logs")
        assert stored(acme) == set()
        assert stored(globex) == {rows[1].pk}
    finally:
        with platform_scope("tests"):
            partitions.drop_partition("inference_calllog", long_ago.date())


def test_a_month_that_is_not_over_cannot_be_dropped(transactional_db: None) -> None:
    import psycopg
    from django.db import DatabaseError

    from core import partitions

    with pytest.raises(DatabaseError) as refused, platform_scope("tests"):
        partitions.drop_partition("inference_calllog", datetime.now(UTC).date())
    assert isinstance(refused.value.__cause__, psycopg.errors.InvalidParameterValue)


def test_without_the_platform_door_no_partition_is_dropped(transactional_db: None) -> None:
    import psycopg

    with database.as_runtime() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT inference_calllog_drop_partition('2024-01-01')")


def test_partitions_are_made_ahead_and_made_up_for(transactional_db: None) -> None:
    log_retention.keep_ahead()
    assert log_retention.keep_ahead() == 0


def test_texts_go_with_their_logs_and_keys_with_their_last_text(transactional_db: None) -> None:
    acme, _ = _tenants()
    text = CallLogTextFactory(tenant=acme, started_at=clock.now() - timedelta(days=40))
    with platform_scope("tests"):
        DataKey.objects.filter(pk=text.data_key_id).update(updated_at=clock.now() - timedelta(days=2))
    (run,) = retention.apply(actor=ACTOR, data_class="call_texts")
    with platform_scope("tests"):
        assert not CallLogText.objects.exists()
        key = DataKey.objects.get(pk=text.data_key_id)
    assert key.destroyed_at is not None
    assert key.wrapped == ""
    assert run.removed == 2


def test_all_classes_with_a_rule_run_and_one_that_fails_stops_no_other(
    made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: Any) -> Any:
        raise RuntimeError("no")

    class_ = governance.catalogue()["accounts"]
    monkeypatch.setitem(
        governance._catalogue, "accounts", type(class_)(**{**class_.__dict__, "retain": fails})
    )
    runs = retention.apply(actor=ACTOR)
    assert {run.data_class for run in runs} == {"call_logs", "call_texts", "exports", "idempotency"}


def test_only_one_run_at_a_time(made: dict[str, Any]) -> None:
    with database.as_runtime() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [retention.LOCK])
        assert retention.apply(actor=ACTOR) == []
        # Not left to the end of the session, which the server notices when it likes.
        other.execute("SELECT pg_advisory_unlock(%s)", [retention.LOCK])
    assert retention.apply(actor=ACTOR)


def test_the_command_says_what_would_go(made: dict[str, Any]) -> None:
    out = StringIO()
    call_command("apply_retention", "--dry-run", "--class", "call_logs", stdout=out)
    assert out.getvalue().startswith("call_logs: 8 would go")
    assert len(stored(made["acme"])) == 8
    with pytest.raises(CommandError, match="none of"):
        call_command("apply_retention", "--class", "nothing")
    call_command("data_catalogue", stdout=out)
    assert "inference.CallLog" in out.getvalue()


@pytest.mark.django_db
def test_staff_count_over_rest_and_operators_have_it_applied(
    acme: Tenant, alice_client: Client, olive_client: Client, sam_client: Client, olive: User
) -> None:
    log_of(acme, 40)
    operator = REST(olive_client)
    assert REST(alice_client).post("/retention-runs/", {}).status_code == 403
    assert REST(sam_client).post("/retention-runs/", {}).status_code == 403
    answer = operator.post("/retention-runs/", {"data_class": "call_logs"})
    assert answer.status_code == 200, answer.content
    (run,) = answer.json()["results"]
    assert (run["removed"], run["is_dry_run"], run["ran_by"]) == (1, True, olive.email)
    assert operator.post("/retention-runs/", {"data_class": "nonsense"}).status_code == 400
    assert operator.post("/retention-runs/", {"dry_run": False}).json() == {"results": []}
    with platform_scope("tests"):
        assert RetentionRun.objects.count() == 1
        assert AuditEvent.objects.filter(action="tenants.retention.requested").count() == 1
    assert [row["id"] for row in operator.get("/retention-runs/").json()["results"]] == [run["id"]]
    names = {row["name"] for row in REST(alice_client).get("/data-classes/").json()["results"]}
    assert {"call_logs", "chats", "ledger"} <= names
