"""What all factories of walled models have in common, and how to find the factory of a model."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from django.db import models
from factory.django import DjangoModelFactory

import tests.factories
from core.scoping import platform_scope


class WalledFactory(DjangoModelFactory):
    """Makes rows of any tenant, whatever scope the test is in."""

    class Meta:
        abstract = True

    @classmethod
    def _create(cls, model_class: type[models.Model], *args: Any, **kwargs: Any) -> models.Model:
        with platform_scope(reason="tests"):
            row = model_class(*args, **kwargs)
            row.save(force_insert=True)
            return row


def factory_of(model: type[models.Model]) -> type[DjangoModelFactory] | None:
    """The factory whose rows are `model`'s, none when nobody has written it."""
    for module in pkgutil.iter_modules(tests.factories.__path__):
        importlib.import_module(f"tests.factories.{module.name}")
    found: list[type[DjangoModelFactory]] = [DjangoModelFactory]
    while found:
        candidate = found.pop()
        options = candidate._meta
        if not options.abstract and options.model is model:
            return candidate
        found.extend(candidate.__subclasses__())
    return None
