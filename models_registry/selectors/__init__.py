"""Reads of the registry. What is absent and what is another tenant's raise the same NotFound (L17).

All but `routes_for` and what the engine worker asks expect that the caller has entered a scope.
"""

from models_registry.selectors.catalogue import (
    alias_by_public_id,
    aliases,
    deployment_by_public_id,
    deployments,
    model_by_id,
    model_by_name,
    model_by_public_id,
    models,
    version_by_number,
    version_by_public_id,
    versions,
)
from models_registry.selectors.engines import engine_spec, remote_credential, serving_deployments
from models_registry.selectors.grants import (
    grantee,
    member_grants,
    member_grants_of,
    models_for,
    permissions_of_tenant,
    permissions_on,
    tenant_grants,
    tenant_grants_of,
)
from models_registry.selectors.routes import routes_for
from models_registry.specs import EngineSpec, Route

__all__ = [
    "EngineSpec",
    "Route",
    "alias_by_public_id",
    "aliases",
    "deployment_by_public_id",
    "deployments",
    "engine_spec",
    "grantee",
    "member_grants",
    "member_grants_of",
    "model_by_id",
    "model_by_name",
    "model_by_public_id",
    "models",
    "models_for",
    "permissions_of_tenant",
    "permissions_on",
    "remote_credential",
    "routes_for",
    "serving_deployments",
    "tenant_grants",
    "tenant_grants_of",
    "version_by_number",
    "version_by_public_id",
    "versions",
]
