"""What the registry tells those who serve: a Route to the gateway, an EngineSpec to the engine worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """Where a model's tokenizer lies. `digest` names the contents of the files that decide how prompts are counted,
    so versions that share a tokenizer share it; `is_platforms`: no tenant brought them."""

    path: str
    digest: str
    is_platforms: bool


@dataclass(frozen=True, slots=True)
class Route:
    """One public name, and the deployment that answers to it inside one tenant.

    `context_length` in tokens, none when nobody has said; `created` in seconds since 1970; `owned_by` the
    owner's short name, or "atrium"; `model_name` the name that means the model to everybody, whatever
    aliases lead to it. `allowed_user_ids` none: every member and key of the tenant; else these people, and
    keys that they made. `tokenizer` none where the engine does not serve a folder.
    """

    name: str
    model_id: UUID
    version_id: UUID
    deployment_id: UUID
    task: str
    context_length: int | None
    engine: str
    created: int
    owned_by: str
    allowed_user_ids: frozenset[UUID] | None = None
    tokenizer: TokenizerFiles | None = None
    model_name: str = ""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a worker needs to start one replica. No secret is in it: see `selectors.remote_credential`.

    `path`, `digest` and `manifest` are empty unless a folder is served; `remote_*` unless a server
    elsewhere is.
    """

    deployment_id: UUID
    tenant_id: UUID | None
    version_id: UUID
    name: str
    engine: str
    task: str
    served_name: str
    path: str = ""
    digest: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    context_length: int | None = None
    args: dict[str, Any] = field(default_factory=dict)
    remote_base_url: str = ""
    remote_model: str = ""
