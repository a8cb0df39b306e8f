"""What the REST isolation tests ask of one viewset, as functions, so that a leaky viewset can be shown to
fail them.

Everything is read off the router: routes, methods, filters, references in bodies. A test states nothing per
viewset but how to fill a body (BODIES), and a viewset that creates without an entry there fails the suite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import django_filters
from rest_framework.routers import SimpleRouter

from api.fields import ReferenceField
from api.filters import PublicIdFilter
from api.viewsets import ScopedViewSet
from core.ids import public_id
from tenants.models import Tenant
from tests.api.client import REST
from tests.factories.base import factory_of

METHODS = ("get", "put", "patch", "delete")
ABSENT = "0" * 26


@dataclass(frozen=True)
class Entry:
    """One registered viewset."""

    prefix: str
    viewset: type[ScopedViewSet]
    router: SimpleRouter

    def __str__(self) -> str:
        return self.prefix

    @property
    def routes(self) -> list[Any]:
        """Its routes, dynamic ones included, whose methods it has."""
        return [
            (route, mapping)
            for route in self.router.get_routes(self.viewset)
            if (mapping := self.router.get_method_map(self.viewset, route.mapping))
        ]

    @property
    def has_details(self) -> bool:
        """True when its path takes an id."""
        return any(route.detail for route, _mapping in self.routes)

    @property
    def has_list(self) -> bool:
        """True when it lists rows."""
        return not self.viewset.is_single and any(
            "list" in mapping.values() for _route, mapping in self.routes
        )

    @property
    def creates(self) -> bool:
        """True when it takes POST on the collection."""
        return any("create" in mapping.values() for _route, mapping in self.routes)

    def detail_paths(self, object_id: str) -> Iterator[tuple[str, set[str]]]:
        """Every path below one object, with the methods that are served there."""
        for route, mapping in self.routes:
            if route.detail:
                path = route.url.format(prefix=self.prefix, lookup=object_id, trailing_slash="/")
                yield "/" + filled_in(path.removeprefix("^").removesuffix("$")), set(mapping)


def filled_in(path: str) -> str:
    """A path with 1 in the place of each further argument that its pattern takes."""
    return re.sub(r"\(\?P<\w+>[^)]*\)", "1", path)


def row_of(entry: Entry, tenant: Tenant) -> Any:
    """A row of `tenant` of the kind that the viewset serves."""
    model = entry.viewset.model
    if model is Tenant:
        return tenant
    factory = factory_of(model)
    assert factory is not None, f"write a factory for {model.__name__}, which /api/v1/{entry.prefix}/ serves"
    return factory(tenant=tenant)


def same_but_for(answer: Any) -> tuple[int, dict[str, Any]]:
    """An answer without what differs between any two requests."""
    body = answer.json() if answer.content else {}
    return answer.status_code, {
        name: body.get(name) for name in ("type", "title", "status", "code", "errors")
    }


def assert_details_are_walled(
    entry: Entry, row: Any, stranger: REST, owner: REST, prefix: str = "/api/v1"
) -> int:
    """A stranger gets 404 from every path below the row, the same as for no row at all; its owner does not.

    Returns how many requests were compared.
    """
    absent = f"{row.id_prefix}_{ABSENT}"
    pairs = zip(entry.detail_paths(row.public_id), entry.detail_paths(absent), strict=True)
    requests = [
        (method, path, nowhere, method in served)
        for (path, served), (nowhere, _served) in pairs
        for method in sorted({*METHODS, *served})
    ]
    hidden = 0
    # What ends the row comes last: its owner is asked as well.
    for method, path, nowhere, is_served in sorted(requests, key=lambda request: request[0] == "delete"):
        theirs = stranger.request(method, prefix + path, {})
        nobodys = stranger.request(method, prefix + nowhere, {})
        own = owner.request(method, prefix + path, {})
        label = f"{method.upper()} {path}"
        assert own.status_code < 500, f"{label} fails for its owner: {own.content!r}"
        if not is_served:
            assert theirs.status_code == own.status_code == 405, label
            continue
        assert own.status_code not in (404, 405), f"{label} answers its owner with {own.status_code}"
        # 403 is the role's: whoever may not do this to any object is told so before an object is looked up.
        assert theirs.status_code in (404, 403), f"{label} answers a stranger with {theirs.status_code}"
        assert same_but_for(theirs) == same_but_for(nobodys), f"{label} tells a foreign row from none"
        hidden += theirs.status_code == 404
    assert hidden, (
        f"nothing below /{entry.prefix}/ was asked for that the stranger may do with rows of their own"
    )
    return len(requests)


def listed(rest: REST, path: str) -> set[str]:
    """The ids on all pages of a list."""
    found: set[str] = set()
    while path:
        answer = rest.get(path)
        assert answer.status_code == 200, (path, answer.content)
        body = answer.json()
        found |= {row["id"] for row in body["results"]}
        path = "/" + body["next"].split("/", 3)[3] if body["next"] else ""
    return found


def assert_list_is_walled(
    entry: Entry, own: Any, foreign: Any, rest: REST, owner: REST, prefix: str = "/api/v1"
) -> None:
    """The list holds one's own row and not the foreign one, which its owner sees."""
    path = f"{prefix}/{entry.prefix}/?page_size=200"
    seen = listed(rest, path)
    assert own.public_id in seen, f"/{entry.prefix}/ does not show one's own row"
    assert foreign.public_id not in seen, f"/{entry.prefix}/ shows a foreign row"
    assert foreign.public_id in listed(owner, path), f"/{entry.prefix}/ hides the row from its owner"


