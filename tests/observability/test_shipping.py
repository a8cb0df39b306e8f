"""The examples under deploy/ read what our log writes: they parse, their parts find each other, fields have our names.

The programs themselves (Alloy, Loki, Filebeat, Elasticsearch) are not here to be asked.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest
import yaml

from tests.architecture.sources import ROOT

DEPLOY = ROOT / "deploy"
# What a line may hold (observability.logs, inference.call_logs.recorder.say).
FIELDS = {
    *("time", "level", "event", "logger", "tenant_id", "request_id", "trace_id", "outcome", "error_code"),
    *("duration_ms", "status", "exception"),
}
_TOKEN = re.compile(r'\s+|//[^\n]*|"(?:[^"\\]|\\.)*"|[A-Za-z_][\w.]*|\d+|[{}\[\](),=]')


def tokens(text: str) -> list[str]:
    """Alloy's syntax, in words. Raises AssertionError where it has none."""
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match, f"unknown syntax at {text[place : place + 30]!r}"
        if match[0].strip() and not match[0].startswith("//"):
            found.append(match[0])
        place = match.end()
    return found


def blocks(words: list[str]) -> dict[str, Any]:
    """`name "label" { … }` as {"name.label": body}; `key = value` as {key: words}."""
    found: dict[str, Any] = {}
    while words and words[0] != "}":
        name = words.pop(0)
        if words[0] == "=":
            words.pop(0)
            found[name] = value(words)
            continue
        label = "." + json.loads(words.pop(0)) if words[0].startswith('"') else ""
        assert words.pop(0) == "{", name
        found[name + label] = blocks(words)
        assert words.pop(0) == "}", name
    return found


def value(words: list[str]) -> list[str]:
    """The words of one expression."""
    found = [words.pop(0)]
    depth = found[0] in "{[("
    if not depth and words and words[0] == "(":
        depth = True
        found.append(words.pop(0))
    level = int(depth)
    while level:
        word = words.pop(0)
        found.append(word)
        level += (word in "{[(") - (word in "}])")
    return found


@pytest.fixture(scope="module")
def alloy() -> dict[str, Any]:
    words = tokens((DEPLOY / "loki/config.alloy").read_text())
    found = blocks(words)
    assert words == []
    return found


def test_alloys_components_find_each_other(alloy: dict[str, Any]) -> None:
    names = set(alloy)
    referred = {
        ".".join(word.split(".")[:-1])
        for body in alloy.values()
        for words in body.values()
        if isinstance(words, list)
        for word in words
        if word.endswith((".receiver", ".targets"))
    }
    assert referred
    assert referred <= names
    assert names - referred == {"loki.source.file.atrium"}  # the beginning


def test_alloy_reads_fields_that_lines_have(alloy: dict[str, Any]) -> None:
    process = alloy["loki.process.atrium"]
    read = set(process["stage.json"]["expressions"]) - {"{", "}", "=", ",", '""'}
    passed = set(process["stage.structured_metadata"]["values"]) - {"{", "}", "=", ",", '""'}
    labels = set(process["stage.labels"]["values"]) - {"{", "}", "=", ",", '""'}
    assert read <= FIELDS
    assert passed | labels <= read
    # Ids as labels would make a stream of each request.
    assert labels == {"level"}
    assert {"tenant_id", "request_id"} <= passed


def test_control_a_broken_file_is_noticed() -> None:
    with pytest.raises((AssertionError, IndexError)):
        blocks(tokens('loki.write "x" { endpoint { url = "a"'))
    with pytest.raises(AssertionError):
        tokens("loki.write ; x")


def test_lokis_retention_is_there_and_deletes() -> None:
    loki = yaml.safe_load((DEPLOY / "loki/loki.yaml").read_text())
    assert loki["limits_config"]["retention_period"] == "720h"
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["limits_config"]["allow_structured_metadata"] is True


def test_filebeat_reads_our_lines() -> None:
    beat = yaml.safe_load((DEPLOY / "elasticsearch/filebeat.yml").read_text())
    (parser,) = beat["filebeat.inputs"][0]["parsers"]
    target = parser["ndjson"]["target"]
    stages = {name: body for stage in beat["processors"] for name, body in stage.items()}
    used = {stages["timestamp"]["field"], *(each["from"] for each in stages["rename"]["fields"])}
    assert {name.removeprefix(f"{target}.") for name in used} <= FIELDS
    assert datetime.fromisoformat(stages["timestamp"]["test"][0])
    template = json.loads((DEPLOY / "elasticsearch/index-template.json").read_text())
    assert beat["output.elasticsearch"]["index"].startswith("logs-atrium-")
    assert template["index_patterns"] == ["logs-atrium-*"]
    assert set(template["template"]["mappings"]["properties"]["atrium"]["properties"]) <= FIELDS
