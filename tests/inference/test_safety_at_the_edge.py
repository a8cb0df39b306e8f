"""Every route to a model passes the tenant's rules, in and out; what they say is counted, told and recorded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core.actors import system
from core.errors import DomainError
from core.scoping import tenant_scope
from core.threads import in_thread
from core.valkey import sync_client
from inference.gateway import gateway
from inference.queue.keys import CALL_LOGS
from safety.compiled import Guard
from safety.models import Review
from safety.owners import Owner
from safety.services import hits, reviews, rules, tenant_settings, versions
from safety.stream import Transducer
from tenants.models import Tenant
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory
from tests.inference.edge import BODY, MODEL, Edge, Served, events, text_of

MACHINE = system("tests")
PHRASE = "purple thunder"
ANSWER = f"The weather report says {PHRASE} comes tonight. Take an umbrella with you. "


def publish(
    tenant: Tenant, *, word: str = PHRASE, action_in: str = "block", action_out: str = "block"
) -> None:
    """Put one rule of words in force for a tenant."""
    with tenant_scope(tenant.pk):
        owner = Owner(tenant.pk)
        rules.create(
            owner=owner, actor=MACHINE, name=word, kind="terms", category="weather", terms=[word],
            action_in=action_in, action_out=action_out,
        )  # fmt: skip
        versions.publish(owner=owner, actor=MACHINE)


@pytest.fixture
def served(transactional_db: None) -> Served:
    """As elsewhere, and Acme blocks a phrase."""
    made = Served.create()
    publish(made.acme)
    return made


async def run(work: Any, *args: Any, **options: Any) -> Any:
    """In a thread that gives its connection back: kept ones would use up the pool."""
    return await in_thread(work)(*args, **options)


def ask(content: str = "hello", **extra: Any) -> dict[str, Any]:
    return {**BODY, "messages": [{"role": "user", "content": content}], **extra}


@pytest.mark.slow
async def test_a_phrase_in_a_request_is_refused_on_every_route(edge: Edge) -> None:
    """Attack 60."""
    await edge.start_replica("rep-a")
    bodies = {
        "/v1/chat/completions": ask(f"say {PHRASE}"),
        "/v1/completions": {"model": MODEL, "prompt": f"say {PHRASE}"},
    }
    async with edge.http() as http, edge.http("globex") as other:
        for path, body in bodies.items():
            for stream in (False, True):
                for prefix in ("", "/t/acme"):
                    answer = await http.post(prefix + path, json={**body, "stream": stream})
                    assert answer.status_code == 400, (path, stream)
                    error = answer.json()["error"]
                    assert (error["code"], error["type"]) == ("content_filter", "invalid_request_error")
                    assert error["param"] in ("messages[0].content", "prompt")
                    assert PHRASE not in error["message"]
            clean = json.loads(json.dumps(body).replace("thunder", "weather"))
            assert (await http.post(path, json=clean)).status_code == 200
            assert (await other.post(path, json=body)).status_code == 200, (
                "another tenant's rules are its own"
            )
    assert gateway().streams == {}


async def test_embeddings_pass_the_rules_too(edge: Edge, served: Served) -> None:
    def embedder() -> Any:
        model = ModelFactory(tenant=None, name="embed", visibility="public", task="embedding")
        return DeploymentFactory(
            tenant=None, version=ModelVersionFactory(tenant=None, model=model), name="embed"
        )

    served.deployment = await run(embedder)
    await edge.start_replica("rep-e")
    async with edge.http() as http:
        refused = await http.post("/v1/embeddings", json={"model": "embed", "input": ["fine", PHRASE]})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[1]")
        assert (
            await http.post("/v1/embeddings", json={"model": "embed", "input": ["fine"]})
        ).status_code == 200


@pytest.mark.slow
async def test_of_a_streamed_answer_nothing_of_the_phrase_leaves(edge: Edge) -> None:
    """Attack 61, on the whole path; cut everywhere and in disguises in test_shield."""
    await edge.start_replica("rep-a", text=ANSWER, tokens=64)
    options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 64}
    async with edge.http() as http, edge.http("globex") as other:
        answer = await http.post("/v1/chat/completions", json=ask(**options))
        chunks = events(answer.text)
        plain = events((await other.post("/v1/chat/completions", json=ask(**options))).text)
        legacy = events(
            (await http.post("/v1/completions", json={"model": MODEL, "prompt": "x", **options})).text
        )
    assert PHRASE in text_of(plain), "the control"
    assert text_of(chunks) == text_of(plain)[: text_of(plain).index(PHRASE)]
    last = [choice for chunk in chunks[:-1] for choice in chunk["choices"]][-1]
    assert last["finish_reason"] == "content_filter"
    assert last["delta"]["refusal"]
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["usage"]["completion_tokens"] > 0
    said = "".join(choice["text"] for chunk in legacy[:-1] for choice in chunk["choices"])
    assert PHRASE not in said
    usage = await edge.usage(answer.headers["x-request-id"])
    assert (usage["outcome"], usage["error_code"]) == ("completed", "content_filter")
    assert usage["completion_tokens"] < 64, "the engine did not go on"


@pytest.mark.slow
async def test_of_a_whole_answer_nothing_of_the_phrase_leaves(edge: Edge) -> None:
    await edge.start_replica("rep-a", text=ANSWER, tokens=64)
    async with edge.http() as http, edge.http("globex") as other:
        answer = (await http.post("/v1/chat/completions", json=ask(max_tokens=64, n=2))).json()
        legacy = (
            await http.post("/v1/completions", json={"model": MODEL, "prompt": "x", "max_tokens": 64})
        ).json()
        plain = (await other.post("/v1/chat/completions", json=ask(max_tokens=64))).json()
    assert PHRASE in plain["choices"][0]["message"]["content"]
    for choice in answer["choices"]:
        assert choice["finish_reason"] == "content_filter"
        assert PHRASE not in json.dumps(choice)
    assert legacy["choices"][0]["finish_reason"] == "content_filter"
    assert "thunder" not in legacy["choices"][0]["text"]
    assert answer["usage"]["completion_tokens"] == 128


async def test_without_the_guard_the_phrase_would_pass(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every test above rests on: with the guard out of the way they would fail."""
    from safety.stream import Checked

    monkeypatch.setattr(Guard, "check", lambda self, text, direction, **_: Checked(text, (), None))
    monkeypatch.setattr(Transducer, "feed", lambda self, piece: Checked(piece, (), None))
    monkeypatch.setattr(Transducer, "finish", lambda self: Checked("", (), None))
    await edge.start_replica("rep-a", text=ANSWER, tokens=64)
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=ask(PHRASE, max_tokens=64))
    assert PHRASE in answer.json()["choices"][0]["message"]["content"]