def filter_values(entry: Entry, row: Any) -> Iterator[tuple[str, str]]:
    """For each filter of the list, a value that would find `row`."""
    filterset = getattr(entry.viewset, "filterset_class", None)
    for name, each in (filterset.base_filters if filterset else {}).items():
        value = row
        for part in (each.field_name or "").split("__"):
            value = getattr(value, part, None)
        if isinstance(each, PublicIdFilter):
            if value is not None:
                yield name, public_id(each.extra["prefix"], value)
        elif isinstance(each, django_filters.ChoiceFilter):
            for choice, _label in each.extra["choices"]:
                yield name, str(choice)
        elif isinstance(each, django_filters.CharFilter) and isinstance(value, str) and value:
            yield name, value


def assert_filters_are_walled(
    entry: Entry, foreign: Any, rest: REST, owner: REST, prefix: str = "/api/v1"
) -> int:
    """No filter brings a foreign row to light, though it finds it for the owner. Returns how many found
    it.
    """
    found_by_owner = 0
    for name, value in filter_values(entry, foreign):
        query = f"{prefix}/{entry.prefix}/?{name}={value}&page_size=200"
        assert foreign.public_id not in listed(rest, query), f"?{name}= shows a foreign row"
        found_by_owner += foreign.public_id in listed(owner, query)
    return found_by_owner


def references(entry: Entry, action: str) -> dict[str, ReferenceField]:
    """The fields of an action's body that name other objects."""
    serializer = entry.viewset.inputs.get(action)
    fields = serializer().fields if serializer else {}
    return {name: field for name, field in fields.items() if isinstance(field, ReferenceField)}


def assert_references_are_walled(
    entry: Entry,
    body: dict[str, Any],
    foreign: dict[str, Any],
    rest: REST,
    *,
    meant_to_be_foreign: frozenset[tuple[str, str]] = frozenset(),
    prefix: str = "/api/v1",
) -> int:
    """A body that names a foreign object is refused as if the object did not exist. Returns how many were
    tried.
    """
    tried = 0
    for name, field in references(entry, "create").items():
        if (entry.prefix, name) in meant_to_be_foreign:
            continue
        path = f"{prefix}/{entry.prefix}/"
        refused = rest.post(path, {**body, name: foreign[field.prefix].public_id})
        absent = rest.post(path, {**body, name: f"{field.prefix}_{ABSENT}"})
        assert refused.status_code == 400, (
            f"POST /{entry.prefix}/ takes a foreign {name}: {refused.content!r}"
        )
        assert [error["field"] for error in refused.json()["errors"]] == [name]
        assert same_but_for(refused) == same_but_for(absent)
        tried += 1
    return tried


Body = Callable[[dict[str, Any]], dict[str, Any]]
