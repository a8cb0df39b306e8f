"""Rule sets in the processes that check texts: loaded once, compiled in a thread, swapped whole, followed by event.

A request takes what `GuardSource.get` gives and keeps it to its end: no rule changes in the middle of an answer. On a
warm path nothing is asked of PostgreSQL or Valkey. What cannot be loaded leaves the last good version in force; where
there never was one, the door is closed, unless the tenant's policy says otherwise (L22). Both are in the audit trail,
once per incident.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections

from core import clock
from core.scoping import tenant_scope
from safety import policies, selectors, snapshots
from safety.errors import BrokenVersion
from safety.guarded import Guarded
from safety.models import Disclaimer, OnFailure, Override, Review, ReviewState
from safety.owners import PLATFORM, PLATFORM_SET, Owner
from safety.services import compiling, incidents, reviews

if TYPE_CHECKING:
    from safety.compiled import Compiled

log = structlog.get_logger(__name__)

# How long a request waits for news after an event; a set that takes longer to compile is swapped in when it is ready.
REFRESH_WAIT_S = 0.5
# Between tries to load what could not be loaded: doubling.
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 15.0
# That load and compile, in one process.
THREADS = 4
# Sets that cost more than this are compiled one at a time.
LARGE_BYTES = 4 * 1024 * 1024
_ENTRY_BYTES = 4 * 1024
# Entries that are loaded anew at once when the platform's rules change; the others with their next request.
_EAGER = 16
_MOST_CHANGED = 100_000


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the database says of one tenant. A rule set is read only where its version is not known here."""

    platform_version: int
    platform_row: tuple[bytes, str, dict[str, Any]] | None
    version: int
    row: tuple[bytes, str] | None
    on_failure: str
    language: str
    refusal_message: str
    plants_canaries: bool
    spotlights: bool
    wanted: dict[str, policies.Wanted]
    disclaimers: dict[str, tuple[str, str]]
    approved: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Held:
    """A compiled set and what belongs to it."""

    compiled: Compiled
    cost: int
    controls: Mapping[str, policies.Wanted] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return int(self.compiled.rule_set.version)


@dataclass(slots=True)
class _Entry:
    guarded: Guarded
    own: _Held | None
    loaded_at: float
    ticket: int  # taken before the database was read: what changed later is not in here
    retry_at: float = 0.0  # of an entry whose last load failed
    failures: int = 0

    @property
    def cost(self) -> int:
        """About how much memory it holds for itself alone."""
        return _ENTRY_BYTES + (self.own.cost if self.own is not None else 0)


