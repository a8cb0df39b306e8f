"""The contract of the engine port, as tests that every engine passes.

A suite derives from these classes, gives an `engine` fixture that is started, and says in class attributes
what its model is like. Each test leaves the engine idle.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from inference.worker.port import Chunk, Engine, EngineRequest
from tests.engines.asking import Answer, answer, ask, chat, check_framing, error_of
from tests.waiting import until

STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
# Several choices are drawn, not chosen greedily: vLLM refuses to choose the same one twice.
DRAWN: dict[str, Any] = {"temperature": 0.8, "seed": 7}


class GenerationContract:
    """Chats and completions."""

    question = "What are the walls for?"  # its greedy answer has at least 24 tokens
    short_question = "What are the walls for?"  # its greedy answer ends by itself below 600 tokens
    endless: dict[str, Any] = {"max_tokens": 400}  # makes an answer of so many tokens
    exact_in_batch = True  # an answer in a full batch is the same, token for token, as alone

    def refused(self) -> EngineRequest:
        """A request that this engine answers with a failure of 400."""
        raise NotImplementedError

    # --- Streams --------------------------------------------------------------------------------------------

    async def test_it_streams_chunks_in_order_and_in_form(self, engine: Engine) -> None:
        check_framing(await answer(engine, chat(self.question, stream=True)))
        check_framing(await answer(engine, chat(self.question, **STREAM)))

    async def test_it_streams_completions_in_order_and_in_form(self, engine: Engine) -> None:
        check_framing(await answer(engine, ask("completion", prompt=self.question, stream=True)))
        check_framing(await answer(engine, ask("completion", prompt=self.question, **STREAM)))

    async def test_a_stream_says_the_same_as_the_whole_answer(self, engine: Engine) -> None:
        for kind, body in (
            ("chat", {"messages": [{"role": "user", "content": self.question}]}),
            ("completion", {"prompt": self.question}),
        ):
            streamed = await answer(engine, ask(kind, **body, **STREAM))  # type: ignore[arg-type]
            whole = await answer(engine, ask(kind, **body))  # type: ignore[arg-type]
            assert whole.whole is not None
            assert whole.whole["model"] == streamed.chunks[0]["model"]
            assert whole.whole["object"] == ("chat.completion" if kind == "chat" else "text_completion")
            assert streamed.texts == whole.texts
            assert streamed.texts[0] or kind == "completion"
            assert streamed.reasons == whole.reasons
            assert streamed.usage == whole.usage

    async def test_the_same_body_gives_the_same_answer(self, engine: Engine) -> None:
        first, second = [await answer(engine, chat(self.question, **STREAM)) for _ in range(2)]
        assert first.texts == second.texts
        assert first.tokens == second.tokens
        assert first.usage == second.usage

    async def test_the_meter_agrees_with_the_usage(self, engine: Engine) -> None:
        for body in (STREAM, {}, {**STREAM, **DRAWN, "n": 2}):
            got = await answer(engine, chat(self.question, **body))
            meter = got.request.meter
            assert meter.prompt_tokens == got.usage["prompt_tokens"] > 0
            assert meter.completion_tokens == got.usage["completion_tokens"] > 0
            assert got.usage["total_tokens"] == meter.prompt_tokens + meter.completion_tokens
            assert meter.first_token_at is not None
            assert meter.finish_reason in got.reasons.values()

    # --- Parameters -----------------------------------------------------------------------------------------

    async def test_max_tokens_ends_an_answer_with_length(self, engine: Engine) -> None:
        for field in ("max_tokens", "max_completion_tokens"):
            bound = {"max_tokens": None, field: 7}
            got = await answer(engine, chat(self.question, **bound, **STREAM))
            assert got.reasons == {0: "length"}
            assert got.usage["completion_tokens"] == 7

    async def test_an_answer_that_is_complete_ends_with_stop(self, engine: Engine) -> None:
        got = await answer(engine, chat(self.short_question, max_tokens=600, **STREAM))
        assert got.reasons == {0: "stop"}
        assert got.usage["completion_tokens"] < 600

    async def test_n_choices_come_with_their_index(self, engine: Engine) -> None:
        streamed = await answer(engine, chat(self.question, n=3, **DRAWN, **STREAM))
        check_framing(streamed)
        whole = await answer(engine, chat(self.question, n=3, **DRAWN))
        assert sorted(streamed.texts) == [0, 1, 2]
        assert streamed.texts == whole.texts
        assert streamed.usage == whole.usage

    async def test_a_stop_string_ends_the_text_before_it(self, engine: Engine) -> None:
        free = await answer(engine, chat(self.question))
        text = free.texts[0]
        middle = len(text) // 2
        stop = text[middle : middle + 5]
        expected = text[: text.index(stop)]
        for body in (STREAM, {}):
            for given in (stop, ["never to be found", stop]):
                got = await answer(engine, chat(self.question, stop=given, **body))
                assert got.texts[0] == expected
                assert got.reasons == {0: "stop"}
                assert 0 < got.usage["completion_tokens"] <= free.usage["completion_tokens"]

    async def test_a_list_of_prompts_gives_choices_for_each(self, engine: Engine) -> None:
        prompts = [self.question, "Another one:"]
        alone = [await answer(engine, ask("completion", prompt=prompt, **DRAWN)) for prompt in prompts]
        for body in (STREAM, {}):
            got = await answer(engine, ask("completion", prompt=prompts, n=2, **DRAWN, **body))
            assert sorted(got.texts) == [0, 1, 2, 3]
            assert [got.texts[0], got.texts[2]] == [one.texts[0] for one in alone]
            expected = sum(one.usage["prompt_tokens"] for one in alone)
            assert got.usage["prompt_tokens"] == expected == got.request.meter.prompt_tokens

    async def test_echo_puts_the_prompt_first(self, engine: Engine) -> None:
        plain = await answer(engine, ask("completion", prompt=self.question))
        for body in (STREAM, {}):
            got = await answer(engine, ask("completion", prompt=self.question, echo=True, **body))
            assert got.texts[0] == self.question + plain.texts[0]

    # --- Failures -------------------------------------------------------------------------------------------

    async def test_what_cannot_be_served_ends_with_an_error_body(self, engine: Engine) -> None:
        for stream in (False, True):
            request = self.refused()
            request.body["stream"] = stream
            got = await answer(engine, request)
            assert got.failure is not None
            assert got.failure.status == 400
            assert error_of(got.failure)["type"] == "invalid_request_error"
            assert not got.chunks
            assert request.meter.completion_tokens == 0
        assert engine.counters().running == 0

    # --- Leaving --------------------------------------------------------------------------------------------

    async def test_closing_the_iterator_stops_the_engine(self, engine: Engine) -> None:
        before = engine.counters().aborted
        request = chat(self.question, **STREAM | self.endless)
        seen = 0
        async with aclosing(engine.run(request)) as events:  # type: ignore[type-var]
            async for event in events:
                assert isinstance(event, Chunk)
                seen += sum(len(tokens) for _, tokens in event.tokens) if engine.can_resume else 1
                if seen >= 5:
                    break
        await self._has_stopped(engine, request, before + 1, seen if engine.can_resume else 1)

    async def test_cancelling_the_reader_stops_the_engine(self, engine: Engine) -> None:
        before = engine.counters().aborted
        for body in (STREAM, {}):
            request = chat(self.question, **body | self.endless)
            reader = asyncio.create_task(answer(engine, request))
            await until(lambda: engine.counters().running > 0)
            await asyncio.sleep(0.03)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            before += 1
            await self._has_stopped(engine, request, before, 0)

    async def _has_stopped(self, engine: Engine, request: EngineRequest, aborted: int, seen: int) -> None:
        await until(lambda: engine.counters().running == 0)
        assert engine.counters().aborted == aborted
        used = request.meter.completion_tokens
        assert seen <= used < self.endless["max_tokens"], "what was produced until then, and no more"
        assert request.meter.prompt_tokens > 0
        await asyncio.sleep(0.1)
        assert request.meter.completion_tokens == used

    async def test_the_meter_is_true_at_every_chunk(self, engine: Engine) -> None:
        request = chat(self.question, **STREAM)
        seen = 0
        async with aclosing(engine.run(request)) as events:  # type: ignore[type-var]
            async for event in events:
                assert isinstance(event, Chunk)
                seen += sum(len(tokens) for _, tokens in event.tokens)
                assert request.meter.completion_tokens >= seen
        assert request.meter.completion_tokens == 24

    # --- Many -----------------------------------------------------------------------------------------------

    @pytest.mark.slow
    async def test_64_at_once_are_all_served_whole(self, engine: Engine) -> None:
        await asyncio.sleep(0.1)  # an engine may count its last step after the answer has gone out
        before = replace(engine.counters())
        questions = [f"{self.question} ({number})" for number in range(64)]
        together = await asyncio.gather(*(answer(engine, chat(text, **STREAM)) for text in questions))
        for got in together:
            check_framing(got)
            assert got.usage["completion_tokens"] == got.request.meter.completion_tokens > 0
        produced = sum(got.usage["completion_tokens"] for got in together)
        prompts = sum(got.usage["prompt_tokens"] for got in together)
        await until(lambda: engine.counters().completion_tokens == before.completion_tokens + produced)
        after = engine.counters()
        assert after.running == after.waiting == 0
        assert after.prompt_tokens == before.prompt_tokens + prompts
        assert after.busy_s > before.busy_s
        if self.exact_in_batch:
            for text, got in list(zip(questions, together, strict=True))[::16]:
                alone = await answer(engine, chat(text, **STREAM))
                assert alone.texts == got.texts

    async def test_a_healthy_engine_says_nothing(self, engine: Engine) -> None:
        await engine.check_health()
        assert engine.capacity >= 1


class ResumeContract:
    """Engines that tell their tokens and go on from forced ones (`can_resume`)."""

    question = GenerationContract.question

    async def test_it_says_that_it_can_resume(self, engine: Engine) -> None:
        assert engine.can_resume

    async def test_tokens_come_with_their_chunks(self, engine: Engine) -> None:
        got = await answer(engine, chat(self.question, n=2, **DRAWN, **STREAM))
        assert sorted(got.tokens) == [0, 1]
        assert sum(len(tokens) for tokens in got.tokens.values()) == got.usage["completion_tokens"]

    async def _resumed(
        self, engine: Engine, whole: Answer, forced: list[list[int]], *, stream: bool = True
    ) -> None:
        body = {**whole.request.body, "stream": stream}
        if not stream:
            del body["stream_options"]
        request = EngineRequest(
            id=whole.request.id, kind=whole.request.kind, body=body, salt=whole.request.salt, forced=forced
        )
        got = await answer(engine, request)
        assert got.texts == whole.texts
        assert got.reasons == whole.reasons
        assert got.usage == whole.usage
        if request.stream:
            check_framing(got)
            assert got.tokens == whole.tokens
            assert got.chunks[0]["id"] == whole.chunks[0]["id"]

    async def test_a_forced_prefix_is_emitted_again_and_continued_as_if_nothing_had_happened(
        self, engine: Engine
    ) -> None:
        whole = await answer(engine, chat(self.question, **STREAM))
        tokens = whole.tokens[0]
        for count in (0, 1, len(tokens) // 2, len(tokens) - 1, len(tokens)):
            await self._resumed(engine, whole, [tokens[:count]])
            await self._resumed(engine, whole, [tokens[:count]], stream=False)

    async def test_each_choice_has_a_forced_prefix_of_its_own(self, engine: Engine) -> None:
        whole = await answer(engine, chat(self.question, n=2, **DRAWN, **STREAM))
        await self._resumed(engine, whole, [whole.tokens[0][:3], whole.tokens[1][:9]])
        await self._resumed(engine, whole, [[], whole.tokens[1][:5]])

    async def test_what_follows_a_forced_prefix_follows_from_it(self, engine: Engine) -> None:
        free = await answer(engine, chat(self.question, **STREAM))
        forced = free.tokens[0][7::-1]  # nothing that the model would say by itself
        first = await answer(engine, chat(self.question, forced=[forced], **STREAM))
        assert first.tokens[0][:8] == forced
        again = await answer(engine, chat(self.question, forced=[first.tokens[0][:12]], **STREAM))
        assert again.tokens == first.tokens

    async def test_a_stop_string_across_the_end_of_a_forced_prefix_still_stops(self, engine: Engine) -> None:
        free = await answer(engine, chat(self.question, **STREAM))
        middle = len(free.texts[0]) // 2
        stop = free.texts[0][middle : middle + 5]
        whole = await answer(engine, chat(self.question, stop=[stop], **STREAM))
        for count in range(max(0, len(whole.tokens[0]) - 3), len(whole.tokens[0])):
            await self._resumed(engine, whole, [whole.tokens[0][:count]])


class EmbeddingContract:
    """Embeddings."""

    dimensions = 384
    takes_dimensions = True

    async def _vectors(self, engine: Engine, **body: Any) -> list[Any]:
        got = await answer(engine, ask("embedding", **body))
        assert got.whole is not None
        assert got.whole["object"] == "list"
        assert got.whole["model"] == got.request.body["model"]
        assert [entry["index"] for entry in got.whole["data"]] == list(range(len(got.whole["data"])))
        assert {entry["object"] for entry in got.whole["data"]} == {"embedding"}
        usage = got.whole["usage"]
        assert usage["prompt_tokens"] == usage["total_tokens"] == got.request.meter.prompt_tokens > 0
        assert got.request.meter.completion_tokens == 0
        return [entry["embedding"] for entry in got.whole["data"]]

    async def test_it_embeds_one_text_and_many(self, engine: Engine) -> None:
        one = await self._vectors(engine, input="a wall")
        many = await self._vectors(engine, input=["a wall", "a hall"])
        assert len(one) == 1
        assert len(many) == 2
        assert len(one[0]) == self.dimensions
        assert many[0] == pytest.approx(one[0], abs=1e-3)
        assert many[1] != pytest.approx(one[0], abs=1e-3)
        assert sum(number * number for number in one[0]) == pytest.approx(1.0, abs=1e-3)

    async def test_base64_holds_the_same_numbers(self, engine: Engine) -> None:
        floats = (await self._vectors(engine, input="a wall", encoding_format="float"))[0]
        packed = (await self._vectors(engine, input="a wall", encoding_format="base64"))[0]
        unpacked = struct.unpack(f"<{self.dimensions}f", base64.b64decode(packed))
        assert unpacked == pytest.approx(floats, abs=1e-3)

    async def test_dimensions_shorten_the_vector(self, engine: Engine) -> None:
        if self.takes_dimensions:
            assert len((await self._vectors(engine, input="a wall", dimensions=16))[0]) == 16
        refused = self.dimensions + 1 if self.takes_dimensions else 16
        got = await answer(engine, ask("embedding", input="a wall", dimensions=refused))
        assert got.failure is not None
        assert got.failure.status == 400
        error_of(got.failure)

    async def test_token_ids_are_input_too(self, engine: Engine) -> None:
        assert len(await self._vectors(engine, input=[5, 6, 7])) == 1
        assert len(await self._vectors(engine, input=[[5, 6, 7], [8, 9]])) == 2

    @pytest.mark.slow
    async def test_64_texts_at_once(self, engine: Engine) -> None:
        got = await asyncio.gather(*(self._vectors(engine, input=f"text {number}") for number in range(64)))
        assert len({tuple(vectors[0][:8]) for vectors in got}) == 64
        assert engine.counters().running == 0
