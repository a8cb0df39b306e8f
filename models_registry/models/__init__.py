"""The registry's tables.

Read them through `models_registry.selectors`, write through `models_registry.services`.
"""

from models_registry.models.catalogue import (
    TRANSITIONS,
    Alias,
    Model,
    ModelVersion,
    Source,
    Task,
    VersionState,
    Visibility,
)
from models_registry.models.deployments import Deployment, EngineKind
from models_registry.models.grants import MemberGrant, TenantGrant

__all__ = [
    "TRANSITIONS",
    "Alias",
    "Deployment",
    "EngineKind",
    "MemberGrant",
    "Model",
    "ModelVersion",
    "Source",
    "Task",
    "TenantGrant",
    "VersionState",
    "Visibility",
]
