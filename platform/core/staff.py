"""Base of every page in Django's admin: staff look, and change only through services, with a reason.

The tenant middleware opens the platform door around each page and writes it to the audit trail; what this
adds is that no page can add, edit or delete a row by itself. Knows no business nouns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

from core.actors import Actor
from core.errors import DomainError
from core.ids import parse_public_id

MAX_REASON_LENGTH = 1000
# The platform role of people who look and do nothing else (accounts.models.PlatformRole).
AUDITOR = "platform_auditor"

# Sent when a member of staff looks at one row in Django's admin, behind the platform door, for the audit trail, which
# stands above. Arguments: `sender` the row's class, `row`, `actor`, `what` ("GET /admin/…").
staff_looked = Signal()


class ReasonActionForm(ActionForm):
    """The row above a list: which action, and why."""

    reason = forms.CharField(
        label="",
        required=False,
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextInputWidget({"placeholder": gettext_lazy("Reason (kept in the audit trail)")}),
    )


class StaffAdmin(ModelAdmin):
    """A read-only page over one model, for people with a platform role.

    Subclasses list their `fields` one by one: nothing is shown by being in the model. Writes are admin
    actions that call `apply` with a service.
    """

    action_form = ReasonActionForm
    fields: ClassVar[tuple[str, ...]]
    # Whether people who look into the trail and do nothing else see this page.
    is_for_auditors: ClassVar[bool] = False
    list_per_page = 50
    show_full_result_count = False  # a count of every tenant's rows for each page would cost a full scan
    list_disable_select_all = True
    list_filter_submit = True
    actions_on_top = True
    show_facets = None

    def __init__(self, model: type[Model], admin_site: Any) -> None:
        if not getattr(self, "fields", None):
            raise ImproperlyConfigured(f"{type(self).__name__} must list the fields that staff see")
        super().__init__(model, admin_site)

    # Names of their own: what every row has carries no name that could be translated.
    @admin.display(description=gettext_lazy("id"))
    def shown_id(self, row: Any) -> str:
        """The public id."""
        return str(row.public_id)

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def made(self, row: Any) -> Any:
        """When the row was made."""
        return localize(localtime(row.created_at))

    @admin.display(description=gettext_lazy("last changed"), ordering="updated_at")
    def changed(self, row: Any) -> Any:
        """When it was last changed."""
        return localize(localtime(row.updated_at))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Staff see every application, auditors what is theirs to see."""
        return self._is_for(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff see every row, auditors those of pages that are for them."""
        return self._is_for(request)

    def _is_for(self, request: HttpRequest) -> bool:
        if not is_staff(request):
            return False
        return self.is_for_auditors or actor_of(request).platform_role != AUDITOR

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one row; that staff looked at it is told to the audit trail."""
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        row = self.get_object(request, unquote(object_id)) if response.status_code == 200 else None
        if row is not None:
            what = f"{request.method} {request.path}"
            staff_looked.send(sender=type(row), row=row, actor=actor_of(request), what=what)
        return response

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Nothing is added here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is edited here; see the actions."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is ever deleted here."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by public id where the term is one, else in `search_fields`."""
        try:
            key = parse_public_id(search_term.strip(), getattr(self.model, "id_prefix", ""))
        except ValueError:
            found, duplicates = super().get_search_results(request, queryset, search_term)
            return found, bool(duplicates)
        return queryset.filter(pk=key), False

    def apply(
        self, request: HttpRequest, queryset: QuerySet[Any], change: Callable[[Any, Actor, str], object]
    ) -> None:
        """Run `change(row, actor, reason)` for each chosen row, and tell how it went.

        Without a reason nothing is done. Services are transactions of their own: one that refuses stops no
        other.
        """
        reason = request.POST.get("reason", "").strip()
        if not reason or len(reason) > MAX_REASON_LENGTH:
            self.message_user(request, _("Give a reason: it is kept in the audit trail."), messages.ERROR)
            return
        done = 0
        for row in queryset:
            try:
                change(row, actor_of(request), reason)
            except DomainError as error:
                self.message_user(request, f"{row}: {error.message}", messages.ERROR)
            else:
                done += 1
        if done:
            told = ngettext("%(count)d object was changed.", "%(count)d objects were changed.", done)
            self.message_user(request, told % {"count": done}, messages.SUCCESS)


def is_staff(request: HttpRequest) -> bool:
    """True for people with a platform role, behind the platform door."""
    user = request.user
    return bool(user.is_active and getattr(user, "is_staff", False) and getattr(request, "actor", None))


def actor_of(request: HttpRequest) -> Actor:
    """The member of staff who asks; set by the tenant middleware."""
    actor: Actor = request.actor  # type: ignore[attr-defined]
    return actor
