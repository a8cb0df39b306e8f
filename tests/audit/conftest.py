"""A trail of Acme's, sealed and signed, in a folder of the test's own; and what a superuser could do to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connections

from audit.links import chain_name
from audit.models import AuditEvent, AuditSeal
from audit.services import checkpoints, record, sealing, verification
from audit.services.verification import Verified
from core.actors import system
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests import database


@pytest.fixture(autouse=True)
def checkpoint_folder(tmp_path: Path, settings: Any) -> Path:
    """Checkpoints of one test are not another's."""
    settings.AUDIT_DIR = tmp_path / "audit"
    return settings.AUDIT_DIR


@dataclass
class Trail:
    """One tenant's trail (none: the platform's), and what is done to it."""

    tenant_id: UUID | None
    folder: Path

    @property
    def chain(self) -> str:
        """Its name."""
        return chain_name(self.tenant_id)

    @property
    def file(self) -> Path:
        """Its checkpoints."""
        return self.folder / f"{self.chain}.jsonl"

    def write(self, count: int = 1, action: str = "tests.thing.done") -> list[AuditEvent]:
        """So many events."""
        made = []
        for number in range(count):
            if self.tenant_id is None:
                made.append(record(action, actor=system("tests"), after={"number": number}))
                continue
            with tenant_scope(self.tenant_id):
                made.append(
                    record(action, actor=system("tests"), tenant_id=self.tenant_id, after={"number": number})
                )
        return made

    def seal(self) -> None:
        """Seal what waits, and sign it."""
        sealing.seal()
        checkpoints.sign_due(at_once=True)

    def grow(self, *batches: int) -> None:
        """Write, seal and sign, batch by batch."""
        for count in batches:
            self.write(count)
            self.seal()

    def verify(self, **options: Any) -> Verified:
        """The service's own verification."""
        with platform_scope(reason="tests"):
            return verification.verify(tenant_id=self.tenant_id, **options)

    def found(self, **options: Any) -> set[tuple[str, int | None]]:
        """What verification finds, and where."""
        return {(each.kind, each.sequence) for each in self.verify(**options).report.findings}

    def event_of(self, sequence: int) -> UUID:
        """The event behind a link."""
        with platform_scope(reason="tests"):
            return AuditSeal.objects.get(tenant_id=self.tenant_id, sequence=sequence).event_id

    def lines(self) -> list[dict[str, Any]]:
        """The checkpoints."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def attack(self, *statements: str, **values: Any) -> None:
        """Statements of a superuser with triggers disabled. `%(chain)s` is the tenant."""
        with as_superuser() as admin:
            admin.execute("SET session_replication_role = replica")
            for statement in statements:
                done = admin.execute(statement, {"chain": self.tenant_id, **values})
                assert done.rowcount, f"the attack did nothing: {statement}"


def as_superuser() -> psycopg.Connection[tuple[Any, ...]]:
    """A connection past every wall."""
    name = connections["default"].settings_dict["NAME"]
    return psycopg.connect(database.admin_url(), dbname=name)


@pytest.fixture
def trail(transactional_db: None, acme: Tenant, checkpoint_folder: Path) -> Trail:
    """Acme's trail: nine links in three signed batches."""
    made = Trail(acme.pk, checkpoint_folder)
    made.grow(3, 3, 3)
    return made


@pytest.fixture
def platform_trail(transactional_db: None, checkpoint_folder: Path) -> Trail:
    """The platform's own trail, empty."""
    return Trail(None, checkpoint_folder)
