"""What leaves a process: policy events and tasks, after the commit and never before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks
from redis.exceptions import ConnectionError as RedisConnectionError

from core import events
from core.dispatch import TenantTask, enqueue
from core.events import STREAM, announce
from core.scoping import ScopeError, current_tenant_id
from core.valkey import sync_client
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


def announce_and_fail() -> None:
    """A change that announces itself and is then rolled back."""
    announce("tenant")
    raise ZeroDivisionError


def enqueue_and_fail() -> None:
    """A change that sends a task and is then rolled back."""
    enqueue("things.thing.done")
    raise ZeroDivisionError


def last_event() -> dict[str, Any]:
    """The newest event on the stream."""
    [(_position, fields)] = sync_client().xrevrange(STREAM, count=1)
    return json.loads(fields[b"event"])


def test_an_event_is_announced_after_the_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    tenant_id, object_id = uuid4(), uuid4()
    before = sync_client().xlen(STREAM)
    with django_capture_on_commit_callbacks(execute=True):
        announce("key", tenant_id=tenant_id, object_id=object_id)
        assert sync_client().xlen(STREAM) == before
    assert last_event() == {"kind": "key", "tenant_id": str(tenant_id), "object_id": str(object_id)}


def test_an_event_of_a_change_that_is_rolled_back_is_never_announced(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with (
        django_capture_on_commit_callbacks() as callbacks,
        pytest.raises(ZeroDivisionError),
        transaction.atomic(),
    ):
        announce_and_fail()
    assert callbacks == []


def test_an_event_that_cannot_be_announced_does_not_fail_the_change(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        """A Valkey that is not there."""

        def xadd(self, *args: object, **kwargs: object) -> None:
            raise RedisConnectionError

    monkeypatch.setattr(events, "sync_client", Gone)
    with django_capture_on_commit_callbacks(execute=True):
        announce("tenant")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The messages that would have gone to Celery."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(
        current_app, "send_task", lambda name, **message: messages.append({"name": name, **message})
    )
    return messages


def test_a_task_is_sent_after_the_commit_with_ids_only(
    sent: list[dict[str, Any]], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    tenant_id = uuid4()
    with django_capture_on_commit_callbacks(execute=True):
        enqueue("things.thing.done", tenant_id=tenant_id, expires_s=5, thing_id="1")
        assert sent == []
    [message] = sent
    assert message["name"] == "things.thing.done"
    assert message["kwargs"] == {"thing_id": "1"}
    assert message["headers"] == {"tenant_id": str(tenant_id)}
    assert message["expires"] == 5


def test_a_task_of_a_change_that_is_rolled_back_is_never_sent(
    sent: list[dict[str, Any]], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with (
        django_capture_on_commit_callbacks(execute=True),
        pytest.raises(ZeroDivisionError),
        transaction.atomic(),
    ):
        enqueue_and_fail()
    assert sent == []


@pytest.fixture
def task() -> Callable[..., Any]:
    """A task that says which tenant it works for."""

    class Answer(TenantTask):
        """Answers with the active tenant."""

        name = "tests.answer"

        def run(self) -> UUID:
            return current_tenant_id()

    answer = Answer()
    answer.bind(current_app._get_current_object())

    def call(**request: Any) -> Any:
        answer.push_request(**request)
        try:
            return answer()
        finally:
            answer.pop_request()

    return call


def test_a_tenants_task_runs_inside_its_scope(task: Callable[..., Any], acme: Tenant) -> None:
    assert task(tenant_id=str(acme.pk)) == acme.pk
    # Celery hands headers of one's own on in either place, depending on how the message came.
    assert task(headers={"tenant_id": str(acme.pk)}) == acme.pk
    with pytest.raises(ScopeError):
        current_tenant_id()


def test_a_tenants_task_without_a_tenant_is_refused(task: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="sent without a tenant"):
        task()
