"""`/v1` as clients meet it: forms, headers, errors, limits, and each tenant's own path."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from django.conf import settings

from access.services import keys as key_services
from core.actors import system
from core.scoping import platform_scope, tenant_scope
from core.threads import in_thread
from tenants.services import tenants as tenant_services
from tests.factories.access import APIKeyFactory
from tests.inference.edge import BODY, Edge, events, text_of


async def test_a_chat_comes_back_whole(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=BODY)
    body = answer.json()
    assert answer.status_code == 200
    assert body["model"] == "sim"
    assert body["object"] == "chat.completion"
    assert body["usage"]["completion_tokens"] == 64
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.headers["openai-version"] == "2020-10-01"
    record = await edge.usage(answer.headers["x-request-id"])
    assert (record["outcome"], record["completion_tokens"]) == ("completed", 64)
    assert record["tenant_id"] == str(edge.served.acme.pk)
    assert record["key_id"] == str(edge.served.keys["acme"].pk)
    assert record["replica"] == "rep-a"


async def test_a_stream_is_server_sent_events_in_openais_form(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        answer = await http.post(
            "/v1/chat/completions", json={**BODY, "stream": True, "stream_options": {"include_usage": True}}
        )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    found = events(answer.text)
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert found[-1] == "[DONE]"
    assert found[-2]["choices"] == []
    assert found[-2]["usage"]["completion_tokens"] == 64
    assert found[-3]["choices"][0]["finish_reason"] in ("stop", "length")


@pytest.mark.slow
async def test_64_streams_of_64_tokens_lose_none(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        whole = text_of(events((await http.post("/v1/chat/completions", json={**BODY, "stream": True})).text))

        async def one() -> list[Any]:
            return events((await http.post("/v1/chat/completions", json={**BODY, "stream": True})).text)

        streams = await asyncio.gather(*(one() for _ in range(64)))
    assert {text_of(stream) for stream in streams} == {whole}
    assert all(stream[-1] == "[DONE]" for stream in streams)


async def test_each_tenant_has_its_own_path_and_foreign_keys_do_not_exist_there(edge: Edge) -> None:
    async with edge.http("acme") as http:
        mine = await http.get("/t/acme/v1/models")
        foreign = await http.get("/t/globex/v1/models")
        absent = await http.get("/t/nobody/v1/models")
    assert [m["id"] for m in mine.json()["data"]] == ["sim"]
    assert foreign.status_code == absent.status_code == 401
    assert foreign.json() == absent.json()
    assert foreign.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": "Basic eDp5"}, "invalid_api_key"),
        ({"Authorization": "Bearer sk-nothing"}, "invalid_api_key"),
        ({"Authorization": "Bearer atr-aaaaaaaa-" + "A" * 49}, "invalid_api_key"),
        ({"Authorization": "Bearer ' OR 1=1 --"}, "invalid_api_key"),
        ({"X-Tenant-Id": "acme"}, "missing_api_key"),
    ],
)
async def test_without_a_right_key_nothing_is_told(edge: Edge, headers: dict[str, str], code: str) -> None:
    async with edge.http("") as http:
        answer = await http.get("/v1/models", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == code
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_two_authorization_headers_are_not_chosen_from(edge: Edge) -> None:
    secrets = edge.served.secrets
    async with edge.http("") as http:
        answer = await http.get(
            "/v1/models",
            headers=[
                ("Authorization", f"Bearer {secrets['acme']}"),
                ("Authorization", f"Bearer {secrets['globex']}"),
            ],
        )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b'{"a": NaN}', 400, "invalid_json"),
        (b'{"model": "\xff"}', 400, "invalid_json"),
        # What neither a ticket nor an engine can carry.
        (
            b'{"model": "sim", "messages": [{"role": "user", "content": "x"}], "response_format": {"type":'
            b' "json_schema", "json_schema": {"name": "x", "schema": {"minimum": 1' + b"0" * 40 + b"}}}}",
            400,
            "invalid_json",
        ),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "invalid_json"),
        (b'{"model": "sim"}', 400, "missing_required_parameter"),
        (
            b'{"model": "sim", "messages": [{"role": "user", "content": "x"}], "n": 1000000000}',
            400,
            "invalid_value",
        ),
        (b'{"model": "other", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
    ],
)
async def test_bad_bodies_get_openais_error_form(edge: Edge, content: bytes, status: int, code: str) -> None:
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_body_that_is_too_large_is_not_read(edge: Edge) -> None:
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", content=b"x" * (settings.MAX_BODY_BYTES + 1))
        gzipped = await http.post("/v1/chat/completions", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert gzipped.status_code == 415


async def test_a_slow_sender_is_cut_off(edge: Edge, settings: Any) -> None:
    settings.BODY_TIMEOUT_S = 0.3
    reader, writer = await asyncio.open_connection("127.0.0.1", int(edge.base_url.rsplit(":", 1)[1]))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nAuthorization: Bearer "
        + edge.served.secrets["acme"].encode()
        + b"\r\n\r\n{"
    )
    answer = await asyncio.wait_for(reader.read(4096), 5)
    writer.close()
    assert b" 408 " in answer.split(b"\r\n")[0]


async def test_wrong_methods_and_addresses_say_so(edge: Edge) -> None:
    async with edge.http() as http:
        wrong = await http.get("/v1/chat/completions")
        unknown = await http.post("/v1/nothing", json={})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.slow
async def test_a_key_is_bound_to_its_scopes_models_and_networks(edge: Edge) -> None:
    def make(**limits: Any) -> str:
        from access.secrets import new_secret

        secret = new_secret()
        APIKeyFactory(tenant=edge.served.acme, secret=secret, **limits)
        return secret

    async def status(secret: str) -> tuple[int, str]:
        async with edge.http("") as http:
            answer = await http.post(
                "/v1/chat/completions",
                json={**BODY, "max_tokens": 1},
                headers={"Authorization": f"Bearer {secret}"},
            )
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    make_async = in_thread(make)
    await edge.start_replica("rep-a")
    assert await status(await make_async()) == (200, "")
    assert await status(await make_async(scopes=["read"])) == (403, "missing_scope")
    assert await status(await make_async(allowed_models=["other"])) == (404, "model_not_found")
    assert await status(await make_async(allowed_models=["sim"])) == (200, "")
    assert await status(await make_async(allowed_networks=["10.0.0.0/8"])) == (403, "address_not_allowed")
    assert await status(await make_async(allowed_networks=["127.0.0.0/8"])) == (200, "")


async def test_a_refused_request_leaves_a_record_too(edge: Edge) -> None:
    async with edge.http() as http:
        await http.post("/v1/chat/completions", json={**BODY, "model": "other", "user": "end-user-7"})
    for _ in range(100):
        entries = await edge.valkey.xrevrange("atrium:usage", count=20)
        found = [json.loads(fields[b"r"]) for _, fields in entries]
        if any(r["end_user"] == "end-user-7" and r["outcome"] == "refused" for r in found):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no usage record of the refused request")


async def _until(check: Any, timeout_s: float) -> float:
    """Seconds until `check` is true. Fails after `timeout_s`."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if await check():
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s")


