"""The OpenAPI document: complete, valid, and changed on purpose only."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path

import pytest
from drf_spectacular.validation import validate_schema
from rest_framework.utils import encoders

from api.views import openapi_document
from config import openapi
from config.api import router
from inference.openai import parameters
from tests.isolation.rest import Entry

GOLDEN = Path(__file__).parent / "golden" / "openapi.json"


@pytest.fixture(scope="module")
def document():
    """The document as it is served."""
    openapi_document.cache_clear()
    return json.loads(openapi_document())


@pytest.mark.slow
def test_it_is_valid_openapi(document):
    validate_schema(document)


def test_it_is_the_one_that_was_agreed_on(document):
    """UPDATE_GOLDEN=1 writes it anew; the difference is then part of the change that is reviewed."""
    now = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, cls=encoders.JSONEncoder) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(now, encoding="utf-8")
    before = GOLDEN.read_text(encoding="utf-8")
    changes = list(
        difflib.unified_diff(before.splitlines(), now.splitlines(), "agreed", "now", lineterm="", n=2)
    )
    assert not changes, "the API has changed (UPDATE_GOLDEN=1 accepts it):\n" + "\n".join(changes[:80])


def test_every_route_is_in_it(document):
    served = set()
    for prefix, viewset, _name in router.registry:
        for route, mapping in Entry(prefix, viewset, router).routes:
            path = route.url.format(prefix=prefix, lookup="{id}", trailing_slash="/")
            path = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path.removeprefix("^").removesuffix("$"))
            path = "/api/v1/" + path
            served |= {(path, method) for method in mapping}
    described = {
        (path, method)
        for path, operations in document["paths"].items()
        if path.startswith("/api/")
        for method in operations
    }
    assert described == served


def test_every_operation_names_its_permission_and_its_errors(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "default" in operation["responses"], (path, method)
            assert operation["security"], (path, method)
            assert operation["description"], (path, method)
            if path.startswith("/api/"):
                assert operation["x-permission"], (path, method)
            if path.startswith("/api/") and method == "post":
                names = [parameter["name"] for parameter in operation["parameters"]]
                assert "Idempotency-Key" in names


def test_no_answer_but_two_holds_a_secret(document):
    schemas = document["components"]["schemas"]
    secret = {name for name, schema in schemas.items() if "secret" in schema.get("properties", {})}
    assert secret == {"KeyWithSecret"}
    text = json.dumps({name: schema for name, schema in schemas.items() if "Request" not in name})
    assert not re.search(r"password|digest_|remote_credential|key_digest", text)


@pytest.mark.parametrize(
    ("described", "accepted"),
    [
        (openapi.CHAT, parameters.CHAT),
        (openapi.COMPLETION, parameters.COMPLETION),
        (openapi.EMBEDDING, parameters.EMBEDDING),
    ],
)
def test_the_data_plane_is_described_as_it_is(described, accepted):
    assert set(described) == set(accepted)


@pytest.mark.slow
def test_the_schema_is_served_to_everybody_and_kept_by_clients(client, db):
    answer = client.get("/api/schema/")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/vnd.oai.openapi+json"
    assert "/v1/chat/completions" in answer.json()["paths"]
    assert client.get("/api/schema/", headers={"if-none-match": answer["ETag"]}).status_code == 304


def test_the_page_comes_from_here_alone(client, db):
    answer = client.get("/api/docs/")
    page = answer.content.decode()
    assert answer.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert all(link.startswith("/static/") for link in links)
    assert "<script>" not in page
    assert "<style" not in page
    policy = answer["Content-Security-Policy"]
    assert "script-src" not in policy or "unsafe" not in policy.split("script-src")[1].split(";")[0]
    for link in links:
        assert client.get(link).status_code == 200, link
