"""`manage.py retire_model`: takes a model out of service for good."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from core.actors import system
from core.errors import DomainError
from core.scoping import platform_scope
from models_registry import selectors
from models_registry.models import Model
from models_registry.services import models, versions

ACTOR = system("manage.py retire_model")


class Command(BaseCommand):
    """Retire a model, or one version of it: no name leads there any more, its deployments stop. Final."""

    help = "Retire a model: its deployments stop and no name leads to it any more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument(
            "name", metavar="NAME", help="the platform's model of this name, or <tenant>/<name>"
        )
        parser.add_argument("--number", type=int, help="only this version of it")
        parser.add_argument("--reason", default="", help="kept in the audit trail")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and say what was done."""
        try:
            with platform_scope(reason="manage.py retire_model"):
                model = selectors.model_by_name(name=options["name"])
                name = _retire(model, options["number"], options["reason"])
        except DomainError as error:
            raise CommandError(error.message) from None
        self.stdout.write(_("%(name)s is retired.") % {"name": name})


def _retire(model: Model, number: int | None, reason: str) -> str:
    if number is None:
        models.retire(model=model, actor=ACTOR, reason=reason)
        return str(model)
    version = selectors.version_by_number(model=model, number=number)
    versions.retire(version=version, actor=ACTOR, reason=reason)
    return str(version)
