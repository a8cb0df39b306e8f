"""Recall and precision on the evaluation set: 0.98 where there is a check digit, 0.95 elsewhere."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from safety.pii import RECOGNISERS, find
from tests.safety.evaluation import pii_cases

WITH_CHECK_DIGIT = {"CN_RESIDENT_ID", "CREDIT_CARD", "IBAN_CODE"}
Place = tuple[str, int, int]


def outcome() -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Hits, misses and false alarms by entity; a hit has the very same place."""
    hits: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for case in pii_cases():
        wanted = {(one["entity"], one["start"], one["end"]) for one in case["entities"]}
        got = {tuple(match) for match in find(case["text"])}
        hits.update(entity for entity, *_ in wanted & got)
        missed.update(entity for entity, *_ in wanted - got)
        false.update(str(entity) for entity, *_ in got - wanted)
    return hits, missed, false


@pytest.fixture(scope="module")
def counts() -> tuple[Counter[str], Counter[str], Counter[str]]:
    return outcome()


def test_the_set_is_large_and_in_both_languages() -> None:
    cases = pii_cases()
    assert len(cases) >= 700
    languages = Counter(case["language"] for case in cases)
    assert min(languages.values()) >= 250
    assert sum(not case["entities"] for case in cases) >= 200
    entities = Counter(one["entity"] for case in cases for one in case["entities"])
    assert set(entities) == set(RECOGNISERS)
    assert len({json.dumps(case["text"]) for case in cases}) == len(cases)


@pytest.mark.slow
@pytest.mark.parametrize("entity", RECOGNISERS)
def test_recall_and_precision(entity: str, counts: tuple[Counter[str], Counter[str], Counter[str]]) -> None:
    hits, missed, false = (count[entity] for count in counts)
    assert hits / (hits + missed) >= (0.98 if entity in WITH_CHECK_DIGIT else 0.95)
    assert hits / (hits + false) >= 0.95
