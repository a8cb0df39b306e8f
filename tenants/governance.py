"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from core.governance import DataClass, register
from tenants.services import exports


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="tenant",
            title=_("The tenant itself"),
            holds=_("Name, short name, status and plan."),
            retained=_(
                "Until it is closed; then an id without a name stays, which ledger and audit trail point to."
            ),
            models=("tenants.Tenant",),
            kept=_("An id, without its name: ledger, invoices and audit trail point to it."),
        ),
        DataClass(
            name="members",
            title=_("Members"),
            holds=_("Who belongs to the tenant, in which role."),
            retained=_("Until the member is removed."),
            models=("tenants.Membership",),
        ),
        DataClass(
            name="limits",
            title=_("Limits"),
            holds=_("Bounds on what may be used."),
            retained=_("Until they are removed."),
            models=("tenants.Limit",),
        ),
        DataClass(
            name="exports",
            title=_("Exports"),
            holds=_("ZIP files with all of the tenant's data, and who asked for them."),
            retained=_("Files for some days (ATRIUM_EXPORT_DAYS)."),
            models=("tenants.TenantExport",),
            files=("ATRIUM_EXPORTS_DIR/<tenant>/*.zip",),
            exported=False,
            erase=exports.remove_files,
            retain=exports.expire,
        ),
        DataClass(
            name="erasures",
            title=_("Certificates of erasure"),
            holds=_("What was erased when, and why. End users are named by a keyed digest only."),
            retained=_("For good: they are the proof."),
            models=("tenants.Erasure",),
            secret_fields=frozenset({"subject"}),
            kept=_("They prove the erasure, and name nobody."),
        ),
    )
