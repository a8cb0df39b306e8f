"""The API's own pages: schema, documentation, and the answer for paths that lead nowhere."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils import translation
from django.utils.translation import gettext as _
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import condition, require_safe
from drf_spectacular.generators import SchemaGenerator

from api.problems import is_api, problem_response


@lru_cache(maxsize=1)
def openapi_document() -> bytes:
    """The OpenAPI document as JSON, in English. Takes about a second the first time in a process."""
    with translation.override("en"):
        schema = SchemaGenerator().get_schema(request=None, public=True)
    return json.dumps(schema, ensure_ascii=False, default=str).encode()


def _etag(request: HttpRequest) -> str:
    return f'"{hashlib.sha256(openapi_document()).hexdigest()[:32]}"'


@require_safe
@condition(etag_func=_etag)
def schema(request: HttpRequest) -> HttpResponse:
    """`/api/schema/`: the same for everyone, signed in or not; it holds no tenant's data."""
    return HttpResponse(openapi_document(), content_type="application/vnd.oai.openapi+json")


# Swagger UI draws its icons with inline style elements; only this page allows them.
@require_safe
@ensure_csrf_cookie
@csp_update({"style-src": ["'self'", "'unsafe-inline'"]})
def docs(request: HttpRequest) -> HttpResponse:
    """`/api/docs/`: Swagger UI, every file of it from this server."""
    return render(request, "api/docs.html", {"language": settings.LANGUAGE_CODE})


@csrf_exempt
def nowhere(request: HttpRequest, path: str = "") -> HttpResponse:
    """Any path under /api/ that leads nowhere: a problem, with a hint where only the last slash is
    missing.
    """
    detail = _("There is nothing at this address.")
    if not request.path.endswith("/"):
        try:
            leads_somewhere = resolve(request.path + "/").func is not nowhere
        except Resolver404:
            leads_somewhere = False
        if leads_somewhere:
            detail = _("Addresses end with a slash here: %(path)s/") % {"path": request.path}
    return problem_response(request, status=404, code="not_found", detail=detail)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: a problem under /api/, a page elsewhere."""
    if is_api(request):
        detail = _("The request cannot be used.")
        return problem_response(request, status=400, code="invalid", detail=detail)
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403: a problem under /api/, a page elsewhere."""
    if is_api(request):
        detail = _("You may not do this.")
        return problem_response(request, status=403, code="not_allowed", detail=detail)
    return defaults.permission_denied(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: a problem under /api/, a page elsewhere."""
    if is_api(request):
        detail = _("Something went wrong on our side. The request id helps us to find it.")
        return problem_response(request, status=500, code="internal", detail=detail)
    return defaults.server_error(request)
