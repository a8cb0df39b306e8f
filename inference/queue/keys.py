"""Names of Valkey keys. `{…}` is the hash tag: what one script touches stands in one cluster slot."""

from __future__ import annotations

WEBS = "atrium:webs"  # hash: web process -> last heartbeat, ms of Valkey's clock
NODES = "atrium:nodes"  # hash: node -> heartbeat JSON
PLACEMENTS = "atrium:placements"  # hash: replica -> JSON of what the reconciler ordered
USAGE = "atrium:usage"  # stream of usage records until PostgreSQL has them
ENGINE_TOTALS = "atrium:engine-totals"  # hash: replica -> JSON of what it has done, also after its end
KEY_USE = "atrium:key-use"  # hash: API key -> last use, ms since 1970


def outbox(web: str) -> str:
    """Stream of everything that engines have to say to one web process."""
    return f"atrium:out:{web}"


def written(journal: str) -> str:
    """Set of the entries of one journal that PostgreSQL has, until the journal has seen them."""
    return f"atrium:usage:written:{journal}"


class DeploymentKeys:
    """The keys of one deployment's queue and replicas."""

    def __init__(self, deployment_id: str) -> None:
        self.prefix = f"atrium:{{{deployment_id}}}:"
        self.tenants = self.prefix + "tenants"  # sorted set: tenants that wait -> service received
        self.clock = self.prefix + "clock"  # service level of the last dispatch
        self.requests = self.prefix + "requests"  # hash: request -> payload, until it is accounted for
        self.running = self.prefix + "running"  # hash: request -> replica
        self.wake = self.prefix + "wake"  # stream of one entry: something is waiting
        self.replicas = self.prefix + "replicas"  # hash: replica -> heartbeat JSON
        self.failures = self.prefix + "failures"  # hash: count, until_ms, message of failed starts

    def waiting(self, tenant: str) -> str:
        """List of one tenant's waiting request ids, next first."""
        return f"{self.prefix}waiting:{tenant}"

    def control(self, replica: str) -> str:
        """Stream of orders to one replica: cancel, stop."""
        return f"{self.prefix}control:{replica}"
