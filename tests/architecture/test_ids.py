"""Public ids: their beginning says what kind of row it is, so no two kinds share one."""

from __future__ import annotations

from collections import defaultdict

from django.apps import apps


def test_no_two_tables_share_a_prefix() -> None:
    kinds: dict[str, list[str]] = defaultdict(list)
    for model in apps.get_models():
        if hasattr(model, "id_prefix") and not model._meta.proxy:
            kinds[model.id_prefix].append(model._meta.label)
    assert kinds
    assert {prefix: labels for prefix, labels in kinds.items() if len(labels) > 1} == {}
