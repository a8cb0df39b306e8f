"""Forms of the shell."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import User


class SignInForm(AuthenticationForm):
    """E-mail address and password. One sentence for every failure, so that nobody learns which accounts exist."""

    username = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(
            attrs={
                "class": "input",
                "autocomplete": "username",
                "autofocus": True,
                "spellcheck": "false",
            }
        ),
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
            self.fields["username"].widget.attrs.pop("autofocus", None)
            self.fields["password"].widget.attrs["autofocus"] = True
            return self.cleaned_data


class ProfileForm(forms.Form):
    """What others see of a person."""

    name = forms.CharField(
        label=_("Name"),
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "name"}),
    )


class PasswordForm(forms.Form):
    """A new password, after the present one: an open browser alone must not be enough to take an account over."""

    current = forms.CharField(
        label=_("Present password"),
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "current-password"}),
    )
    new = forms.CharField(
        label=_("New password"),
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "new-password"}),
        help_text=_("At least eight characters, not a common password and not only digits."),
    )

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", "id_password_%s")
        super().__init__(*args, **kwargs)
        self._request = request

    def clean_current(self) -> str:
        """The present password, if it is that; guesses are bounded as they are at sign-in."""
        current: str = self.cleaned_data["current"]
        if authenticate(self._request, username=self._user.email, password=current) is None:
            raise ValidationError(_("This is not your present password."), code="wrong_password")
        return current

    def clean_new(self) -> str:
        """The new one, if it is strong enough."""
        new: str = self.cleaned_data["new"]
        validate_password(new, self._user)
        return new

    @property
    def _user(self) -> User:
        return cast(User, self._request.user)
