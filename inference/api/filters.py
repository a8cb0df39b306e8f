"""Filters of deployments."""

from __future__ import annotations

import django_filters

from api.filters import PublicIdFilter
from models_registry.api.filters import OwnerFilter
from models_registry.models import EngineKind


class DeploymentFilter(django_filters.FilterSet):
    """Deployments by name, version, engine, pool, owner and whether they are to run."""

    name = django_filters.CharFilter("name", max_length=100)
    version = PublicIdFilter("version_id", prefix="ver")
    model = PublicIdFilter("version__model_id", prefix="mdl")
    engine = django_filters.ChoiceFilter("engine", choices=EngineKind.choices)
    pool = django_filters.CharFilter("pool", max_length=40)
    running = django_filters.BooleanFilter("running")
    owner = OwnerFilter()
