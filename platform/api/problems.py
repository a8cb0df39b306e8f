"""Errors as RFC 9457 problem details: one shape for whatever goes wrong behind /api/.

Body: `type`, `title`, `status`, `detail`, `instance`, `code` (stable, for programs), `errors` (one entry
per field that is wrong: `field`, `message`, `code`) and `request_id` (as in the `x-request-id` header and
in the log).
"""

from __future__ import annotations

import http
import math
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from django.core import exceptions as django_errors
from django.core.signals import got_request_exception
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions as drf
from rest_framework.response import Response

from core import errors as domain

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"

STATUS_OF_DOMAIN_ERRORS: dict[type[domain.DomainError], int] = {
    domain.InvalidInput: 400,
    domain.NotAllowed: 403,
    domain.NotFound: 404,
    domain.Conflict: 409,
    domain.Unavailable: 503,
}


class Problem(Exception):
    """A problem that the REST layer itself states, e.g. an idempotency key used for two different bodies."""

    def __init__(self, status: int, code: str, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = [{"field": field, "message": detail, "code": code}] if field else []


def title_of(status: int) -> str:
    """The status in words; RFC 9457 wants it for the type `about:blank` and it serves the others too."""
    return http.HTTPStatus(status).phrase


def body_of(
    request: HttpRequest | None,
    *,
    status: int,
    code: str,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The body of one problem."""
    return {
        "type": f"urn:atrium:problem:{code}",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "instance": request.path if request is not None else "",
        "code": code,
        "errors": errors or [],
        "request_id": getattr(request, "request_id", ""),
    }


def problem_response(request: HttpRequest, *, status: int, code: str, detail: str) -> JsonResponse:
    """A problem from outside DRF: middleware, and views that Django calls by itself."""
    response = JsonResponse(
        body_of(request, status=status, code=code, detail=detail),
        status=status,
        content_type=CONTENT_TYPE,
        json_dumps_params={"ensure_ascii": False},
    )
    response["Cache-Control"] = "no-store"
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="atrium"'
    return response


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Turn whatever a view raised into a problem. Never lets an exception through.

    The view's transaction has been rolled back before this runs (api.viewsets). What is nobody's intention is
    logged with its traceback and answered with 500 and no detail.
    """
    request = context.get("request")
    status, code, detail, errors = _read(error)
    if status >= 500:
        _report(error, context)
    plain = getattr(request, "_request", request)
    response = Response(
        body_of(plain, status=status, code=code, detail=detail, errors=errors),
        status=status,
        content_type=CONTENT_TYPE,
        headers=_headers(error),
    )
    response["Cache-Control"] = "no-store"
    return response


def _report(error: Exception, context: Mapping[str, Any]) -> None:
    view = context.get("view")
    log.error("api.request.failed", view=type(view).__name__ if view else "", exc_info=error)
    request = context.get("request")
    got_request_exception.send(sender=type(view), request=getattr(request, "_request", request))


def _headers(error: Exception) -> dict[str, str]:
    headers: dict[str, str] = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    wait_s = getattr(error, "wait", None)
    if wait_s:
        headers["Retry-After"] = str(math.ceil(wait_s))
    elif isinstance(error, (domain.Unavailable, OperationalError, InterfaceError)):
        headers["Retry-After"] = "5"
    return headers


Reading = tuple[int, str, str, list[dict[str, Any]]]


def _read(error: Exception) -> Reading:
    """Status, code, detail and field errors of any exception."""
    if isinstance(error, Problem):
        return error.status, error.code, error.detail, error.errors
    if isinstance(error, domain.DomainError):
        return _read_domain(error)
    if isinstance(error, drf.ValidationError):
        return _invalid(list(_flatten(error.get_full_details())))
    if isinstance(error, drf.APIException):
        return _read_drf(error)
    return _read_django(error)


def _read_domain(error: domain.DomainError) -> Reading:
    status = next((s for kind, s in STATUS_OF_DOMAIN_ERRORS.items() if isinstance(error, kind)), 400)
    errors = []
    if error.field:
        errors.append({"field": error.field, "message": error.message, "code": error.code})
    return status, error.code, error.message, errors


def _read_drf(error: drf.APIException) -> Reading:
    detail = str(error.detail)
    if isinstance(error, drf.NotAuthenticated):
        detail = _("Sign in, or send an API key as `Authorization: Bearer atr-…`.")
    codes = {
        drf.ParseError: "malformed",
        drf.NotAuthenticated: "not_authenticated",
        drf.PermissionDenied: "not_allowed",
        drf.NotFound: "not_found",
        drf.MethodNotAllowed: "method_not_allowed",
        drf.NotAcceptable: "not_acceptable",
        drf.UnsupportedMediaType: "unsupported_media_type",
        drf.Throttled: "too_many_requests",
    }
    code = next((c for kind, c in codes.items() if isinstance(error, kind)), None) or str(error.get_codes())
    return error.status_code, code, detail, []


def _read_django(error: Exception) -> Reading:
    if isinstance(error, (Http404, django_errors.ObjectDoesNotExist)):
        # One sentence for every absence: the error of a foreign object must not differ from a missing one's.
        return 404, "not_found", _("There is no such object."), []
    if isinstance(error, django_errors.PermissionDenied):
        return 403, "not_allowed", _("You may not do this."), []
    if isinstance(error, django_errors.ValidationError):
        return _invalid(list(_flatten_django(error)))
    if isinstance(error, django_errors.RequestDataTooBig):
        return 413, "too_large", _("The body is too large."), []
    if isinstance(error, django_errors.SuspiciousOperation):
        return 400, "invalid", _("The request cannot be used."), []
    if isinstance(error, (ProtectedError, RestrictedError)):
        return 409, "conflict", _("Other objects still refer to this one."), []
    if isinstance(error, DatabaseError | InterfaceError):
        return _read_database(error)
    return 500, "internal", _("Something went wrong on our side. The request id helps us to find it."), []


def _read_database(error: Exception) -> Reading:
    sqlstate = getattr(error.__cause__, "sqlstate", "") or ""
    if isinstance(error, IntegrityError) and sqlstate == "23505":
        return 409, "conflict", _("An object with these values exists already."), []
    if sqlstate in ("40001", "40P01", "55P03"):  # serialisation, deadlock, lock not available
        return 409, "conflict", _("Somebody else changed this at the same moment. Try again."), []
    if isinstance(error, (OperationalError, InterfaceError)):
        return 503, "unavailable", _("The database is not available. Try again in a moment."), []
    return 500, "internal", _("Something went wrong on our side. The request id helps us to find it."), []


def _invalid(errors: list[dict[str, Any]]) -> Reading:
    named = [f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in errors]
    detail = " ".join(named[:5]) or _("The request cannot be used.")
    return 400, "invalid", detail, errors


def _flatten(details: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """DRF's nested error details as a flat list; paths as `filters.0.name`."""
    if isinstance(details, Mapping):
        if "message" in details and "code" in details and not isinstance(details["message"], (Mapping, list)):
            field = path.removesuffix(".non_field_errors").removesuffix("non_field_errors")
            yield {"field": field, "message": str(details["message"]), "code": str(details["code"])}
            return
        for name, inner in details.items():
            yield from _flatten(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(details, list):
        for index, inner in enumerate(details):
            # A list of messages about one field, or a list of items of which some are wrong.
            is_item = isinstance(inner, Mapping) and "message" not in inner
            yield from _flatten(inner, f"{path}.{index}" if is_item else path)


def _flatten_django(error: django_errors.ValidationError) -> Iterator[dict[str, Any]]:
    if hasattr(error, "error_dict"):
        for field, inner in error.error_dict.items():
            for one in inner:
                name = "" if field == django_errors.NON_FIELD_ERRORS else field
                yield {"field": name, "message": " ".join(one.messages), "code": one.code or "invalid"}
    else:
        for one in error.error_list:
            yield {"field": "", "message": " ".join(one.messages), "code": one.code or "invalid"}


def is_api(request: HttpRequest) -> bool:
    """True for a path whose errors must be problems and not pages."""
    return request.path.startswith("/api/")