async def test_revoking_a_key_works_within_a_second(edge: Edge) -> None:
    async with edge.http() as http:
        assert (await http.get("/v1/models")).status_code == 200

        def revoke() -> None:
            with tenant_scope(edge.served.acme.pk):
                key_services.revoke(key=edge.served.keys["acme"], actor=system("tests"))

        await in_thread(revoke)()

        async def refused() -> bool:
            return (await http.get("/v1/models")).status_code == 401

        await _until(refused, 1.0)


@pytest.mark.slow
async def test_suspending_a_tenant_ends_its_streams_within_a_second_and_no_others(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=2_000, tokens_per_s=20)

    begun = {slug: asyncio.Event() for slug in ("acme", "globex")}

    async def read(slug: str) -> list[Any]:
        raw = ""
        body = {**BODY, "stream": True, "max_tokens": 60}
        async with edge.http(slug) as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for piece in answer.aiter_text():
                raw += piece
                begun[slug].set()
        return events(raw)

    streams = {slug: asyncio.create_task(read(slug)) for slug in begun}
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in begun.values())), 10)

    def suspend() -> None:
        with platform_scope("tests"):
            tenant_services.suspend(tenant=edge.served.acme, actor=system("tests"), reason="unpaid")

    await in_thread(suspend)()
    ended = await asyncio.wait_for(streams["acme"], 1.0)
    assert ended[-1]["error"]["code"] == "tenant_suspended"
    async with edge.http("acme") as http:
        answer = await http.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_suspended")
    whole = await asyncio.wait_for(streams["globex"], 10)
    assert whole[-1] == "[DONE]"


@pytest.mark.slow
async def test_a_silent_stream_is_kept_alive_by_comments(edge: Edge, settings: Any) -> None:
    settings.KEEP_ALIVE_COMMENT_S = 0.1
    await edge.start_replica("rep-a", first_token_ms=500)
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert ": keep-alive\n\n" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.slow
async def test_a_reader_that_does_not_read_is_let_go(edge: Edge, settings: Any) -> None:
    settings.SLOW_READER_TIMEOUT_S = 0.5
    replica = await edge.start_replica("rep-a", tokens=200_000)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(edge.base_url.rsplit(":", 1)[1]), limit=1024
    )
    body = json.dumps({**BODY, "stream": True, "max_tokens": 200_000}).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "
        + str(len(body)).encode()
        + b"\r\nAuthorization: Bearer "
        + edge.served.secrets["acme"].encode()
        + b"\r\n\r\n"
        + body
    )
    await reader.readline()

    async def released() -> bool:
        return not replica._jobs

    await _until(released, 20.0)
    writer.close()
