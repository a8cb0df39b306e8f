"""The ways past the tenant scope: few, in listed files, each with its reason. A way that is gone leaves the list."""

from __future__ import annotations

import ast
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from core import scoping
from core.checks import WALLED, is_ours, own_models
from core.models import SCOPES, TenantOwned
from core.scoping import ScopeError
from tests.architecture.sources import calls_of, sources

# Reads past the ORM's scope; row-level security still stands behind each.
UNSCOPED = {
    "platform/access/selectors.py": "a key is found by its digest before any tenant is known",
    "platform/api/viewsets.py": "an empty queryset for the schema, which no request asks for",
    "inference/gateway/callers.py": "a key is found by its digest before any tenant is known",
    "tenants/selectors.py": "a person's memberships, before they have chosen a tenant",
}
# Doors to the rows of all tenants.
PLATFORM_DOOR = {
    "billing/services/demo.py": "prices and money of the tenants of a first start",
    "billing/services/escrow.py": "epochs of all tenants are closed after a restart of Valkey",
    "billing/services/verification.py": "the ledgers of all tenants are verified in one go",
    "billing/services/wallets.py": "a payment provider's report knows a reference and no tenant",
    "billing/selectors/pages.py": "an export by the platform's staff, in a view that declares it",
    "billing/services/alerts.py": "alerts of all tenants whose e-mail is still to be sent",
    "billing/services/budgets.py": "which tenants have budgets to watch",
    "billing/services/invoices.py": "the list of tenants whose month is closed",
    "billing/services/partitions.py": "months of which the default partition holds rows",
    "billing/services/reconciliation.py": "engines serve all tenants; the list of tenants to compare",
    "billing/services/rollups.py": "the list of tenants whose roll-ups are made anew",
    "inference/services/reaper.py": "the system looks after requests of all tenants",
    "inference/services/reconciler.py": "the system brings deployments of all tenants to their desired state",
    "models_registry/management/commands/register_model.py": "an operator at the command line",
    "models_registry/management/commands/retire_model.py": "an operator at the command line",
    "models_registry/selectors/engines.py": "workers run deployments of all tenants",
    "models_registry/selectors/grants.py": "the tenant that a model is shared with, by its short name",
    "models_registry/services/demo.py": "the platform's own models at a first start",
    "inference/call_logs/retention.py": "what all tenants' log policies no longer keep",
    "inference/call_logs/selectors.py": "an export by the platform's staff, in a view that declares it",
    "inference/governance.py": "deployments whose queues may hold a closing tenant's requests",
    "models_registry/governance.py": "what others hold of a closing tenant's models",
    "billing/governance.py": "names are taken out of a closing tenant's records",
    "platform/core/governance.py": "rows of a tenant are erased, and what is too old of all tenants",
    "platform/access/governance.py": "which keys a closing tenant has",
    "platform/api/governance.py": "kept answers of all tenants whose day is over",
    "tenants/services/erasure.py": "the end of a tenant, and the list of those whose time has come",
    "tenants/services/exports.py": "a tenant's export holds shared rows too; exports of all tenants expire",
    "tenants/services/retention.py": "a run is recorded, which concerns all tenants",
    "platform/access/services/usage.py": "times of last use of all tenants' keys",
    "platform/safety/services/reviews.py": "old texts of all tenants are forgotten",
    "platform/audit/bundle.py": "pages of a stream, which outlives the scope of its request",
    "platform/audit/services/erasure.py": "the end of a closed tenant's trail",
    "platform/audit/services/checkpoints.py": "the heads of all tenants' chains are signed",
    "platform/audit/services/sealing.py": "the events of all tenants are sealed",
    "platform/audit/services/verification.py": "the schedule verifies all tenants' chains",
    "platform/api/tasks.py": "forgets old idempotency keys of all tenants",
    "tenants/api/audit_files.py": "an export by the platform's staff, in a view that declares it",
    "tenants/management/commands/audit_export.py": "an operator at the command line",
    "tenants/management/commands/audit_verify.py": "an operator at the command line",
    "tenants/management/commands/createapikey.py": "an operator at the command line",
    "tenants/management/commands/createtenant.py": "an operator at the command line",
    "inference/management/commands/wrap_data_keys.py": "an operator at the command line",
    "tenants/management/commands/erase_tenant.py": "an operator at the command line",
    "tenants/management/commands/export_tenant.py": "an operator at the command line",
    "tenants/middleware.py": "staff, in views that declare it, with an audit row for each request",
    "tenants/services/demo.py": "the tenants of a first start",
}
# Doors to one tenant's rows.
TENANT_DOOR = {
    "billing/services/escrow.py": "the data plane asks for a tenant's money by id",
    "inference/admission/seeds.py": "a month's counters of the caller's tenant, by id, in a thread",
    "inference/services/sweep.py": "expired holds, tenant by tenant",
    "inference/api/limits.py": "a tenant that the platform's door named, or one's own",
    "billing/services/settlement.py": "records of many tenants are settled tenant by tenant",
    "billing/services/verification.py": "one tenant's ledger is verified by id",
    "billing/selectors/pages.py": "pages of a stream, which outlives the scope of its request",
    "billing/services/alerts.py": "the schedule, tenant by tenant",
    "billing/services/budgets.py": "the schedule, tenant by tenant",
    "billing/services/invoices.py": "the schedule, tenant by tenant",
    "billing/services/reconciliation.py": "the schedule, tenant by tenant",
    "billing/services/rollups.py": "an operator at the command line, tenant by tenant",
    "billing/services/usage.py": "records of many tenants arrive together and are stored tenant by tenant",
    "inference/call_logs/ingestion.py": "notes of many tenants arrive together and are stored tenant by tenant",
    "inference/call_logs/selectors.py": "pages of a stream, which outlives the scope of its request",
    "inference/governance.py": "the erasure and the export of one tenant, by id",
    "tenants/services/erasure.py": "the jobs worker, with a tenant's id",
    "tenants/services/exports.py": "the jobs worker, with a tenant's id",
    "inference/chat/repository.py": "the websocket consumer's dispatch",
    "inference/gateway/callers.py": "the data plane's own door, outside Django's middleware",
    "models_registry/selectors/routes.py": "the data plane asks for a tenant's routes by id",
    "platform/audit/bundle.py": "pages of a stream, which outlives the scope of its request",
    "tenants/api/audit_files.py": "pages of a stream, which outlives the scope of its request",
    "platform/core/dispatch.py": "TenantTask",
    "platform/safety/governance.py": "the export of one tenant, by id",
    "platform/safety/loading.py": "the data plane asks for a tenant's rules by id",
    "platform/safety/services/hits.py": "hits of many tenants arrive together and are added up tenant by tenant",
    "platform/safety/services/incidents.py": "a failure in the data plane, for the trail of a tenant known by id",
    "platform/safety/services/reviews.py": "the data plane holds a text of a tenant known by id",
    "tenants/management/commands/createapikey.py": "an operator at the command line",
    "inference/management/commands/wrap_data_keys.py": "an operator at the command line",
    "tenants/management/commands/export_tenant.py": "an operator at the command line",
    "tenants/middleware.py": "the door between requests and tenants",
    "tenants/services/demo.py": "the tenants of a first start",
}
# Statements that the managers do not see.
RAW = {
    "billing/services/counters.py": "one UPSERT for a batch's counters, inside the scope of their tenant",
    "billing/services/ledger.py": "one statement for a transaction, its entries and the balances of its tenant",
    "billing/services/verification.py": "sums over a whole ledger, inside a scope",
    "platform/core/partitions.py": "a migration that copies a table as its owner, behind the same walls",
    "billing/governance.py": "names are taken out of many records in batches, behind the platform door",
    "inference/call_logs/ingestion.py": "one INSERT for many notes, inside the scope of their tenant",
    "platform/core/governance.py": "rows go in batches past the ORM, behind the platform door and by tenant",
    "billing/services/usage.py": "one INSERT for many records, inside the scope of their tenant",
    "platform/safety/services/hits.py": "one UPSERT for a batch's hits, inside the scope of their tenant",
    "platform/access/services/usage.py": "one UPDATE for many keys, behind the platform door",
}


