"""What the console's pages ask of this application (console.extensions)."""

from __future__ import annotations

from uuid import UUID

from console.extensions import CallableModel
from models_registry.selectors import routes_for


def callable_models(tenant_id: UUID, user_id: UUID) -> list[CallableModel]:
    """The models that a member may call, by name; inside the tenant's scope."""
    return [
        CallableModel(route.name, route.task, route.context_length)
        for route in sorted(routes_for(tenant_id=tenant_id), key=lambda route: route.name)
        if route.allowed_user_ids is None or user_id in route.allowed_user_ids
    ]
