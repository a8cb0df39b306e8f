"""Virtual Token Counter scheduling in plain Python, after Algorithm 2 of Sheng et al. (OSDI '24), with what Atrium
adds: weights, bands, priorities, places kept through a replica's loss, charges by cumulative totals."""

from __future__ import annotations

from dataclasses import dataclass, field

W_IN, W_OUT = 1, 2


@dataclass
class Request:
    """One request; `state` is waiting, running or over."""

    id: str
    tenant: str
    priority: int
    number: int
    prompt: int
    deadline_ms: int
    state: str = "waiting"
    replica: str = ""
    charged_in: int = 0
    charged_out: int = 0
    used_out: int = 0

    @property
    def place(self) -> tuple[int, int]:
        return self.priority, self.number


@dataclass
class Tenant:
    """A tenant as the scheduler knows it."""

    name: str
    band: int
    weight: float
    counter: float = 0.0
    service: float = 0.0  # weighted service received so far, whatever the lifts did


@dataclass
class Vtc:
    """The scheduler. Decides nothing but the order."""

    requests: dict[str, Request] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    last: dict[int, str] = field(default_factory=dict)
    numbers: int = 0

    def waiting(self, tenant: str) -> list[Request]:
        found = [r for r in self.requests.values() if r.tenant == tenant and r.state == "waiting"]
        return sorted(found, key=lambda request: request.place)

    def running(self, tenant: str) -> int:
        return sum(r.tenant == tenant and r.state == "running" for r in self.requests.values())

    def waiters(self, band: int) -> list[Tenant]:
        return [t for t in self.tenants.values() if t.band == band and self.waiting(t.name)]

    def level(self, band: int) -> float | None:
        waiters = self.waiters(band)
        if waiters:
            return min(tenant.counter for tenant in waiters)
        return self.tenants[self.last[band]].counter if band in self.last else None

    def lift(self, tenant: Tenant) -> None:
        level = self.level(tenant.band)
        if level is not None:
            tenant.counter = max(tenant.counter, level)

    def enqueue(
        self,
        name: str,
        tenant: str,
        *,
        weight: float,
        band: int,
        priority: int,
        prompt: int,
        deadline_ms: int,
    ) -> None:
        if name in self.requests and self.requests[name].state != "over":
            return
        known = self.tenants.get(tenant)
        if known is None:
            known = self.tenants[tenant] = Tenant(tenant, band, weight, self.level(band) or 0.0)
        if known.band != band:
            old = self.level(known.band)
            above = max(0.0, known.counter - (known.counter if old is None else old))
            known.band = -1  # counts in neither while it moves
            known.counter = (self.level(band) or 0.0) + above
            known.band = band
        known.weight = weight
        if not self.waiting(tenant):
            self.lift(known)
        self.numbers += 1
        self.requests[name] = Request(name, tenant, priority, self.numbers, prompt, deadline_ms)

    def is_behind(self, tenant: Tenant) -> bool:
        """Whether the tenant runs nothing, or less than half of its part of what runs."""
        mine = self.running(tenant.name)
        active = [
            t
            for t in self.tenants.values()
            if t.band == tenant.band and (self.waiting(t.name) or self.running(t.name))
        ]
        everything = sum(r.state == "running" for r in self.requests.values())
        return mine == 0 or 2 * mine * sum(t.weight for t in active) < tenant.weight * everything

    def head(self) -> Tenant | None:
        """The tenant whose turn it is; among equals first one that has nothing running, then by name."""
        bands = sorted({t.band for t in self.tenants.values() if self.waiting(t.name)})
        if not bands:
            return None
        waiters = self.waiters(bands[0])
        least = min(t.counter for t in waiters)
        equals = sorted((t for t in waiters if t.counter == least), key=lambda t: t.name)
        hungry = [t for t in equals if not self.running(t.name)]
        return hungry[0] if hungry else equals[0]

    def pull(self, replica: str, room: int, express: int, now_ms: int) -> list[str]:
        taken: list[str] = []
        while (head := self.head()) is not None:
            tenant = head
            if len(taken) < room:
                pass
            elif express > 0 and self.is_behind(tenant):
                express -= 1
            else:
                break
            request = self.waiting(tenant.name)[0]
            if request.charged_in == 0:
                request.charged_in = max(1, request.prompt) if request.deadline_ms > now_ms else 1
                self.charge(tenant, W_IN * request.charged_in)
            request.state, request.replica = "running", replica
            self.left(tenant)
            taken.append(request.id)
        return taken

    def left(self, tenant: Tenant) -> None:
        if not self.waiting(tenant.name):
            self.last[tenant.band] = tenant.name

    @staticmethod
    def charge(tenant: Tenant, cost: int) -> None:
        tenant.counter += cost * 1000 / round(tenant.weight * 1000)
        tenant.service += cost * 1000 / round(tenant.weight * 1000)

    def owed(self, request: Request, used_in: int, used_out: int) -> int:
        cost = 0
        if used_in > 0:
            cost += W_IN * (used_in - request.charged_in)
            request.charged_in = used_in
        if used_out > request.charged_out:
            cost += W_OUT * (used_out - request.charged_out)
            request.charged_out = used_out
        return cost

    def use(self, used: dict[str, tuple[int, int]]) -> None:
        """Sums per tenant before it adds, as the scripts do: doubles know the difference."""
        costs: dict[str, int] = {}
        for name, (used_in, used_out) in used.items():
            request = self.requests.get(name)
            if request is not None and request.state != "over":
                costs[request.tenant] = costs.get(request.tenant, 0) + self.owed(request, used_in, used_out)
        for tenant, cost in costs.items():
            self.charge(self.tenants[tenant], cost)

    def end(self, name: str, used_in: int = 0, used_out: int = 0) -> None:
        request = self.requests.get(name)
        if request is None or request.state == "over":
            return
        tenant = self.tenants[request.tenant]
        self.charge(tenant, self.owed(request, used_in, used_out))
        waited = request.state == "waiting"
        request.state = "over"
        if waited:
            self.left(tenant)

    def requeue(self, name: str, replica: str) -> bool:
        request = self.requests.get(name)
        if request is None or request.state != "running" or request.replica != replica:
            return False
        tenant = self.tenants[request.tenant]
        if not self.waiting(request.tenant):
            self.lift(tenant)
        request.state, request.replica = "waiting", ""
        return True