class GuardSource:
    """What each tenant's texts pass, in one process.

    Event loops use `get`, threads and tasks `get_now`. Tenants that were not asked for lately are forgotten when all
    together cost more than `budget_bytes` (default settings.SAFETY_CACHE_BYTES); the platform's set is always kept.
    """

    def __init__(self, *, budget_bytes: int | None = None) -> None:
        self._budget = settings.SAFETY_CACHE_BYTES if budget_bytes is None else budget_bytes
        self._entries: OrderedDict[UUID, _Entry] = OrderedDict()
        self._cost = 0
        self._tickets = 0  # one more for each read and each change that was heard of: which came first
        self._all_changed = 0  # what was read before has to be looked at again
        self._changed: dict[UUID, int] = {}  # as above, for single tenants
        self._loading: dict[UUID, asyncio.Task[Guarded]] = {}
        self._platform: _Held | None = None
        self._lock = threading.RLock()  # of everything above; never held while something is loaded
        self._platform_lock = threading.Lock()  # one compilation of the platform's set at a time
        self._large = threading.Lock()
        # Of our own: whoever waits for a compilation here keeps no other work of the process waiting.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="safety")
        # → when the trail was told, on the monotonic clock; none while it could not be.
        self._incidents: dict[tuple[UUID | None, str], float | None] = {}

    # --- For event loops

    async def get(self, tenant_id: UUID) -> Guarded:
        """What the tenant's texts pass now. Warm: no waiting. Cold: a read and a compilation in a thread."""
        entry = self._known(tenant_id)
        if entry is None:
            return await asyncio.shield(self._refresh(tenant_id))
        now = clock.monotonic()
        if now < entry.retry_at:
            return entry.guarded
        is_stale = self._is_stale(tenant_id, entry)
        if not is_stale and not entry.failures and now - entry.loaded_at < settings.POLICY_CACHE_S:
            return entry.guarded
        task = self._refresh(tenant_id)
        if is_stale or entry.guarded.is_closed:
            await asyncio.wait({task}, timeout=REFRESH_WAIT_S)
            newer = self._known(tenant_id)
            return newer.guarded if newer is not None else entry.guarded
        return entry.guarded

    def heard(self, event: Mapping[str, Any]) -> None:
        """An event of `core.events`, on the loop; those of other kinds are passed over."""
        if event.get("kind") == "safety":
            tenant = event.get("tenant_id")
            self.forget(UUID(tenant) if tenant else None)

    def forget(self, tenant_id: UUID | None) -> None:
        """Have a tenant's rules (or everybody's) looked at again: in the background, or with the next request.

        On the loop. The last good version stays in force until then.
        """
        with self._lock:
            self._tickets += 1
            if tenant_id is None or len(self._changed) >= _MOST_CHANGED:
                self._all_changed = self._tickets
                self._changed.clear()
                eager = list(self._entries)[-_EAGER:]
                self._loading.clear()  # what loads now may have been read before the change
            else:
                self._changed[tenant_id] = self._tickets
                entry = self._entries.get(tenant_id)
                eager = [tenant_id] if entry is not None else []
                if entry is not None:
                    entry.retry_at = 0.0
                self._loading.pop(tenant_id, None)
        for each in eager:
            self._refresh(each)

    async def failed(self, guarded: Guarded, error: BaseException) -> bool:
        """A checker raised: True when the request may go on unchecked, False when it is refused (L22)."""
        is_open = guarded.on_failure == OnFailure.OPEN
        effect = "open" if is_open else "closed"
        await self._off_loop(self._note, guarded.tenant_id, "checker", effect, error, type(error).__name__)
        return is_open

    def close(self) -> None:
        """Start no more threads; what loads now ends by itself."""
        self._threads.shutdown(wait=False)

    def _refresh(self, tenant_id: UUID) -> asyncio.Task[Guarded]:
        with self._lock:
            task = self._loading.get(tenant_id)
            if task is None:
                task = asyncio.get_running_loop().create_task(self._load(tenant_id))
                task.add_done_callback(_look_at)  # nobody may be waiting for it
                self._loading[tenant_id] = task
            return task

    async def _load(self, tenant_id: UUID) -> Guarded:
        try:
            return await self._off_loop(self._load_now, tenant_id)
        finally:
            with self._lock:
                if self._loading.get(tenant_id) is asyncio.current_task():
                    del self._loading[tenant_id]

    async def _off_loop(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run `work` in a thread of ours and give its database connection back."""

        def call() -> Any:
            try:
                return work(*args)
            finally:
                connections.close_all()

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    # --- For threads

    def get_now(self, tenant_id: UUID) -> Guarded:
        """As `get`, blocking, and never older than the call: asks the database which versions are in force."""
        return self._load_now(tenant_id)

    def _known(self, tenant_id: UUID) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(tenant_id)
            if entry is not None:
                self._entries.move_to_end(tenant_id)
            return entry

    def _is_stale(self, tenant_id: UUID, entry: _Entry) -> bool:
        """Whether something was changed after the entry was read."""
        return entry.ticket < max(self._all_changed, self._changed.get(tenant_id, 0))

    def _load_now(self, tenant_id: UUID) -> Guarded:
        """Read, compile what is new, and put it in place."""
        before = self._known(tenant_id)
        with self._lock:
            self._tickets += 1
            ticket = self._tickets
        try:
            entry = self._build(tenant_id, self._read(tenant_id, before), before, ticket)
        except Exception as error:
            what = "database" if isinstance(error, DatabaseError) else "loader"
            log.exception("safety.load_failed", tenant_id=str(tenant_id))
            return self._without_news(tenant_id, before, what, error)
        self._works_again(tenant_id, entry.guarded)
        return self._keep(tenant_id, entry).guarded

    def _read(self, tenant_id: UUID, before: _Entry | None) -> _Facts:
        """One transaction in the tenant's scope: six queries, and one more for each set that is new here."""
        owner = Owner(tenant_id)
        with tenant_scope(tenant_id):
            platform_version = selectors.head_of(PLATFORM).version
            head = selectors.head_of(owner)
            return _Facts(
                platform_version=platform_version,
                platform_row=self._platform_row(platform_version),
                version=head.version,
                row=_row(owner, head.version, before),
                on_failure=head.on_failure,
                language=head.language,
                refusal_message=head.refusal_message,
                plants_canaries=head.plants_canaries,
                spotlights=head.spotlights,
                wanted={
                    rule: (one, other)
                    for rule, one, other in Override.objects.values_list("rule", "action_in", "action_out")
                },
                disclaimers={
                    model: (prefix, suffix)
                    for model, prefix, suffix in Disclaimer.objects.values_list("model", "prefix", "suffix")
                },
                approved=frozenset(
                    Review.objects.filter(state=ReviewState.APPROVED)
                    .order_by("-id")
                    .values_list("direction", "digest")[: reviews.MAX_APPROVED]
                ),
            )

    def _platform_row(self, version: int) -> tuple[bytes, str, dict[str, Any]] | None:
        held = self._platform
        if version == 0 or (held is not None and held.version >= version):
            return None
        row = PLATFORM.versions.objects.filter(number=version).first()
        return (b"", "", {}) if row is None else (bytes(row.content), row.digest, row.controls)

    def _build(self, tenant_id: UUID, facts: _Facts, before: _Entry | None, ticket: int) -> _Entry:
        platform, is_platform_good = self._platform_set(facts)
        own, is_own_good = self._own_set(tenant_id, facts, before.own if before is not None else None)
        sets = [held for held in (platform, own) if held is not None]
        failed = [] if is_platform_good else [PLATFORM_SET]
        failed += [] if is_own_good else [Owner(tenant_id).set_id]
        missing = (not is_platform_good and platform is None) or (not is_own_good and own is None)
        guarded = _guarded(tenant_id, facts, platform, sets, failed, is_missing=missing)
        entry = _Entry(guarded, own, clock.monotonic(), ticket)
        if failed:
            entry.failures = (before.failures if before is not None else 0) + 1
            entry.retry_at = clock.monotonic() + _pause(entry.failures)
        return entry

    def _platform_set(self, facts: _Facts) -> tuple[_Held | None, bool]:
        """The platform's set and whether it is the one in force; none where nothing is published or nothing works."""
        if facts.platform_version == 0:
            return None, True
        with self._platform_lock:
            held = self._platform
            if held is not None and held.version >= facts.platform_version:
                return held, True
            if (
                facts.platform_row is None
            ):  # it was known when the facts were read: an older one came in between
                return held, held is not None
            content, digest, controls = facts.platform_row
            try:
                made = self._compiled(PLATFORM_SET, facts.platform_version, content, digest)
            except Exception as error:
                log.exception("safety.set_failed", set=PLATFORM_SET, version=facts.platform_version)
                self._note(None, PLATFORM_SET, "last_good" if held else "closed", error)
                return held, False
            self._platform = _Held(made.compiled, made.cost, selectors.controls_of(controls))
            self._over(None, PLATFORM_SET)
            return self._platform, True

    def _own_set(self, tenant_id: UUID, facts: _Facts, held: _Held | None) -> tuple[_Held | None, bool]:
        if facts.version == 0:
            return None, True
        if facts.row is None:
            return held, held is not None
        set_id = Owner(tenant_id).set_id
        try:
            return self._compiled(set_id, facts.version, *facts.row), True
        except Exception as error:
            log.exception("safety.set_failed", set=set_id, version=facts.version)
            self._note(tenant_id, set_id, "last_good" if held else _effect(facts.on_failure), error)
            return held, False

    def _compiled(self, set_id: str, version: int, content: bytes, digest: str) -> _Held:
        if not digest:
            raise BrokenVersion("the version is not there")
        rule_set = snapshots.decode(content, digest)
        if (rule_set.id, rule_set.version) != (set_id, version):
            raise BrokenVersion("the content is of another version")
        cost = snapshots.cost_bytes(rule_set)
        if cost < LARGE_BYTES:
            return _Held(compiling.compiled(rule_set), cost)
        with self._large:
            return _Held(compiling.compiled(rule_set), cost)

    def _keep(self, tenant_id: UUID, entry: _Entry) -> _Entry:
        """Put an entry in place of an older one, and forget whoever was not asked for longest when it gets too much."""
        with self._lock:
            there = self._entries.get(tenant_id)
            if there is not None and there.ticket > entry.ticket:
                return there  # two loads ended in the other order
            if there is not None:
                self._cost -= there.cost
            self._entries[tenant_id] = entry
            self._entries.move_to_end(tenant_id)
            self._cost += entry.cost
            while self._cost > self._budget and len(self._entries) > 1:
                _gone, oldest = self._entries.popitem(last=False)
                self._cost -= oldest.cost
            return entry

    def _without_news(self, tenant_id: UUID, before: _Entry | None, what: str, error: Exception) -> Guarded:
        """The last good version; with none, a closed door, since nobody can say what the tenant's policy is."""
        self._note(tenant_id, what, "last_good" if before else "closed", error)
        with self._lock:
            if before is not None:
                before.failures += 1
                before.retry_at = clock.monotonic() + _pause(before.failures)
                return before.guarded
        return Guarded(
            tenant_id=tenant_id,
            guard=None,
            is_closed=True,
            on_failure=OnFailure.CLOSE.value,
            versions={},
            failed=(what,),
            sets=(),
            overrides={},
            disclaimers={},
            language="",
            refusal_message="",
            plants_canaries=False,
            spotlights=False,
            approved=frozenset(),
        )

    # --- Incidents: noted while something fails, written as soon as something can be written

    def _note(
        self, tenant_id: UUID | None, what: str, effect: str, error: BaseException, said: str = ""
    ) -> None:
        """`said` in place of the error's own words, where these could hold somebody's text."""
        try:
            self._incident(tenant_id, what, effect, said or f"{type(error).__name__}: {error}")
        except DatabaseError:
            with self._lock:
                self._incidents[tenant_id, what] = None

    def _incident(self, tenant_id: UUID | None, what: str, effect: str, error: str) -> None:
        now = clock.monotonic()
        with self._lock:
            told_at = self._incidents.get((tenant_id, what))
            if told_at is not None and now - told_at < incidents.REMIND_S:
                return
            self._incidents[tenant_id, what] = now
        try:
            incidents.report(tenant_id=tenant_id, what=what, effect=effect, error=error)
        except DatabaseError:
            with self._lock:
                self._incidents.pop((tenant_id, what), None)
            raise

    def _over(self, tenant_id: UUID | None, what: str) -> None:
        with self._lock:
            if (tenant_id, what) not in self._incidents:
                return
            told_at = self._incidents.pop((tenant_id, what))
        try:
            if told_at is None:  # the database was away all the time: the trail gets both ends now
                incidents.report(tenant_id=tenant_id, what=what, effect="over", error="")
            incidents.recovered(tenant_id=tenant_id, what=what)
        except DatabaseError:
            log.warning("safety.incident_not_written", what=what, exc_info=True)

    def _works_again(self, tenant_id: UUID, guarded: Guarded) -> None:
        for what in ("database", "loader", Owner(tenant_id).set_id):
            if what not in guarded.failed:
                self._over(tenant_id, what)


def _row(owner: Owner, version: int, before: _Entry | None) -> tuple[bytes, str] | None:
    """The stored version, unless it is the one that is held already."""
    if version == 0 or (before is not None and before.own is not None and before.own.version == version):
        return None
    row = owner.versions.objects.filter(number=version).first()
    return (b"", "") if row is None else (bytes(row.content), row.digest)


def _guarded(
    tenant_id: UUID,
    facts: _Facts,
    platform: _Held | None,
    sets: list[_Held],
    failed: list[str],
    *,
    is_missing: bool,
) -> Guarded:
    from safety.compiled import Guard

    overrides: dict[str, policies.Actions] = {}
    if platform is not None:
        overrides = policies.overrides_for(platform.compiled.rule_set, platform.controls, facts.wanted)
    compiled = tuple(held.compiled for held in sets)
    is_closed = is_missing and facts.on_failure != OnFailure.OPEN
    return Guarded(
        tenant_id=tenant_id,
        guard=None if is_closed or (is_missing and not compiled) else Guard(compiled, overrides),
        is_closed=is_closed,
        on_failure=facts.on_failure,
        versions={held.compiled.rule_set.id: held.version for held in sets},
        failed=tuple(failed),
        sets=compiled,
        overrides=overrides,
        disclaimers=facts.disclaimers,
        language=facts.language,
        refusal_message=facts.refusal_message,
        plants_canaries=facts.plants_canaries,
        spotlights=facts.spotlights,
        approved=facts.approved,
    )


def _effect(on_failure: str) -> str:
    return "open" if on_failure == OnFailure.OPEN else "closed"


def _look_at(task: asyncio.Task[Guarded]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("safety.refresh_failed", exc_info=task.exception())


def _pause(failures: int) -> float:
    return min(FIRST_RETRY_S * 2 ** min(failures - 1, 10), LAST_RETRY_S)


__all__ = ["GuardSource", "Guarded"]
