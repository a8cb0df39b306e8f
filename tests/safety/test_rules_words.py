"""Words of a list as people send them, and how far a tenant may change the platform's rules. No database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from safety import policies, snapshots, terms
from safety.errors import BrokenVersion, TooLoose
from safety.models import RuleAction
from safety.spec import Action, Kind, Rule, RuleSet

WORDS = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20
).filter(lambda text: any(letter.isalnum() for letter in text))
ACTIONS = st.sampled_from([None, *Action])
CHOICES = st.sampled_from(["", *RuleAction.values])


def refusal(raw: bytes, *, is_csv: bool = False) -> str:
    with pytest.raises(InvalidInput) as caught:
        terms.read_file(raw, is_csv=is_csv)
    assert caught.value.field == "file"
    return caught.value.message


def test_a_text_file_holds_one_word_a_line() -> None:
    raw = "\ufeffthunder\r\n\n  lightning \n雷电\nthunder\n".encode()
    assert terms.read_file(raw, is_csv=False) == ("lightning", "thunder", "雷电")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("thunder,loud\nlightning,bright\n", ("lightning", "thunder")),
        ("severity,Term\nhigh,thunder\nlow,lightning\n", ("lightning", "thunder")),
        ('"a, b"\n"say ""no"""\n', ("a, b", 'say "no"')),
        ("term\n", ()),
    ],
)
def test_a_csv_file_has_its_words_in_the_column_term_or_the_first(text: str, found: tuple[str, ...]) -> None:
    assert terms.read_file(text.encode(), is_csv=True) == found


def test_wrong_lines_are_named() -> None:
    raw = f"fine\n{'x' * 129}\n\nbell\x07\n---\n".encode()
    told = refusal(raw)
    for line in ("Line 2:", "Line 4:", "Line 5:"):
        assert line in told
    assert "Line 1" not in told
    assert "Line 3" not in told


def test_no_more_than_ten_lines_are_told_of() -> None:
    assert refusal(b"---\n" * 50).count("Line ") == 10


def test_what_is_no_utf_8_is_told_by_its_line() -> None:
    assert refusal(b"fine\nalso fine\n\xff\xfe\n") == "Line 3: this is not UTF-8."


def test_what_is_no_csv_is_told_by_its_line() -> None:
    assert "Line 2" in refusal(b'fine\n"never closed\n', is_csv=True)


@pytest.mark.slow
def test_a_file_has_bounds() -> None:
    assert "at most" in refusal("\n".join(f"w{n}" for n in range(terms.MAX_TERMS + 1)).encode())
    assert "larger" in refusal(b"x" * (terms.MAX_UPLOAD_BYTES + 1))


@pytest.mark.slow
def test_a_hundred_thousand_words_are_taken_and_stored_small() -> None:
    raw = "\n".join(f"word{n}" if n % 2 else f"词语{n}" for n in range(terms.MAX_TERMS)).encode()
    found = terms.read_file(raw, is_csv=False)
    assert len(found) == terms.MAX_TERMS
    packed = terms.pack(found)
    assert len(packed) < len(raw) / 2
    assert terms.unpack(packed) == found


@given(st.sets(WORDS, max_size=30))
def test_words_come_back_as_they_were_kept(words: set[str]) -> None:
    kept = terms.clean_terms(words, field="terms")
    assert terms.unpack(terms.pack(kept)) == kept
    assert terms.read_file("\n".join(kept).encode(), is_csv=False) == kept


