"""Names of admission's keys. All of one tenant's stand in one cluster slot: `{tenant}` is the hash tag."""

from __future__ import annotations

# Sorted set: tenant -> when it was last seen admitting, ms of the web process's clock. The sweep looks at these.
TENANTS = "atrium:admission:tenants"
# Hash: the epoch that Valkey's memory belongs to, and since when (ms of its clock).
EPOCH = "atrium:admission:epoch"


class TenantKeys:
    """The keys of one tenant."""

    def __init__(self, tenant_id: str) -> None:
        self.prefix = f"atrium:adm:{{{tenant_id}}}:"
        self.money = self.prefix + "money"  # hash: epoch, escrow:<currency> (nano) -- of this memory only
        self.requests = self.prefix + "requests"  # hash: request -> month and record, until it is settled
        self.holds = self.prefix + "holds"  # sorted set: request -> when its hold expires, ms
        self.rates = self.prefix + "rates"  # hash: "<scope>|<kind>" -> level and time of a bucket
        self.months = self.prefix + "months"  # hash: "<yyyymm>|<scope>" -> calls, tokens, GPU µs, nano
        self.swept = self.prefix + "swept"  # sorted set: request -> when its hold was given up
        self.grants = self.prefix + "grants"  # sorted set: grant -> when it was credited
        # What every script gets, in this order.
        self.all = [
            self.money,
            self.requests,
            self.holds,
            self.rates,
            self.months,
            self.swept,
            self.grants,
            self.prefix + "live:",
        ]
