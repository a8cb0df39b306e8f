"""`manage.py createtenant SLUG --name NAME --owner EMAIL`."""

from __future__ import annotations

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.selectors import user_by_email
from accounts.services import users
from core.actors import Actor, system
from core.errors import DomainError, NotFound
from core.scoping import platform_scope
from tenants.services import tenants


class Command(BaseCommand):
    """Makes a tenant and its first owner."""

    help = "Make a tenant. The owner's account is made too when there is none; its password is printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        """SLUG, --name, --owner."""
        parser.add_argument("slug", help="short name, as in /t/SLUG/v1")
        parser.add_argument("--name", help="the name that people read (default: the short name)")
        parser.add_argument("--owner", required=True, help="e-mail address of the first owner")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make both in one transaction, or say in one sentence why not."""
        actor = system("createtenant")
        try:
            with transaction.atomic(), platform_scope(reason="createtenant"):
                owner, password = _owner(options["owner"], actor)
                tenant = tenants.create(
                    actor=actor, slug=options["slug"], name=options["name"] or options["slug"], owner=owner
                )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(
            _("Tenant %(slug)s is ready; its owner is %(email)s.")
            % {"slug": tenant.slug, "email": owner.email}
        )
        if password is not None:
            self.stdout.write(_("Password, shown this once: %(password)s") % {"password": password})


def _owner(email: str, actor: Actor) -> tuple[User, str | None]:
    """The account, and its password when it was made just now."""
    try:
        return user_by_email(email=email), None
    except NotFound:
        password = secrets.token_urlsafe(12)
        return users.create(actor=actor, email=email, password=password), password