@pytest.mark.parametrize("content", [b"nonsense", terms.pack(["a"])[:-3]])
def test_what_was_not_packed_is_not_read(content: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        terms.unpack(content)


def test_a_word_of_a_body_is_told_by_its_place() -> None:
    with pytest.raises(InvalidInput, match="Word 2") as caught:
        terms.clean_terms(["fine", "\u200b"], field="add")
    assert caught.value.field == "add"


# --- What a tenant may change


@given(own=st.tuples(ACTIONS, ACTIONS), wanted=st.tuples(CHOICES, CHOICES))
def test_without_the_platforms_leave_a_rule_only_gets_stricter(
    own: tuple[Action | None, Action | None], wanted: tuple[str, str]
) -> None:
    rule = Rule("r", Kind.TERMS, "c", action_in=own[0], action_out=own[1])
    for before, after in zip(own, policies.effective(rule, None, wanted), strict=True):
        assert policies.strictness(after) >= policies.strictness(before)


@given(
    own=st.tuples(ACTIONS, ACTIONS),
    wanted=st.tuples(CHOICES, CHOICES),
    loosest=st.tuples(st.sampled_from(RuleAction.values), st.sampled_from(RuleAction.values)),
)
def test_with_it_never_milder_than_what_is_named(
    own: tuple[Action | None, Action | None], wanted: tuple[str, str], loosest: tuple[str, str]
) -> None:
    rule = Rule("r", Kind.TERMS, "c", action_in=own[0], action_out=own[1])
    actions = policies.effective(rule, loosest, wanted)
    for index, after in enumerate(actions):
        least = min(policies.strictness(own[index]), policies.strictness(policies.action_of(loosest[index])))
        assert policies.strictness(after) >= least
        if wanted[index] and policies.strictness(policies.action_of(wanted[index])) >= least:
            assert after == policies.action_of(wanted[index])
        if not wanted[index]:
            assert after == own[index]


@given(
    own=st.tuples(ACTIONS, ACTIONS),
    wanted=st.tuples(CHOICES, CHOICES),
    control=st.none() | st.tuples(st.sampled_from(RuleAction.values), st.sampled_from(RuleAction.values)),
)
def test_what_may_be_written_is_what_holds(
    own: tuple[Action | None, Action | None], wanted: tuple[str, str], control: tuple[str, str] | None
) -> None:
    rule = Rule("r", Kind.TERMS, "c", action_in=own[0], action_out=own[1])
    try:
        policies.check_override(rule, control, wanted)
    except TooLoose as error:
        index = ("action_in", "action_out").index(str(error.field))
        assert policies.effective(rule, control, wanted)[index] != policies.action_of(wanted[index])
    else:
        expected = tuple(
            policies.action_of(word) if word else own[index] for index, word in enumerate(wanted)
        )
        assert policies.effective(rule, control, wanted) == expected


@pytest.mark.parametrize(
    ("kind", "actions", "field"),
    [
        ("injection", ("mask", "off"), "action_in"),
        ("injection", ("flag", "block"), "action_out"),
        ("canary", ("block", "off"), "action_in"),
    ],
)
def test_a_rule_does_only_what_its_kind_can(kind: str, actions: tuple[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        policies.check_actions(kind, *actions)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        ("terms", {}, "terms"),
        ("pattern", {}, "pattern"),
        ("pii", {}, "entity"),
        ("injection", {}, "threshold"),
        ("pattern", {"pattern": "a", "terms": ["b"]}, "terms"),
        ("terms", {"terms": ["b"], "pattern": "a"}, "pattern"),
        ("terms", {"terms": ["b"], "entity": "EMAIL_ADDRESS"}, "entity"),
        ("terms", {"terms": ["b"], "threshold": 5}, "threshold"),
    ],
)
def test_a_rule_has_the_fields_of_its_kind(kind: str, given: dict[str, object], field: str) -> None:
    fields = {
        **{"terms": [], "pattern": "", "entity": "", "threshold": 0, "action_in": "off", "action_out": "off"},
        "kind": kind,
        **given,
    }
    with pytest.raises(InvalidInput) as caught:
        policies.check_rule(fields, has_list=False)
    assert caught.value.field == field


# --- Snapshots


def a_set() -> RuleSet:
    return RuleSet("ten_x", 3, (Rule("r", Kind.TERMS, "c", terms=("thunder", "雷")),))


def test_a_rule_set_comes_back_byte_for_byte() -> None:
    content, digest = snapshots.encode(a_set())
    assert snapshots.decode(content, digest) == a_set()
    assert snapshots.encode(a_set()) == (content, digest)


@pytest.mark.parametrize("damage", ["digest", "content", "cut", "other"])
def test_a_damaged_rule_set_is_refused(damage: str) -> None:
    content, digest = snapshots.encode(a_set())
    other = snapshots.encode(snapshots.renumbered(a_set(), 4))[0]
    broken = {
        "digest": (content, "0" * 64),
        "content": (b"nonsense", digest),
        "cut": (content[:-8], digest),
        "other": (other, digest),
    }[damage]
    with pytest.raises(BrokenVersion):
        snapshots.decode(*broken)


def test_differences_name_rules_and_fields() -> None:
    before = RuleSet(
        "s", 1, (Rule("a", Kind.TERMS, "c", terms=("x",)), Rule("b", Kind.TERMS, "c", terms=("y",)))
    )
    after = RuleSet(
        "s", 2, (Rule("a", Kind.TERMS, "d", terms=("x", "z")), Rule("n", Kind.TERMS, "c", terms=("y",)))
    )
    assert snapshots.differences(before, after) == {
        "added": ["n"],
        "removed": ["b"],
        "changed": [{"rule": "a", "fields": ["category", "terms"], "terms_added": 1, "terms_removed": 0}],
    }
