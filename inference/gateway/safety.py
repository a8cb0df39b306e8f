"""The gateway's side of safety: the one way in and the one way out that all texts take, and what is told of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from core.ids import new_id
from core.threads import in_thread
from inference import tokens
from inference.call_logs.recorder import Origin
from inference.errors import Rejected
from inference.gateway.screening import ON_LOOP_CHARACTERS, Screened, Unreadable, screen, size_of
from inference.gateway.shield import FILTERED, Shield
from safety.faults import CheckerFailed
from safety.hits_sink import HitSink
from safety.loading import GuardSource
from safety.refusals import sentence, unavailable
from safety.services import reviews
from safety.spec import Action, Direction, Verdict

if TYPE_CHECKING:
    from core.valkey_link import LinkedClient
    from inference.gateway.callers import Caller
    from inference.gateway.stream import Stream
    from models_registry.specs import Route
    from safety.guarded import Guarded

log = structlog.get_logger(__name__)

_REVIEW = in_thread(reviews.hold)
# Verdicts of one request that its call log lists.
MOST_VERDICTS = 500


class Safety:
    """One per gateway."""

    def __init__(self, client: LinkedClient, spawn: Any) -> None:
        self.source = GuardSource()
        self.hits = HitSink(client)
        self._spawn = spawn

    async def close(self) -> None:
        """Send what was counted, and let go."""
        await self.hits.close()
        self.source.close()

    async def pass_in(
        self, caller: Caller, target: Route, kind: str, body: dict[str, Any], origin: Origin
    ) -> tuple[dict[str, Any], Shield | None]:
        """The request as it may go to a model, and what its answer has to pass; None where nothing looks at that.

        Raises Rejected: 400 `content_filter` with the part that a rule refused, 503 where nothing can be checked.
        """
        guarded = await self.source.get(caller.tenant_id)
        if guarded.is_closed:
            raise Rejected(503, "safety_unavailable", unavailable(guarded), retry_after_s=2.0)
        if guarded.guard is None:
            return body, None
        screened = await self._screened(guarded, target, body)
        if screened is None:
            return body, None
        self.note(caller, origin, tuple(screened.verdicts))
        if screened.refused is not None:
            self._refuse(guarded, screened, screened.refused, target.name, origin)
        return screened.body, self._shield(guarded, screened, caller, target, kind, origin)

    async def _screened(self, guarded: Guarded, target: Route, body: dict[str, Any]) -> Screened | None:
        """The checked request; None for one that passes unchecked because its tenant wants that (L22)."""
        detokenize = await tokens.detokenizer(target, body)
        try:
            if size_of(body) > ON_LOOP_CHARACTERS:
                return await asyncio.to_thread(screen, guarded, body, detokenize=detokenize)
            return screen(guarded, body, detokenize=detokenize)
        except Unreadable as error:
            raise Rejected(
                400,
                "invalid_value",
                f"'{error.param}' has token ids, whose text cannot be checked for this model. Send text instead.",
                param=error.param,
            ) from error
        except CheckerFailed as error:
            if await self.source.failed(guarded, error):
                return None
            raise Rejected(503, "safety_unavailable", unavailable(guarded), retry_after_s=2.0) from error

    def _refuse(
        self, guarded: Guarded, screened: Screened, refused: Verdict, model: str, origin: Origin
    ) -> None:
        if refused.action is Action.REVIEW:
            self.hold(
                guarded, screened.refused_text, tuple(screened.verdicts), refused, model, origin.request_id
            )
        raise Rejected(400, FILTERED, sentence(guarded, refused), param=refused.part or None)

    def _shield(
        self,
        guarded: Guarded,
        screened: Screened,
        caller: Caller,
        target: Route,
        kind: str,
        origin: Origin,
    ) -> Shield | None:
        if kind == "embedding":
            return None
        body = screened.body
        guard = guarded.guard_for(screened.canaries)
        if guard is not None and not guard.looks(Direction.OUT):
            guard = None
        form = (body.get("response_format") or {}).get("type", "text")
        is_text = form == "text" and not body.get("structured_outputs")
        disclaimer = guarded.disclaimer(target.name) if is_text else ("", "")
        if guard is None and not any(disclaimer):
            return None
        prompt = body.get("prompt")
        prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
        return Shield(
            guarded,
            guard,
            choices=(body.get("n") or 1) * prompts,
            disclaimer=disclaimer,
            on_verdicts=lambda verdicts: self.note(caller, origin, verdicts),
        )

    def note(self, caller: Caller, origin: Origin, verdicts: tuple[Verdict, ...]) -> None:
        """Count verdicts, and tell the request's call log."""
        if not verdicts:
            return
        room = MOST_VERDICTS - len(origin.verdicts)
        # What refuses is always told: it says how the request ended.
        origin.verdicts.extend(
            verdict for place, verdict in enumerate(verdicts) if place < room or verdict.action.refuses
        )
        self.hits.note(caller.tenant_id, verdicts)

    async def pass_out(self, stream: Stream, shield: Shield, payload: bytes) -> bytes:
        """A whole answer as it may leave. Raises Rejected(503) where it cannot be checked."""
        try:
            if len(payload) > 2 * ON_LOOP_CHARACTERS:
                # Verdicts are counted on the loop.
                told: list[tuple[Verdict, ...]] = []
                on_verdicts, shield.on_verdicts = shield.on_verdicts, told.append
                passed = await asyncio.to_thread(shield.whole, payload)
                for verdicts in told:
                    on_verdicts(verdicts)
            else:
                passed = shield.whole(payload)
        except CheckerFailed as error:
            if await self.source.failed(shield.guarded, error):
                return payload
            raise Rejected(503, "safety_unavailable", unavailable(shield.guarded)) from error
        self.review(stream, shield)
        return passed

    def may_pass(self, guarded: Guarded, error: CheckerFailed) -> bool:
        """Whether a stream may go on unchecked after a checker failed; the trail is told."""
        self._spawn(self._told(guarded, error))
        return guarded.on_failure == "open"

    async def _told(self, guarded: Guarded, error: CheckerFailed) -> None:
        await self.source.failed(guarded, error)

    def review(self, stream: Stream, shield: Shield) -> None:
        """Keep an answer that waits for a person, where there is one."""
        waiting = shield.review
        if waiting is not None:
            text, refused = waiting
            self.hold(
                shield.guarded, text, tuple(shield.verdicts), refused, stream.ticket.model, stream.request_id
            )

    def hold(
        self,
        guarded: Guarded,
        text: str,
        verdicts: tuple[Verdict, ...],
        refused: Verdict,
        model: str,
        request_id: str,
    ) -> None:
        """Keep a refused text for a person, beside the request."""
        self._spawn(
            self._hold(
                tenant_id=guarded.tenant_id,
                text=text,
                verdicts=verdicts,
                refused=refused,
                direction=refused.direction,
                model=model,
                request_id=request_id or f"req_{new_id().hex}",
            )
        )

    @staticmethod
    async def _hold(**facts: Any) -> None:
        try:
            await _REVIEW(**facts)
        except Exception:
            log.exception("safety.review_not_kept", tenant_id=str(facts["tenant_id"]))