def files_that_name(attribute: str) -> set[str]:
    """Files with `something.<attribute>`."""
    return {
        path
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == attribute
    }


def files_that_call(*names: str) -> set[str]:
    """Files that call a function or method of these names, but for the one where they are made."""
    return {path for path, tree in sources().items() if calls_of(tree, *names)} - {"platform/core/scoping.py"}


@pytest.mark.slow
def test_the_unscoped_manager_is_used_in_listed_files_only() -> None:
    assert files_that_name("unscoped") == set(UNSCOPED)


@pytest.mark.slow
def test_the_base_manager_is_used_where_foreign_keys_are_checked_only() -> None:
    assert files_that_name("_base_manager") == {"platform/core/models.py"}


@pytest.mark.slow
def test_the_platform_door_is_opened_in_listed_files_only() -> None:
    assert files_that_call("platform_scope") == set(PLATFORM_DOOR)


@pytest.mark.slow
def test_tenant_scopes_are_entered_at_listed_doors_only() -> None:
    assert files_that_call("tenant_scope") == set(TENANT_DOOR)


@pytest.mark.slow
def test_what_the_managers_do_not_see_is_listed() -> None:
    """`raw` and `bulk_update` compile no scope or write foreign keys unseen; so does SQL of one's own on our tables."""
    assert files_that_call("raw", "bulk_update", "RawSQL") == set()
    touching = {
        path
        for path in files_that_call("cursor")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "db_table" for node in ast.walk(sources()[path])
        )
    } - {"platform/core/checks.py"}
    assert touching == set(RAW)


