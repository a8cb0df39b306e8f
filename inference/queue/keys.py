"""Names of Valkey keys. `{…}` is the hash tag: what one script touches stands in one cluster slot."""

from __future__ import annotations

WEBS = "atrium:webs"  # hash: web process -> last heartbeat, ms of Valkey's clock
NODES = "atrium:nodes"  # hash: node -> heartbeat JSON
PLACEMENTS = "atrium:placements"  # hash: replica -> JSON of what the reconciler ordered
USAGE = "atrium:usage"  # stream of usage records until PostgreSQL has them
CALL_LOGS = "atrium:call-logs"  # stream of call notes until PostgreSQL has them
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
        self.requests = self.prefix + "requests"  # hash: request -> payload, until it is accounted for
        self.running = self.prefix + "running"  # hash: request -> replica
        self.served = self.prefix + "served"  # hash: request -> place, sizes, what was charged for it, tenant
        self.accounts = self.prefix + "accounts"  # hash: tenant -> counter, band, weight, running requests
        self.bands = self.prefix + "bands"  # sorted set: bands in which a tenant waits
        self.resting = self.prefix + "resting"  # sorted set: tenants with nothing to do -> since when, ms
        self.last = self.prefix + "last"  # hash: band -> the tenant that stopped waiting last
        self.totals = self.prefix + "totals"  # hash: sums over tenants, places given, the pace of dispatch
        self.pulls = self.prefix + "pulls"  # hash: replica -> its last pull and what that gave
        self.wake = self.prefix + "wake"  # stream of one entry: something is waiting
        self.replicas = self.prefix + "replicas"  # hash: replica -> heartbeat JSON
        self.failures = self.prefix + "failures"  # hash: count, until_ms, message of failed starts
        self.idle = (
            self.prefix + "idle"
        )  # hash: replica with room and nothing to do -> until when that is known, ms
        # What the queue's scripts take as KEYS, in their order. Scripts build the names of some keys themselves, all
        # in the same slot: queue:<tenant>, order:<band>, hungry:<band>, idle, work:<replica>.
        self.fair = [
            self.requests,
            self.running,
            self.served,
            self.accounts,
            self.bands,
            self.resting,
            self.last,
            self.totals,
            self.pulls,
            self.wake,
        ]

    def queue(self, tenant: str) -> str:
        """Sorted set of one tenant's waiting request ids, next first."""
        return f"{self.prefix}queue:{tenant}"

    def work(self, replica: str) -> str:
        """Stream of requests that came while the replica was idle, until it has read them."""
        return f"{self.prefix}work:{replica}"

    def control(self, replica: str) -> str:
        """Stream of orders to one replica: cancel, stop."""
        return f"{self.prefix}control:{replica}"
