"""The user account. One person has one account, whatever number of tenants they belong to."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from core.models import Identified, Timestamped


class PlatformRole(models.TextChoices):
    """What a person may do for the platform as a whole; most people have no such role."""

    NONE = "", _("None")
    OPERATOR = "operator", _("Operator")
    SUPPORT = "support", _("Support")
    # Not the word for a tenant's auditor: a row of access.policies must not mean both.
    AUDITOR = "platform_auditor", _("Auditor")


class Language(models.TextChoices):
    """Languages of the console, as in settings.LANGUAGES."""

    ENGLISH = "en", _("English")
    SIMPLIFIED_CHINESE = "zh-hans", _("Simplified Chinese")


class UserManager(BaseUserManager["User"]):
    """Finds and makes accounts by their e-mail address, in whatever case it was typed."""

    def get_by_natural_key(self, username: str | None) -> User:
        """The account of an e-mail address. Raises User.DoesNotExist."""
        return self.get(email=normalise_email(username or ""))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A new account; without a password nobody can sign in to it until one is set."""
        user = self.model(email=normalise_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """`manage.py createsuperuser`: a platform operator. Nobody passes every check by a flag alone."""
        fields["platform_role"] = PlatformRole.OPERATOR
        return self.create_user(email, password, **fields)


def normalise_email(text: str) -> str:
    """The stored form of an e-mail address: no surrounding space, lower case throughout."""
    return text.strip().lower()


class User(Identified, AbstractBaseUser, PermissionsMixin, Timestamped):
    """A person who can sign in. Roles inside tenants are Memberships; `platform_role` is for the platform's
    staff."""

    id_prefix = "usr"
    tenant_scope: ClassVar[str] = "global"

    email = models.EmailField(
        _("e-mail address"),
        max_length=254,
        unique=True,
        error_messages={"unique": _("An account with this e-mail address exists already.")},
    )
    name = models.CharField(_("name"), max_length=150, blank=True)
    language = models.CharField(
        _("language"), max_length=16, choices=Language.choices, default=Language.ENGLISH
    )
    platform_role = models.CharField(
        _("platform role"), max_length=16, choices=PlatformRole.choices, blank=True, default=PlatformRole.NONE
    )
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_("Off: the person cannot sign in. Nothing of theirs is deleted."),
    )

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            # Two accounts must not differ by the case of their address alone.
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")), name="accounts_user_email_lower"
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with the address in its stored form."""
        self.email = normalise_email(self.email)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Normalise the address before uniqueness is checked."""
        self.email = normalise_email(self.email)

    @property
    def is_staff(self) -> bool:
        """True for the platform's staff: they may open Django's admin, auditors a few of its pages."""
        return self.is_active and self.platform_role in (
            PlatformRole.OPERATOR,
            PlatformRole.SUPPORT,
            PlatformRole.AUDITOR,
        )

    def get_full_name(self) -> str:
        """The name, or the address of someone who gave none."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """The first word of the name, or the part of the address before the @."""
        return self.name.split(" ")[0] if self.name else self.email.partition("@")[0]