@pytest.mark.slow
def test_no_scope_is_held_across_a_yield() -> None:
    """A generator is run by whoever iterates, in their context: a scope inside it would be theirs."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(
            isinstance(item.context_expr, ast.Call)
            and isinstance(item.context_expr.func, ast.Name)
            and item.context_expr.func.id.endswith("_scope")
            for item in node.items
        )
        and any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node))
    ]
    assert found == []


def test_every_model_declares_its_scope() -> None:
    for model in own_models():
        if not model._meta.auto_created:
            assert getattr(model, "tenant_scope", None) in SCOPES, model


def test_a_model_that_does_not_declare_its_scope_cannot_be_imported() -> None:
    with pytest.raises(ImproperlyConfigured, match="must declare tenant_scope"):

        class Silent(models.Model):
            """Says nothing about whose rows it holds."""

            __module__ = "access.models"

            class Meta:
                app_label = "tests_nowhere"

            def __str__(self) -> str:
                return "silent"

    assert is_ours(TenantOwned)


@pytest.mark.parametrize("model", own_models(*WALLED), ids=lambda model: model._meta.label)
def test_the_default_manager_of_every_walled_model_needs_a_scope(model: type[models.Model]) -> None:
    with pytest.raises(ScopeError):
        model._default_manager.all().query.get_compiler("default").as_sql()


@pytest.mark.parametrize("model", own_models("tenant"), ids=lambda model: model._meta.label)
def test_the_default_manager_of_every_tenant_owned_model_adds_the_tenant(model: type[models.Model]) -> None:
    assert issubclass(model, TenantOwned)
    tenant_id = UUID(int=7)
    before = scoping._scope.get()
    scoping._scope.set(scoping.Scope(tenant_id=tenant_id))
    try:
        sql, params = model._default_manager.all().query.get_compiler("default").as_sql()
    finally:
        scoping._scope.set(before)
    assert f'"{model._meta.db_table}"."tenant_id" = %s' in sql
    assert tenant_id in params


def test_a_tenants_rows_are_found_by_an_index_that_begins_with_the_tenant() -> None:
    for model in own_models(*WALLED):
        if not any(field.name == "tenant" for field in model._meta.concrete_fields):
            continue
        tenant = model._meta.get_field("tenant")
        beginnings = [index.fields[:1] for index in model._meta.indexes]
        beginnings += [list(rule.fields[:1]) for rule in model._meta.constraints if hasattr(rule, "fields")]
        assert tenant.db_index or tenant.unique or ["tenant"] in beginnings, model  # type: ignore[union-attr]
