"""A client for tests of REST: JSON in and out, as a program with a key or as a signed-in person."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from access import secrets
from tests.factories.access import APIKeyFactory

V1 = "/api/v1"


class REST:
    """`get`, `post`, `patch`, `put`, `delete` of paths below /api/v1; `.json()` of the answers as usual."""

    def __init__(self, client: Client | None = None, *, key: str = "") -> None:
        self.client = client or Client()
        self.client.raise_request_exception = False  # a failure is to be seen as its answer
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Any:
        """One request; `body` goes as JSON, `raw` as it is."""
        path = path if path.startswith("/api") else f"{V1}{path}"
        content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        extra: dict[str, Any] = {}
        if method.upper() not in ("GET", "HEAD"):
            extra = {"data": content, "content_type": "application/json"}
        return self.client.generic(method.upper(), path, headers={**self.headers, **(headers or {})}, **extra)

    def get(self, path: str, **extra: Any) -> Any:
        """GET."""
        return self.request("GET", path, **extra)

    def post(self, path: str, body: Any = None, **extra: Any) -> Any:
        """POST."""
        return self.request("POST", path, body, **extra)

    def patch(self, path: str, body: Any = None, **extra: Any) -> Any:
        """PATCH."""
        return self.request("PATCH", path, body, **extra)

    def put(self, path: str, body: Any = None, **extra: Any) -> Any:
        """PUT."""
        return self.request("PUT", path, body, **extra)

    def delete(self, path: str, **extra: Any) -> Any:
        """DELETE."""
        return self.request("DELETE", path, **extra)


def with_key(tenant: Any, *scopes: str, **fields: Any) -> REST:
    """A program of `tenant` whose key has `scopes`."""
    secret = secrets.new_secret()
    APIKeyFactory(tenant=tenant, secret=secret, scopes=list(scopes), **fields)
    return REST(key=secret)
