"""Rule sets between rows and bytes: what a publication writes and every process reads. Pure."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from safety.errors import BrokenVersion
from safety.models import RuleKind
from safety.policies import action_of
from safety.spec import Kind, Rule, RuleSet, Severity

_MAX_CONTENT = 128 * 1024 * 1024
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RuleSet)


def rule_of(row: Any, terms: Iterable[str] = ()) -> Rule:
    """A draft's row as the engine's rule; `terms` are those of its word list."""
    words: tuple[str, ...] = ()
    if row.kind == RuleKind.TERMS:
        words = tuple(sorted({*row.terms, *terms}))
    return Rule(
        id=row.rule_id,
        kind=Kind(row.kind),
        category=row.category,
        severity=Severity(row.severity),
        action_in=action_of(row.action_in),
        action_out=action_of(row.action_out),
        terms=words,
        whole_words=row.whole_words,
        pattern=row.pattern,
        entity=row.entity,
        threshold=row.threshold,
        replacement=row.replacement,
    )


def encode(rule_set: RuleSet) -> tuple[bytes, str]:
    """(compressed MessagePack, SHA-256 of the MessagePack)."""
    plain = _encoder.encode(rule_set)
    return zlib.compress(plain, 6), hashlib.sha256(plain).hexdigest()


def decode(content: bytes | memoryview, digest: str) -> RuleSet:
    """The rule set again. Raises BrokenVersion when it is not, byte for byte, what was published."""
    machine = zlib.decompressobj()
    try:
        plain = machine.decompress(bytes(content), _MAX_CONTENT)
    except zlib.error as error:
        raise BrokenVersion("the content cannot be read") from error
    if hashlib.sha256(plain).hexdigest() != digest:
        raise BrokenVersion("the content does not have its digest")
    try:
        return _decoder.decode(plain)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BrokenVersion("the content is no rule set") from error


def renumbered(rule_set: RuleSet, version: int) -> RuleSet:
    """The same rules under another number."""
    return RuleSet(id=rule_set.id, version=version, rules=rule_set.rules)


def count_terms(rule_set: RuleSet) -> int:
    """The words of all rules together."""
    return sum(len(rule.terms) for rule in rule_set.rules)


def cost_bytes(rule_set: RuleSet) -> int:
    """About how much memory the set takes when it is compiled; for deciding what to keep, not for accounts."""
    letters = sum(len(term) for rule in rule_set.rules for term in rule.terms)
    return 64 * 1024 + 80 * letters + 64 * count_terms(rule_set) + 48 * 1024 * len(rule_set.rules)


def differences(before: RuleSet, after: RuleSet) -> dict[str, Any]:
    """Which rules came, went and changed, and in which fields; of words only how many."""
    old: Mapping[str, Rule] = {rule.id: rule for rule in before.rules}
    new: Mapping[str, Rule] = {rule.id: rule for rule in after.rules}
    changed = []
    for name in sorted(old.keys() & new.keys()):
        fields = [
            field
            for field in Rule.__struct_fields__
            if getattr(old[name], field) != getattr(new[name], field)
        ]
        if fields:
            had, has = set(old[name].terms), set(new[name].terms)
            changed.append(
                {
                    "rule": name,
                    "fields": fields,
                    "terms_added": len(has - had),
                    "terms_removed": len(had - has),
                }
            )
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": changed,
    }
