"""Partitions of the usage table are made ahead; what had none is moved into its own, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import time_machine
from django.db import connection
from psycopg import sql

from billing.models import UsageRecord, UsageRollup
from billing.services import partitions
from core.scoping import platform_scope, tenant_scope
from tests import database
from tests.factories.billing import UsageRecordFactory
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_more_partitions_than_before():
    """What a test makes is gone afterwards: partitions stay when tables are emptied."""
    before = set(names())
    yield
    with database.as_owner() as owner:
        for name in set(names()) - before:
            owner.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


def names() -> list[str]:
    """All partitions."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
        return [row[0] for row in cursor.fetchall()]


def places() -> dict[str, str]:
    """Where each record lies."""
    with platform_scope("tests"), connection.cursor() as cursor:
        cursor.execute("SELECT request_id, tableoid::regclass::text FROM billing_usagerecord")
        return dict(cursor.fetchall())


def test_partitions_are_there_before_their_month_begins() -> None:
    with time_machine.travel(datetime(2027, 3, 31, 23, 59, tzinfo=UTC), tick=False):
        partitions.keep_ahead()
        wanted = {f"billing_usagerecord_2027_{month:02d}" for month in (3, 4, 5, 6)}
        assert wanted <= set(names())
        assert partitions.keep_ahead() == 0


def test_records_without_a_partition_are_kept_and_moved_when_there_is_one() -> None:
    acme, globex = TenantFactory(), TenantFactory()
    for number, tenant in enumerate((acme, globex, acme)):
        UsageRecordFactory(
            tenant=tenant,
            request_id=f"r{number}",
            finished_at=datetime(2021, 5, 31, 23, 59, number, tzinfo=UTC),
        )
    UsageRecordFactory(tenant=acme, request_id="old", finished_at=datetime(1999, 5, 31, tzinfo=UTC))
    assert set(places().values()) == {"billing_usagerecord_default"}
    with platform_scope("tests"):
        before = list(UsageRollup.objects.order_by("pk").values())
    assert partitions.keep_ahead() >= 1
    assert places() == {
        **dict.fromkeys(("r0", "r1", "r2"), "billing_usagerecord_2021_05"),
        "old": "billing_usagerecord_default",
    }
    with platform_scope("tests"):
        assert list(UsageRollup.objects.order_by("pk").values()) == before  # moving is no new usage
    with tenant_scope(acme.pk):
        assert UsageRecord.objects.count() == 3


def test_a_month_of_a_leap_year_ends_where_the_next_begins() -> None:
    from core.partitions import make_partition

    make_partition("billing_usagerecord", date(2024, 2, 17))
    tenant = TenantFactory()
    for number, moment in enumerate(
        (
            datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(2024, 3, 1, tzinfo=UTC),
            datetime(2024, 2, 1, tzinfo=UTC),
        )
    ):
        UsageRecordFactory(tenant=tenant, request_id=f"r{number}", started_at=moment, finished_at=moment)
    assert places() == {
        "r0": "billing_usagerecord_2024_02",
        "r1": "billing_usagerecord_default",
        "r2": "billing_usagerecord_2024_02",
    }
