"""Structured logs: one JSON object per line on standard output, from structlog and the standard library
alike.

Every line carries the request's and the tenant's id where there is one, and passes
`observability.redaction` last. Events are named like audit actions, `app.noun.verb`, and values are fields,
never woven into the sentence.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
import traceback
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import structlog

from core.scoping import current_scope
from observability.redaction import redact, redact_text

Event = MutableMapping[str, Any]

MAX_FRAMES = 40
# Chatty below these levels, whatever LOG_LEVEL says: their debug lines hold headers, statements and payloads.
_FLOORS = {
    "httpx": logging.WARNING,
    "httpcore": logging.INFO,
    "openai": logging.INFO,
    "psycopg": logging.INFO,
    "psycopg.pool": logging.WARNING,
    "django.db.backends": logging.INFO,
    "django.utils.autoreload": logging.INFO,
    "asyncio": logging.INFO,
    "kombu": logging.INFO,
    "amqp": logging.INFO,
    "urllib3": logging.INFO,
    # One line per request is written by observability.middleware; the server would write it a second time.
    "uvicorn.access": logging.WARNING,
    "daphne.access": logging.WARNING,
    "django.channels.server": logging.WARNING,
    # 4xx answers are in the request's line; 5xx are written with their traceback by whoever handled them.
    "django.request": logging.ERROR,
}
_OURS = "atrium"  # name of the handler, so that configuring twice replaces and does not double it


class StandardStreamHandler(logging.StreamHandler):
    """Writes to standard output; for management commands, whose output is their answer, to standard error.

    Looks the stream up with every line: it may have been replaced or closed since the process began.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """The stream of this moment."""
        return sys.stderr if Path(sys.argv[0]).name == "manage.py" else sys.stdout


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """structlog's formatter, deaf to what other handlers have formatted before it.

    SECURITY: another handler may have left the plain traceback in the record, which the standard library
    would append after our JSON, past the redaction.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        plain = copy.copy(record)
        plain.exc_text = None
        return str(super().format(plain))


def configure(level: str | int = "INFO") -> None:
    """Set up logging for this process. May be called again; the last call wins."""
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = StandardStreamHandler()
    handler.set_name(_OURS)
    handler.setFormatter(
        RedactingFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                describe_exception,
                redact_event,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    _attach(handler, level)


def write_facts(logger: str, event: str, lines: Iterable[dict[str, Any]]) -> None:
    """Write many lines of INFO at once, for whoever has one for each request: a tenth of what the usual way costs.

    SECURITY: they pass no redaction. Only ids, numbers and codes of ours may be in them.
    """
    if not logging.getLogger(logger).isEnabledFor(logging.INFO):
        return
    handler = next((each for each in logging.getLogger().handlers if each.get_name() == _OURS), None)
    if not isinstance(handler, StandardStreamHandler):
        return
    head = {"event": event, "level": "info", "logger": logger}
    text = "".join(f"{msgspec.json.encode({**head, **line}).decode()}\n" for line in lines)
    with handler.lock or contextlib.nullcontext():
        try:
            handler.stream.write(text)
            handler.flush()
        except (OSError, ValueError):  # the stream was closed: nobody reads it any more
            return


def _attach(handler: logging.Handler, level: str | int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [old for old in root.handlers if old.get_name() != _OURS]
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "daphne", "celery", "celery.task", "django"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name, floor in _FLOORS.items():
        logging.getLogger(name).setLevel(max(floor, root.level))
    logging.captureWarnings(True)


def add_scope(logger: Any, method: str, event: Event) -> Event:
    """Name the tenant whose scope is open, unless the line already names one."""
    if "tenant_id" not in event:
        tenant_id = current_scope().tenant_id
        if tenant_id is not None:
            event["tenant_id"] = str(tenant_id)
    return event


def describe_exception(logger: Any, method: str, event: Event) -> Event:
    """Turn `exc_info` into text: where it happened and what it said, each message redacted by itself.

    SECURITY: no source lines and no local values; an exception's message is where a body or a key would
    stand.
    """
    exc_info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    if exc_info and exc_info[1] is not None:
        event["exception"] = _chain(exc_info[1], exc_info[2])
    return event


def _chain(error: BaseException, trace: TracebackType | None) -> list[dict[str, Any]]:
    """The exception and its causes, the outermost first; at most five."""
    described: list[dict[str, Any]] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen and len(described) < 5:
        seen.add(id(cause))
        frames = traceback.extract_tb(trace if cause is error else cause.__traceback__)
        described.append(
            {
                "type": f"{type(cause).__module__}.{type(cause).__qualname__}",
                "said": _message(cause),
                "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-MAX_FRAMES:]],
            }
        )
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return described


def _message(error: BaseException) -> str:
    try:
        return redact_text(str(error))
    except Exception:  # a broken __str__ must not cost the line
        return "…"


def redact_event(logger: Any, method: str, event: Event) -> Event:
    """The last processor before the line is written: mask what must not be in it."""
    return {
        name: value if name in ("time", "level", "logger") else redact({name: value})[name]
        for name, value in event.items()
    }


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    add_scope,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
]
# One list for the life of the process: loggers keep the one that they first met.
_PROCESSORS: list[Any] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
