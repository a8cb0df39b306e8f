"""Who belongs to the tenant, and as what."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.selectors import user_by_email
from console.pages import actor_of, may, put_beside_field, searched, tenant_page
from core.errors import DomainError, InvalidInput, NotFound
from tenants import selectors
from tenants.http import tenant_of
from tenants.models import Membership, Role
from tenants.pages.forms import MemberForm
from tenants.services import members

PAGE = 50


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("tenants.member.read")
def index(request: HttpRequest) -> HttpResponse:
    """The members, and the form that adds one."""
    may_add = may(request, "tenants.member.add")
    form = MemberForm(request.POST if request.method == "POST" and may_add else None)
    if form.is_bound and form.is_valid():
        try:
            added = _add(request, form.cleaned_data)
        except DomainError as error:
            put_beside_field(form, error)
        else:
            messages.success(request, _("%(email)s is a member now.") % {"email": added.user.email})
            return redirect("tenant:members")
    wanted = searched(request)
    rows = selectors.members()
    if wanted:
        rows = rows.filter(Q(user__email__icontains=wanted) | Q(user__name__icontains=wanted))
    context = {
        "page": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "wanted": wanted,
        "form": form,
        "roles": Role.choices,
        "may_add": may_add,
        "may_change": may(request, "tenants.member.change"),
        "may_remove": may(request, "tenants.member.remove"),
    }
    return render(request, "tenants/members.html", context, status=422 if form.errors else 200)


@require_POST
@tenant_page("tenants.member.change")
def change(request: HttpRequest, member_id: str) -> HttpResponse:
    """Another role."""
    member = selectors.membership_by_public_id(public_id=member_id)
    try:
        changed = members.change_role(
            membership=member, role=request.POST.get("role", ""), actor=actor_of(request)
        )
    except DomainError as error:
        messages.error(request, error.message)
    else:
        names = {"email": member.user.email, "role": changed.get_role_display()}
        messages.success(request, _("%(email)s is now: %(role)s.") % names)
    return redirect("tenant:members")


@require_POST
@tenant_page("tenants.member.read")  # everybody may leave; who may remove others is the service's question
def remove(request: HttpRequest, member_id: str) -> HttpResponse:
    """End a membership, one's own or another's."""
    member = selectors.membership_by_public_id(public_id=member_id)
    email = member.user.email
    try:
        members.remove(membership=member, actor=actor_of(request))
    except DomainError as error:
        messages.error(request, error.message)
        return redirect("tenant:members")
    messages.success(request, _("%(email)s is no longer a member.") % {"email": email})
    return redirect("console:home" if member.user_id == request.user.pk else "tenant:members")


def _add(request: HttpRequest, given: dict[str, Any]) -> Membership:
    tenant = selectors.tenant_by_id(tenant_id=tenant_of(request).pk)
    try:
        user = user_by_email(email=given["email"])
    except NotFound:
        raise InvalidInput(_("There is no account with this e-mail address."), field="email") from None
    return members.add(tenant=tenant, user=user, role=given["role"], actor=actor_of(request))
