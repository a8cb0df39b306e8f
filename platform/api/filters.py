"""Filters of lists. A filter that does not exist is an error, never a list that looks filtered and is not."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from api.pagination import CURSOR_PARAM, PAGE_SIZE_PARAM
from core.ids import parse_public_id

_PAGING = {CURSOR_PARAM, PAGE_SIZE_PARAM}


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter, refusing names that the list does not have and values given twice."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """The filtered rows. Raises ValidationError naming each filter that is wrong."""
        filterset_class = getattr(view, "filterset_class", None)
        names = set(filterset_class.base_filters) if filterset_class else set()
        refuse_unknown_parameters(request, names | _PAGING)
        filtered: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return filtered


def refuse_unknown_parameters(request: Request, known: set[str]) -> None:
    """Raise ValidationError when the query names a parameter outside `known`, or one of them twice."""
    wrong: dict[str, list[ErrorDetail]] = {}
    for name, values in request.query_params.lists():
        if name not in known:
            wrong[name[:100]] = [ErrorDetail(_("There is no such filter."), code="unknown")]
        elif len(values) > 1:
            wrong[name] = [ErrorDetail(_("Give this filter once."), code="repeated")]
    if wrong:
        raise ValidationError(wrong)


class PublicIdFormField(forms.Field):
    """A public id in a query."""

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(*args, **kwargs)

    def to_python(self, value: Any) -> Any:
        """The UUID inside, or a validation error."""
        if value in self.empty_values:
            return None
        try:
            return parse_public_id(str(value), self.prefix)
        except ValueError:
            message = _("Not an id of the form %(prefix)s_….") % {"prefix": self.prefix}
            raise forms.ValidationError(message, code="invalid") from None


class PublicIdFilter(django_filters.Filter):
    """Exact match on an id, given in its public form. Another tenant's id matches nothing."""

    field_class = PublicIdFormField

    def __init__(self, field_name: str, *, prefix: str, **kwargs: Any) -> None:
        super().__init__(field_name, prefix=prefix, **kwargs)


class ContainsFilter(django_filters.CharFilter):
    """Case-insensitive substring, bounded: `%` and `_` stand for themselves (CVE-2026-25591)."""

    def __init__(self, field_name: str, **kwargs: Any) -> None:
        super().__init__(field_name, lookup_expr="icontains", max_length=100, **kwargs)


class DayFilter(django_filters.IsoDateTimeFilter):
    """A moment as RFC 3339, e.g. `2026-11-22T00:00:00Z`."""
