"""What the desk calls things, in Chinese: a label without one Chinese character was never translated."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import label_for_field
from django.utils.translation import override

from billing.models.reconciliation import Cause, ReconciliationDifference

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PAGES = sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label)


@pytest.mark.parametrize(("model", "page"), PAGES, ids=lambda value: getattr(value, "__name__", "page"))
def test_every_label_is_translated(model: Any, page: Any) -> None:
    with override("zh-hans"):
        inlines = [(inline.model, inline.fields, inline) for inline in page.inlines]
        labels = {
            f"{owner._meta.label}.{name}": str(label_for_field(name, owner, where))
            for owner, names, where in [(model, (*page.list_display, *page.fields), page), *inlines]
            for name in names
        }
        labels |= {
            f"action {action}": str(getattr(page, action).short_description)
            for action in page.actions
            if isinstance(action, str)
        }
        labels["the model"] = str(model._meta.verbose_name_plural)
    assert {name: label for name, label in labels.items() if not CHINESE.search(label)} == {}


def test_a_difference_names_its_cause_in_the_readers_language() -> None:
    assert ReconciliationDifference(cause=Cause.LATE).cause_text.startswith("usage came in")
    with override("zh-hans"):
        assert all(CHINESE.search(ReconciliationDifference(cause=cause).cause_text) for cause in Cause.values)
    assert ReconciliationDifference(cause="of_an_older_release").cause_text == "of_an_older_release"