async def test_a_rule_that_is_published_holds_for_the_next_request(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http("globex") as http:
        assert (await http.post("/v1/chat/completions", json=ask("tangerine"))).status_code == 200
        await run(publish, edge.served.globex, word="tangerine")
        for _ in range(100):
            if (await http.post("/v1/chat/completions", json=ask("tangerine"))).status_code == 400:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the rule is not in force")


async def test_verdicts_are_counted_and_stand_in_the_call_log(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        refused = await http.post("/v1/chat/completions", json=ask(PHRASE))
    await gateway().safety.hits.close()
    assert gateway().logs.settle()
    await run(hits.ingest)

    def counted() -> list[tuple[str, int]]:
        from safety.models import HitCount

        with tenant_scope(edge.served.acme.pk):
            return list(HitCount.objects.values_list("action", "count"))

    assert await run(counted) == [("block", 1)]
    entries: Any = await edge.valkey.xrange(CALL_LOGS)
    noted = b"".join(fields[b"r"] for _, fields in entries)
    assert refused.headers["x-request-id"].encode() in noted
    assert b"blocked" in noted


async def test_what_waits_for_a_person_passes_once_approved(edge: Edge) -> None:
    await run(publish, edge.served.globex, word="tangerine", action_in="review", action_out="off")
    await edge.start_replica("rep-a")

    def waiting() -> list[Review]:
        with tenant_scope(edge.served.globex.pk):
            return list(Review.objects.all())

    def approve(review: Review) -> None:
        with tenant_scope(edge.served.globex.pk):
            reviews.approve(review=review, actor=MACHINE, reason="harmless fruit")

    async with edge.http("globex") as http:
        refused = await http.post("/v1/chat/completions", json=ask("a tangerine"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
        for _ in range(100):
            if found := await run(waiting):
                break
            await asyncio.sleep(0.02)
        await run(approve, found[0])
        for _ in range(100):
            if (await http.post("/v1/chat/completions", json=ask("a tangerine"))).status_code == 200:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the approval is not in force")
        assert (
            await http.post("/v1/chat/completions", json=ask("two tangerines, a tangerine"))
        ).status_code == 400


@pytest.mark.slow
async def test_a_broken_checker_closes_the_door_unless_the_tenant_wants_it_open(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 63."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    def open_door() -> None:
        with tenant_scope(edge.served.acme.pk):
            tenant_settings.set_on_failure(
                tenant_id=edge.served.acme.pk, actor=MACHINE, on_failure="open", reason="a demonstration"
            )

    await edge.start_replica("rep-a", text=ANSWER, tokens=64)
    for key in sync_client().scan_iter("atrium:*safety:incident:*"):
        sync_client().delete(key)
    async with edge.http() as http:
        assert (await http.post("/v1/chat/completions", json=ask())).status_code == 200
        monkeypatch.setattr(Guard, "_is_ordinary", broken)
        closed = await http.post("/v1/chat/completions", json=ask())
        assert (closed.status_code, closed.json()["error"]["code"]) == (503, "safety_unavailable")
        await run(open_door)
        for _ in range(100):
            passing = await http.post("/v1/chat/completions", json=ask(max_tokens=64))
            if passing.status_code == 200:
                break
            await asyncio.sleep(0.02)
    assert PHRASE in passing.json()["choices"][0]["message"]["content"]


async def test_a_disclaimer_stands_around_answers(edge: Edge) -> None:
    def disclaim() -> None:
        with tenant_scope(edge.served.globex.pk):
            tenant_settings.add_disclaimer(
                tenant_id=edge.served.globex.pk,
                actor=MACHINE,
                model=MODEL,
                prefix="Machine: ",
                suffix=" (end)",
            )

    await run(disclaim)
    await edge.start_replica("rep-a", tokens=4)
    async with edge.http("globex") as http:
        whole = (await http.post("/v1/chat/completions", json=ask())).json()["choices"][0]["message"][
            "content"
        ]
        streamed = text_of(events((await http.post("/v1/chat/completions", json=ask(stream=True))).text))
    assert whole == streamed
    assert whole.startswith("Machine: ")
    assert whole.endswith(" (end)")


async def test_a_refusal_speaks_the_tenants_language(edge: Edge) -> None:
    def speak(**fields: str) -> None:
        with tenant_scope(edge.served.acme.pk):
            tenant_settings.change(tenant_id=edge.served.acme.pk, actor=MACHINE, **fields)

    await edge.start_replica("rep-a")
    sentences = []
    async with edge.http() as http:
        for fields in ({"language": "zh-hans"}, {"refusal_message": "Not here."}):
            before = sentences[-1] if sentences else ""
            await run(lambda given=fields: speak(**given))
            for _ in range(100):
                refused = await http.post("/v1/chat/completions", json=ask(PHRASE))
                sentence = refused.json()["error"]["message"]
                if sentence != before and (sentences or any(letter >= "\u4e00" for letter in sentence)):
                    break
                await asyncio.sleep(0.02)
            sentences.append(sentence)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in sentences[0])
    assert sentences[1] == "Not here."


async def test_masking_in_a_stream_keeps_usage_and_the_end_right(edge: Edge) -> None:
    """Attack 62: what is masked straddles the chunks."""
    await run(publish, edge.served.globex, action_in="off", action_out="mask")
    await edge.start_replica("rep-a", text=ANSWER, tokens=64)
    options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 64}
    async with edge.http("globex") as http:
        chunks = events((await http.post("/v1/chat/completions", json=ask(**options))).text)
        whole = (await http.post("/v1/chat/completions", json=ask(max_tokens=64))).json()
    said, choice = text_of(chunks), whole["choices"][0]
    assert "[WEATHER]" in said
    assert PHRASE not in said
    assert (choice["message"]["content"], choice["finish_reason"]) == (said, "stop")
    ends = [one["finish_reason"] for chunk in chunks[:-1] for one in chunk["choices"] if one["finish_reason"]]
    assert ends == ["stop"]
    assert chunks[-2]["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 64


@pytest.mark.slow
async def test_nothing_in_a_request_weakens_its_tenants_rules(edge: Edge) -> None:
    """Attack 66."""
    await edge.start_replica("rep-a")
    headers = {
        "X-Atrium-Safety": "off", "X-Safety": "off", "X-Guardrails": "none", "X-Tenant": "globex",
        "X-Atrium-Tenant": "globex", "X-Forwarded-Host": "globex", "X-Content-Filter": "false",
    }  # fmt: skip
    fields: dict[str, Any] = {
        "metadata": {"safety": "off", "guardrails": "none", "tenant": "globex"}, "user": "admin",
    }  # fmt: skip
    async with edge.http() as http:
        for extra in ({}, fields, {"stream": True, **fields}):
            answer = await http.post("/v1/chat/completions", json=ask(PHRASE, **extra), headers=headers)
            assert answer.json()["error"]["code"] == "content_filter"
        for name in ("safety", "guardrails", "moderation", "content_filter"):
            answer = await http.post("/v1/chat/completions", json={**ask("hello"), name: "off"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")
        assert (await http.post("/v1/chat/completions", json=ask("hello", **fields))).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a|aa)+c", "([a-z]+)*1", "(.*a){12}b"])
async def test_no_expression_of_a_tenant_keeps_a_text_waiting(edge: Edge, pattern: str) -> None:
    """Attack 67: a matcher that goes back would take longer than the world is old; the request would time out."""

    def add() -> None:
        with tenant_scope(edge.served.globex.pk):
            owner = Owner(edge.served.globex.pk)
            rules.create(
                owner=owner, actor=MACHINE, name="hostile", kind="pattern", category="c", pattern=pattern,
                action_in="flag", action_out="flag",
            )  # fmt: skip
            versions.publish(owner=owner, actor=MACHINE)

    try:
        await run(add)
    except DomainError:
        return  # refused, with a sentence for its author
    await edge.start_replica("rep-a")
    async with edge.http("globex") as http:
        answer = await http.post("/v1/chat/completions", json=ask("a" * 20_000 + "!"))
        assert answer.status_code == 200
