"""Forms of the shell."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _


class SignInForm(AuthenticationForm):
    """E-mail address and password. One sentence for every failure, so that nobody learns which accounts exist."""

    username = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={
                "class": "input",
                "autocomplete": "username",
                "autofocus": True,
                "spellcheck": "false",
            }),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "current-password"}),
    )

    error_messages = {
        "invalid_login": _("E-mail address and password do not match an account, or too many were tried."),
        "inactive": _("E-mail address and password do not match an account, or too many were tried."),
    }

    def clean(self) -> dict[str, Any]:
        """Check the credentials; what is wrong stands beside the password, where the person looks next."""
        try:
            return super().clean()
        except ValidationError as error:
            self.add_error("password", error)
            return self.cleaned_data
