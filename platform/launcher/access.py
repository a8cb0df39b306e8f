"""Who connects to the database, and how: shared by those who make the roles and those who only hand URLs on."""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher.secrets import Secrets

OWNER, RUNTIME, PLATFORM = "atrium_owner", "atrium_app", "atrium_platform"
# The database that is made in the embedded server; a given server's is the one that its URL names.
DATABASE = "atrium"


@dataclass(frozen=True)
class Access:
    """How the servers and the migrations connect."""

    runtime_url: str = field(repr=False)
    owner_url: str = field(repr=False)


def role_passwords(secrets: Secrets) -> dict[str, str]:
    """Role → password, made at the first call."""
    return {role: secrets.get(f"postgres-{role}") for role in (OWNER, RUNTIME)}
