"""Forms of the tenant's pages. They turn text into what the services take; the services say what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from access.models import Scope
from core import clock
from tenants.models import Role

LIFETIMES = [
    ("30", _("30 days")),
    ("90", _("90 days")),
    ("365", _("One year")),
    ("", _("Never")),
    ("date", _("On a day")),
]
OVERLAPS = [
    ("0", _("At once")),
    ("3600", _("In an hour")),
    ("86400", _("In a day")),
    ("604800", _("In a week")),
]


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        label=pgettext_lazy("of a key", "Name"),
        max_length=100,
        help_text=_("What it is for: the program, and where it runs."),
        widget=forms.TextInput(attrs={"class": "input", "autofocus": True, "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label=_("What it opens"),
        choices=Scope.choices,
        initial=[Scope.INVOKE.value],
        widget=forms.CheckboxSelectMultiple,
    )
    allowed_models = forms.MultipleChoiceField(
        label=_("Models"),
        required=False,
        help_text=_("None chosen: all that the tenant may call."),
        widget=forms.CheckboxSelectMultiple,
    )
    allowed_networks = forms.CharField(
        label=_("Networks"),
        required=False,
        max_length=4_000,
        help_text=_("Addresses or networks, one per line, such as 203.0.113.0/24. Empty: from anywhere."),
        widget=forms.Textarea(attrs={"class": "input mono", "rows": 3, "spellcheck": "false"}),
    )
    lifetime = forms.ChoiceField(
        label=_("Ends after"),
        choices=LIFETIMES,
        required=False,
        initial="90",
        widget=forms.Select(attrs={"class": "input"}),
    )
    last_day = forms.DateField(
        label=_("Last day"),
        required=False,
        help_text=_("Only for “On a day”. It works to the end of that day, UTC."),
        widget=forms.DateInput(attrs={"class": "input", "type": "date"}),
    )

    def __init__(self, *args: Any, models: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["allowed_models"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """A day is needed where one was promised."""
        given = super().clean() or {}
        if given.get("lifetime") == "date" and not given.get("last_day") and "last_day" not in self.errors:
            self.add_error("last_day", _("Choose the day that the key ends on."))
        return given

    def wanted(self) -> dict[str, Any]:
        """What `access.services.keys.create` takes."""
        given = self.cleaned_data
        return {
            "name": given["name"],
            "scopes": given["scopes"],
            "allowed_models": given["allowed_models"],
            "allowed_networks": given["allowed_networks"].split(),
            "expires_at": self._end(),
        }

    def _end(self) -> datetime | None:
        lifetime = self.cleaned_data["lifetime"]
        if lifetime == "date":
            day = self.cleaned_data["last_day"]
            return datetime.combine(day + timedelta(days=1), time.min, UTC)
        return clock.now() + timedelta(days=int(lifetime)) if lifetime else None


class RotateForm(forms.Form):
    """When the old secret ends."""

    overlap_s = forms.TypedChoiceField(
        label=_("The old secret ends"),
        choices=OVERLAPS,
        initial="86400",
        coerce=int,
        widget=forms.Select(attrs={"class": "input"}),
    )


class MemberForm(forms.Form):
    """Somebody who has an account, and the role that they get."""

    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"class": "input", "autocomplete": "off", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(
        label=_("Role"),
        choices=Role.choices,
        initial=Role.DEVELOPER.value,
        widget=forms.Select(attrs={"class": "input"}),
    )
