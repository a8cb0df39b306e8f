"""All of a tenant's data as one ZIP file: JSON Lines per table and files, written piece by piece by the jobs worker.

Files lie in EXPORTS_DIR, readable by the server's user only, for EXPORT_DAYS. Where web and jobs processes run on
several machines, the folder must be one that all of them see.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import models, transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from core import clock, governance
from core.actors import Actor
from core.dispatch import enqueue
from core.errors import Conflict
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant, TenantExport, WorkState

log = structlog.get_logger(__name__)

PAGE = 1_000
PIECE = 256 * 1024
AT_ONCE = 2  # unfinished exports of one tenant


@transaction.atomic
def request(*, actor: Actor, tenant_id: UUID) -> TenantExport:
    """Have an export made. Raises NotAllowed, Conflict while others are being made."""
    policies.require(actor, "tenants.export.create")
    unfinished = TenantExport.objects.filter(
        tenant_id=tenant_id,
        state__in=(WorkState.WAITING, WorkState.RUNNING),
        created_at__gt=clock.now() - timedelta(days=1),
    )
    if unfinished.count() >= AT_ONCE:
        raise Conflict(_("An export is being made already."), code="export_running")
    export = TenantExport(tenant_id=tenant_id, requested_by=actor.label[:254])
    export.save(force_insert=True)
    audit.record("tenants.export.requested", actor=actor, target=export)
    enqueue("tenants.build_export", export_id=str(export.pk), of_tenant=str(tenant_id))
    return export


def path_of(export: TenantExport) -> Path:
    """Where its file lies."""
    return Path(settings.EXPORTS_DIR) / str(export.tenant_id) / f"{export.pk}.zip"


def build(*, export_id: UUID, tenant_id: UUID) -> TenantExport:
    """Write the file. Begun again after a crash it starts over. Memory is bounded by one page of rows.

    Raises what stops it; the state says failed then.
    """
    with tenant_scope(tenant_id):
        export = TenantExport.objects.get(pk=export_id)
    if export.state == WorkState.DONE:
        return export
    path = path_of(export)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    try:
        _write(export, unfinished)
        digest, size = _digest(unfinished)
        unfinished.rename(path)
    except Exception:
        unfinished.unlink(missing_ok=True)
        _note(export, state=WorkState.FAILED, finished_at=clock.now())
        raise
    now = clock.now()
    _note(
        export,
        state=WorkState.DONE,
        sha256=digest,
        size_bytes=size,
        finished_at=now,
        expires_at=now + timedelta(days=settings.EXPORT_DAYS),
    )
    log.info("exports.done", export_id=str(export.pk), size_bytes=size)
    return export


def _write(export: TenantExport, path: Path) -> None:
    classes = [each for each in governance.catalogue().values() if each.exported]
    _note(export, state=WorkState.RUNNING, steps=len(classes), steps_done=0, rows=0)
    manifest: dict[str, Any] = {
        "tenant": str(export.tenant_id),
        "made_at": clock.now().isoformat(),
        "classes": {},
    }
    path.touch(mode=0o600)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for number, each in enumerate(classes, 1):
            counts = {}
            for label in each.models:
                model = governance.model_of(label)
                name = f"{each.name}/{model._meta.db_table}.jsonl"
                counts[model._meta.db_table] = _write_rows(archive, name, model, export.tenant_id, each)
            for name, pieces in each.export(export.tenant_id) if each.export is not None else ():
                with archive.open(f"{each.name}/{name}", "w", force_zip64=True) as file:
                    for piece in pieces:
                        file.write(piece)
            manifest["classes"][each.name] = {"holds": str(each.holds), "rows": counts}
            _note(export, steps_done=number, rows=export.rows + sum(counts.values()))
        archive.writestr("manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))


def _write_rows(
    archive: zipfile.ZipFile,
    name: str,
    model: type[models.Model],
    tenant_id: UUID,
    each: governance.DataClass,
) -> int:
    fields = [f for f in model._meta.concrete_fields if f.attname not in each.secret_fields]
    count, after = 0, None
    with archive.open(name, "w", force_zip64=True) as file:
        while rows := rows_after(model, tenant_id, after, PAGE):
            lines = (
                json.dumps({f.attname: plain(getattr(row, f.attname)) for f in fields}, ensure_ascii=False)
                for row in rows
            )
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
            count, after = count + len(rows), rows[-1].pk
            if len(rows) < PAGE:
                break
    return count


def rows_after(model: type[models.Model], tenant_id: UUID, after: Any, size: int) -> list[Any]:
    """A page of a tenant's rows by id, in a transaction of its own. Behind the platform door: shared rows too."""
    with platform_scope("exports.rows"):
        if model is Tenant:
            return list(Tenant.objects.filter(pk=tenant_id)) if after is None else []
        rows = model._default_manager.filter(tenant_id=tenant_id)
        if after is not None:
            rows = rows.filter(pk__gt=after)
        return list(rows.order_by("pk")[:size])


def plain(value: Any) -> Any:
    """A column's value as JSON can hold it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    return str(value)


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _note(export: TenantExport, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(export, name, value)
    with tenant_scope(export.tenant_id):
        export.save(update_fields=[*changes, "updated_at"])


@transaction.atomic
def download(*, export: TenantExport, actor: Actor) -> Iterator[bytes]:
    """The file, piece by piece; the audit trail says who took it. Raises NotAllowed, Conflict when it is not there."""
    policies.require(actor, "tenants.export.download")
    path = path_of(export)
    if export.state != WorkState.DONE or not path.is_file():
        raise Conflict(_("The export is not ready, or not there any more."), code="export_not_ready")
    audit.record("tenants.export.downloaded", actor=actor, target=export, after={"sha256": export.sha256})
    return _pieces(path)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def expire(*, dry_run: bool) -> Iterator[governance.Removed]:
    """Remove the files of exports whose time is over: the retention rule of exports."""
    with platform_scope("exports.expire"):
        old = list(TenantExport.objects.filter(state=WorkState.DONE, expires_at__lt=clock.now())[:10_000])
    for export in old:
        removed = governance.Removed(store="exports", how="files", tenant_id=export.tenant_id)
        removed.add(1, export.finished_at, export.finished_at, int(export.sha256[:16] or "0", 16))
        if not dry_run:
            path_of(export).unlink(missing_ok=True)
            _note(export, state=WorkState.EXPIRED)
        yield removed


def remove_files(tenant_id: UUID) -> governance.Counts:
    """Remove all files of a tenant's exports; for its closing."""
    folder = Path(settings.EXPORTS_DIR) / str(tenant_id)
    count = 0
    for file in folder.glob("*") if folder.is_dir() else ():
        file.unlink(missing_ok=True)
        count += 1
    if folder.is_dir():
        folder.rmdir()
    return {"exports": count}
