"""Rules, word lists and versions over REST, whoever owns them: the views of `tenant` and `platform` say who does."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from api.parsers import BoundedJSONParser, CSVParser, PlainTextParser
from api.serializers import InputSerializer
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from core.errors import InvalidInput
from safety import terms
from safety.owners import Owner
from safety.services import bench, rules, versions, word_lists
from safety.spec import Direction
from tenants.api.safety import filters, serializers

# As much as the server takes in front of Django by default (settings.MAX_BODY_BYTES).
MAX_FILE_BYTES = 4 * 1024 * 1024


class OwnedViewSet(ScopedViewSet):
    """A viewset that knows whose rules it serves."""

    @property
    def owner(self) -> Owner:
        """The platform, or the active tenant."""
        return Owner(self.tenant_id)


class PlatformOwned(OwnedViewSet):
    """One that serves the platform's."""

    @property
    def owner(self) -> Owner:
        """The platform."""
        return Owner()

    def get_serializer_context(self) -> dict[str, Any]:
        """Words and patterns are for the platform's people."""
        is_staff = bool(getattr(self.request._request, "has_platform_door", False))
        return {**super().get_serializer_context(), "is_staff": is_staff}


class RuleViews(ListMixin, RetrieveMixin, OwnedViewSet):
    """Drafts of rules. Nothing is in force before it is published."""

    filterset_class = filters.RuleFilter
    create_input: ClassVar[type[InputSerializer]]
    change_input: ClassVar[type[InputSerializer]]

    def create(self, request: Request) -> Response:
        """A new rule of the draft."""
        given = self.read(self.create_input)
        return self.answer(rules.create(owner=self.owner, actor=self.actor, **given))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Change a rule of the draft."""
        row = self.get_object()
        given = self.read(self.change_input)
        return self.answer(rules.change(rule=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take a rule out of the draft."""
        rules.remove(rule=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WordListViews(ListMixin, RetrieveMixin, OwnedViewSet):
    """Word lists, each for any number of rules."""

    output = serializers.WordListOutput
    filterset_class = filters.WordListFilter
    inputs = {
        "create": serializers.CreateWordList,
        "partial_update": serializers.ChangeWordList,
        "change_terms": serializers.ChangeTerms,
        "replace_terms": serializers.ReplaceTerms,
    }
    outputs = {"terms": serializers.TermsOutput}
    body_limits = {"replace_terms": MAX_FILE_BYTES}

    def create(self, request: Request) -> Response:
        """A new word list."""
        given = self.read(serializers.CreateWordList)
        return self.answer(word_lists.create(owner=self.owner, actor=self.actor, **given))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another name, category or severity."""
        row = self.get_object()
        given = self.read(serializers.ChangeWordList)
        return self.answer(word_lists.change(word_list=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Remove a list that no rule uses."""
        word_lists.remove(word_list=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(parameters=[serializers.TermsQuery])
    @action(
        detail=True,
        methods=["get"],
        parser_classes=[BoundedJSONParser, PlainTextParser, CSVParser, MultiPartParser],
    )
    def terms(self, request: Request, id: str) -> Response:  # noqa: A002
        """The words of a list, in order, as many as are asked for."""
        row = self.get_object()
        query = self.read_query(serializers.TermsQuery)
        found = terms.unpack(row.content)
        wanted = query.get("contains", "").casefold()
        if wanted:
            found = tuple(term for term in found if wanted in term.casefold())
        page = found[query["offset"] : query["offset"] + query["limit"]]
        return self.answer({"count": len(found), "terms": page})

    @extend_schema(parameters=[])
    @terms.mapping.patch
    def change_terms(self, request: Request, id: str) -> Response:  # noqa: A002
        """Add words and remove words; what is there already, or is not, is no error."""
        row = self.get_object()
        given = self.read(serializers.ChangeTerms)
        return self.answer(word_lists.change_terms(word_list=row, actor=self.actor, **given))

    @extend_schema(
        parameters=[serializers.UploadQuery],
        request={
            "application/json": serializers.ReplaceTerms,
            "text/plain": OpenApiTypes.STR,
            "text/csv": OpenApiTypes.STR,
            "multipart/form-data": serializers.TermsFile,
        },
    )
    @terms.mapping.put
    def replace_terms(self, request: Request, id: str) -> Response:  # noqa: A002
        """Replace all words, by a text or CSV file of up to 4 MiB and 100,000 words; a wrong line is named."""
        row = self.get_object()
        query = self.read_query(serializers.UploadQuery)
        found = self._uploaded(request)
        return self.answer(word_lists.replace_terms(word_list=row, actor=self.actor, terms=found, **query))

    def _uploaded(self, request: Request) -> tuple[str, ...]:
        """The words of the body, of whichever type it is."""
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        if content_type in ("text/plain", "text/csv"):
            raw: Any = request.data
            return terms.read_file(raw, is_csv=content_type == "text/csv")
        if content_type == "multipart/form-data":
            files = [file for _name, each in request.FILES.lists() for file in each]
            if len(files) != 1 or set(request.FILES) != {"file"}:
                raise InvalidInput(_("Send one file, as the field “file”."), field="file")
            return _of_file(files[0])
        given = self.read(serializers.ReplaceTerms)
        return terms.clean_terms(given["terms"], field="terms")


class VersionViews(ListMixin, RetrieveMixin, OwnedViewSet):
    """Published versions, the newest first; the newest is in force."""

    output = serializers.VersionOutput
    filterset_class = filters.VersionFilter
    statuses = {"roll_back": status.HTTP_201_CREATED}
    publish_input: ClassVar[type[InputSerializer]] = serializers.Publish
    roll_back_input: ClassVar[type[InputSerializer]] = serializers.RollBack

    def create(self, request: Request) -> Response:
        """Put the draft in force, in every process within a second."""
        given = self.read(self.publish_input)
        return self.answer(versions.publish(owner=self.owner, actor=self.actor, **given))

    @action(detail=True, methods=["post"], url_path="roll-back")
    def roll_back(self, request: Request, id: str) -> Response:  # noqa: A002
        """Put the rules of an older version in force again, under a new number."""
        row = self.get_object()
        given = self.read(self.roll_back_input)
        return self.answer(versions.roll_back(version=row, actor=self.actor, **given))


class BenchViews(OwnedViewSet):
    """How the rules stand, and the test bench."""

    pagination_class = None
    is_single = True
    bench_inputs: ClassVar[dict[str, type[InputSerializer]]] = {
        "try_text": serializers.TryText,
        "compare": serializers.Bench,
    }
    bench_outputs = {"try_text": serializers.TriedOutput, "compare": serializers.ComparedOutput}

    @action(detail=False, methods=["post"], url_path="try")
    def try_text(self, request: Request) -> Response:
        """What the draft, or a published version, would do with a text. Nothing is kept."""
        given = self.read(serializers.TryText)
        return self.answer(
            bench.try_text(
                owner=self.owner,
                actor=self.actor,
                text=given["text"],
                direction=Direction(given["direction"]),
                version=given.get("version"),
            )
        )

    @action(detail=False, methods=["post"])
    def compare(self, request: Request) -> Response:
        """How the draft differs from what is in force, and what both do with a text."""
        given = self.read(serializers.Bench)
        return self.answer(
            bench.compare(
                owner=self.owner,
                actor=self.actor,
                text=given["text"],
                direction=Direction(given["direction"]),
            )
        )


def _of_file(file: UploadedFile) -> tuple[str, ...]:
    is_csv = file.content_type == "text/csv" or (file.name or "").lower().endswith(".csv")
    return terms.read_file(file.read(), is_csv=is_csv)
