"""The request's line and id."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from uuid import uuid4

import pytest
import structlog
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from structlog.testing import capture_logs

from observability.middleware import RequestLogMiddleware

request_factory = RequestFactory()


def test_every_answer_carries_a_fresh_request_id():
    serve = RequestLogMiddleware(lambda request: HttpResponse("ok"))
    request = request_factory.get("/", HTTP_X_REQUEST_ID="chosen-by-the-client")
    first, second = serve(request), serve(request_factory.get("/"))
    assert first["x-request-id"].startswith("req_")
    assert first["x-request-id"] != second["x-request-id"]
    assert first["x-request-id"] != "chosen-by-the-client"


def test_a_request_is_one_line_without_its_query():
    def view(request):
        request.tenant = SimpleNamespace(pk=uuid4())
        request.actor = SimpleNamespace(kind="key", id=uuid4())
        return HttpResponse("ok", status=201)

    with capture_logs() as lines:
        RequestLogMiddleware(view)(request_factory.post("/api/v1/keys/?token=abc"))
    (line,) = lines
    assert line["event"] == "request.served"
    assert line["path"] == "/api/v1/keys/"
    assert line["status"] == 201
    assert line["duration_ms"] >= 0
    assert line["tenant_id"]
    assert line["actor_kind"] == "key"
    assert "abc" not in str(line)


def test_a_failure_is_an_error_line_and_a_stream_says_so():
    with capture_logs() as lines:
        RequestLogMiddleware(lambda request: HttpResponse(status=503))(request_factory.get("/"))
        RequestLogMiddleware(lambda request: StreamingHttpResponse(iter([b"x"])))(request_factory.get("/"))
    assert lines[0]["log_level"] == "error"
    assert lines[1]["streaming"] is True


def test_the_id_is_bound_while_the_view_runs_and_gone_afterwards():
    seen = {}

    def view(request):
        seen.update(structlog.contextvars.get_contextvars())
        return HttpResponse()

    response = RequestLogMiddleware(view)(request_factory.get("/"))
    assert seen["request_id"] == response["x-request-id"]
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_the_id_is_gone_after_a_view_that_raised():
    def view(request):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        RequestLogMiddleware(view)(request_factory.get("/"))
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_it_works_in_an_asynchronous_chain():
    async def view(request):
        return HttpResponse("ok")

    serve = RequestLogMiddleware(view)
    assert asyncio.iscoroutinefunction(serve) or hasattr(serve, "_is_coroutine_mark")
    with capture_logs() as lines:
        response = await serve(request_factory.get("/"))
    assert response["x-request-id"]
    assert lines[0]["event"] == "request.served"


async def test_a_client_that_leaves_is_a_line_too():
    async def view(request):
        await asyncio.sleep(60)

    with capture_logs() as lines:
        task = asyncio.ensure_future(RequestLogMiddleware(view)(request_factory.get("/slow")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert lines[0]["event"] == "request.abandoned"
