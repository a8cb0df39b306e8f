"""Verifies an audit trail of Atrium without Atrium: needs Python 3.11 and the package `cryptography`, no more.

    python verify.py FOLDER [--public-key KEY] [--json]

FOLDER is an unpacked export: trail.jsonl, checkpoints.jsonl, keys.jsonl. KEY is the platform's public key as you
got it on another way than the export (base64); without it the export is held against the key that
it brings along, which proves that nothing was changed since, and not who wrote it. The exit status is 0 when the
trail is whole, 1 when it is not, 2 when it cannot be read.

The platform itself verifies with these very functions. Memory stays the same however long the trail is.

An event's digest is SHA-256 over a tag and its fields as JSON (sorted keys, no spaces, UTF-8). A link's hash is
SHA-256 over a tag, the hash of the link before, the chain's name, the link's number, the time of sealing, the event's
id and its digest. A checkpoint is a link's number and hash, signed with Ed25519, kept outside of the database.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GENESIS = "0" * 64
EVENT_TAG = b"atrium-audit-event-1\n"
LINK_TAG = "atrium-audit-link-1"
SIGNED_TAG = b"atrium-audit-signed-1\n"
MOST_FINDINGS = 100
# An event whose own time lies further than this from its sealing was made by a clock that was wrong.
SKEW_S = 3600
NOTES = frozenset({"skewed", "unreadable"})
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


class Link(NamedTuple):
    """One sealed event. `event` is none where the row is gone; `sequence` counts from 1 in each chain."""

    sequence: int
    sealed_at: str  # RFC 3339, UTC, microseconds
    event_id: str
    event_digest: str
    hash: str
    event: dict[str, Any] | None


class Finding(NamedTuple):
    """What is wrong and where: the link's number, the event, and more in words of no language."""

    kind: str
    sequence: int | None = None
    event: str = ""
    detail: str = ""

    @property
    def is_note(self) -> bool:
        """True for what is odd and proves nothing."""
        return self.kind in NOTES


class Report:
    """Findings, at most `MOST_FINDINGS` of them kept, and what was looked at."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.left_out = 0
        self.links = 0
        self.checkpoints = 0
        self.signed_through = 0
        self.last_sequence = 0
        self.last_hash = GENESIS
        # The newest link that a signature covers and that agrees with it.
        self.last_good_sequence = 0
        self.last_good_hash = GENESIS
        self._notes = 0

    def add(self, kind: str, sequence: int | None = None, event: str = "", detail: str = "") -> None:
        """Keep a finding, or count it when there are too many."""
        found = Finding(kind, sequence, event, detail)
        if found.is_note:
            self._notes += 1
            if self._notes > MOST_FINDINGS // 10:
                return
        elif len(self.problems) >= MOST_FINDINGS:
            self.left_out += 1
            return
        self.findings.append(found)

    @property
    def problems(self) -> list[Finding]:
        """Findings that are no mere notes."""
        return [each for each in self.findings if not each.is_note]

    @property
    def is_whole(self) -> bool:
        """True when nothing was found."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        names = ["is_whole", "links", "checkpoints", "last_sequence", "last_hash", "left_out"]
        names += ["last_good_sequence", "last_good_hash"]
        found = [each._asdict() for each in self.findings]
        return {**{name: getattr(self, name) for name in names}, "findings": found}


def canonical(value: Any) -> bytes:
    """The one form of a JSON value that is hashed and signed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def event_digest(event: dict[str, Any]) -> str:
    """The digest of one event's fields."""
    return hashlib.sha256(EVENT_TAG + canonical(event)).hexdigest()


def link_hash(previous: str, chain: str, sequence: int, sealed_at: str, event_id: str, digest: str) -> str:
    """The hash of one link."""
    text = f"{LINK_TAG}\n{previous}\n{chain}\n{sequence}\n{sealed_at}\n{event_id}\n{digest}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def signed_part(record: dict[str, Any]) -> bytes:
    """What a signature of a checkpoint or key record is over: all of it but the signatures."""
    rest = {name: value for name, value in record.items() if name not in ("signature", "own_signature")}
    return SIGNED_TAG + canonical(rest)


def record_digest(record: dict[str, Any]) -> str:
    """By what the next record of the file names this one."""
    return hashlib.sha256(canonical(record)).hexdigest()


def key_id(public_key: bytes) -> str:
    """The short name of a public key: the beginning of its SHA-256."""
    return "ed25519:" + hashlib.sha256(public_key).hexdigest()[:32]


def is_signed(record: dict[str, Any], public_key: bytes, field: str = "signature") -> bool:
    """True when the record's signature is this key's."""
    try:
        signature = base64.b64decode(str(record.get(field, "")), validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed_part(record))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def shown(event_id: str) -> str:
    """An event's id as the platform shows it (aud_…), out of its UUID."""
    number, letters = int(event_id.replace("-", ""), 16), ""
    for _place in range(26):
        number, digit = divmod(number, 32)
        letters = _LETTERS[digit] + letters
    return f"aud_{letters}"


def trusted_keys(
    records: Iterable[dict[str, Any]], anchors: Iterable[bytes], report: Report
) -> dict[str, bytes]:
    """Key id → public key of all keys that hang together with an anchor (without one: with the first record).

    Two neighbours hang together when the record of the newer is signed by both.
    """
    groups: list[dict[str, bytes]] = []
    last: bytes | None = None
    for record in records:
        key = _raw_key(record)
        if key is None:
            report.add("bad_key", detail=str(record.get("key_id", ""))[:64])
            continue
        follows = (
            last is not None
            and record.get("previous_key_id") == key_id(last)
            and is_signed(record, last)
            and is_signed(record, key, "own_signature")
        )
        if follows:
            groups[-1][key_id(key)] = key
        elif record.get("previous_key_id") is None and is_signed(record, key, "own_signature"):
            groups.append({key_id(key): key})
        else:
            report.add("bad_key", detail=key_id(key))
            groups.append({})
            key = None
        last = key
    wanted = {key_id(each): each for each in anchors}
    if not wanted and groups:
        return dict(groups[0])
    found = dict(wanted)
    for group in groups:
        if not wanted.keys().isdisjoint(group):
            found.update(group)
    return found


def _raw_key(record: dict[str, Any]) -> bytes | None:
    try:
        key = base64.b64decode(str(record.get("public_key", "")), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == 32 and record.get("key_id") == key_id(key) else None


def checked_checkpoints(
    records: Iterable[dict[str, Any] | None], chain: str, keys: dict[str, bytes], report: Report
) -> Iterator[tuple[int, str]]:
    """(sequence, hash) of each record that is signed by a trusted key, in ascending order.

    What is wrong with the file itself goes into the report: a foreign or missing signature, a record that was
    removed or put in between, two for one sequence, a history that was begun anew. None stands for a line that is
    no JSON, as a crash leaves.
    """
    previous, sequence, hash_ = "", 0, ""
    is_first = True
    for record in records:
        if record is None:
            report.add("unreadable")
            continue
        number = record.get("sequence")
        key = keys.get(str(record.get("key_id")))
        if not isinstance(number, int) or number < 1 or record.get("chain") != chain:
            report.add("foreign_checkpoint", detail=str(record.get("chain", ""))[:64])
            continue
        if key is None or not is_signed(record, key):
            name = str(record.get("key_id", ""))[:64]
            report.add("bad_signature" if key else "unknown_key", number, detail=name)
            continue
        if record.get("previous") != (None if is_first else previous):
            report.add("checkpoint_gap", number)
        is_first, previous = False, record_digest(record)
        report.checkpoints += 1
        report.signed_through = max(report.signed_through, number)
        if number < sequence or (number == sequence and record.get("hash") != hash_):
            # The one key signed two histories: the second is not followed.
            report.add("fork", number, detail=f"signed after {sequence}")
            continue
        sequence, hash_ = number, str(record.get("hash"))
        yield sequence, hash_


def through_erased(record: dict[str, Any] | None, chain: str, keys: dict[str, bytes]) -> int:
    """The last link whose event may be gone by this record; 0 for one that says nothing of it, or is not signed."""
    if record is None or record.get("kind") != "erasure" or record.get("chain") != chain:
        return 0
    key, through = keys.get(str(record.get("key_id"))), record.get("sequence")
    return through if isinstance(through, int) and key is not None and is_signed(record, key) else 0


class ChainCheck:
    """Verifies one chain, link by link, in ascending order of sequence.

    `checkpoints` as `checked_checkpoints` yields them. `erased_through`: events up to this link may be gone,
    because a signed record says so. `start` is the sequence and hash of a link that is trusted already.
    """

    def __init__(
        self,
        chain: str,
        checkpoints: Iterator[tuple[int, str]],
        report: Report,
        *,
        erased_through: int = 0,
        start: tuple[int, str] = (0, GENESIS),
    ) -> None:
        self.chain = chain
        self.report = report
        self.erased_through = erased_through
        self._checkpoints = checkpoints
        self._sequence, self._previous = start
        report.last_good_sequence, report.last_good_hash = start
        self._computed = self._previous  # what the link before should have been
        self._broken: tuple[int, str] | None = None  # the first break: its place, the hash before it
        self._rewritten = False
        self._next = next(checkpoints, None)

    def take(self, link: Link) -> None:
        """Look at the next link."""
        if link.sequence <= self._sequence:
            self.report.add("fork", link.sequence, link.event_id, "two links with one number")
            return
        self.report.links += 1
        is_sound = self._content(link)
        rest = (self.chain, link.sequence, link.sealed_at, link.event_id, link.event_digest)
        expected = link_hash(self._previous, *rest)
        if link.sequence != self._sequence + 1:
            # What follows a gap cannot be held against what is gone; the links after it can.
            gap = f"{self._sequence + 1}-{link.sequence - 1}"
            self.report.add("missing", self._sequence + 1, detail=gap)
            expected = link.hash
        elif expected != link.hash and self._computed != self._previous:
            # Where the link before was changed alone, this one still continues what it was.
            expected = link_hash(self._computed, *rest)
        if expected != link.hash:
            self._explain(link)
        self._computed, self._previous, self._sequence = expected, link.hash, link.sequence
        self._hold_against_checkpoints(link, is_sound=is_sound and expected == link.hash)

    def finish(self) -> Report:
        """Look for a tail that was signed and is gone; the report is complete then."""
        cut = self._next
        if cut is not None and cut[0] > self._sequence:
            last = cut[0]
            for each in self._checkpoints:
                last = max(last, each[0])
            self.report.add("truncated", self._sequence + 1, detail=f"signed through {last}")
        self.report.last_sequence, self.report.last_hash = self._sequence, self._previous
        return self.report

    def _content(self, link: Link) -> bool:
        """True when the event is what was sealed, or gone with a signed record of it."""
        if link.event is None:
            if link.sequence > self.erased_through:
                self.report.add("deleted", link.sequence, link.event_id)
                return False
            return True
        if event_digest(link.event) != link.event_digest or link.event.get("id") != link.event_id:
            self.report.add("edited", link.sequence, link.event_id)
            return False
        if _is_skewed(link):
            self.report.add("skewed", link.sequence, link.event_id, str(link.event.get("occurred_at")))
        return True

    def _explain(self, link: Link) -> None:
        """A link that does not continue the one before: moved from another place, or changed."""
        if self._broken is not None:
            place, before = self._broken
            rest = (self.chain, place, link.sealed_at, link.event_id, link.event_digest)
            if link_hash(before, *rest) == link.hash:
                self.report.add("reordered", link.sequence, link.event_id, f"belongs to {place}")
                return
        else:
            self._broken = link.sequence, self._previous
        self.report.add("broken", link.sequence, link.event_id)

    def _hold_against_checkpoints(self, link: Link, *, is_sound: bool) -> None:
        while self._next is not None and self._next[0] <= link.sequence:
            sequence, hash_ = self._next
            if sequence == link.sequence and hash_ != link.hash and not self._rewritten:
                # Every later one disagrees as well: one finding names the place.
                self._rewritten = True
                after = self.report.last_good_sequence
                self.report.add("rewritten", after + 1, link.event_id, f"between {after + 1} and {sequence}")
            elif sequence == link.sequence and hash_ == link.hash and is_sound and self.report.is_whole:
                self.report.last_good_sequence, self.report.last_good_hash = sequence, hash_
            self._next = next(self._checkpoints, None)


def _is_skewed(link: Link) -> bool:
    occurred = str((link.event or {}).get("occurred_at", ""))
    if occurred[:13] == link.sealed_at[:13]:  # the same hour, as nearly always
        return False
    try:
        apart = datetime.fromisoformat(link.sealed_at) - datetime.fromisoformat(occurred)
    except ValueError:
        return True
    return abs(apart.total_seconds()) > SKEW_S


def verify_chain(
    chain: str,
    links: Iterable[Link],
    records: Callable[[], Iterable[dict[str, Any] | None]],
    keys: dict[str, bytes],
    report: Report,
    *,
    start: tuple[int, str] = (0, GENESIS),
) -> Report:
    """Hold a chain's links against its checkpoints. `records` opens the file of checkpoints anew each time."""
    erased = max((through_erased(each, chain, keys) for each in records()), default=0)
    signed = checked_checkpoints(records(), chain, keys, report)
    pairs = (pair for pair in signed if pair[0] > start[0])
    check = ChainCheck(chain, pairs, report, erased_through=erased, start=start)
    for link in links:
        check.take(link)
    return check.finish()


SENTENCES = {
    "edited": "the event was changed after it was sealed",
    "deleted": "the event was removed, its link is there",
    "missing": "links were removed",
    "inserted": "the event was put in past the platform",
    "broken": "the link does not continue the one before it",
    "reordered": "the link stands in another place than it was sealed in",
    "truncated": "the end of the trail was cut off",
    "rewritten": "the links continue each other, but differ from what was signed",
    "fork": "there are two histories",
    "bad_signature": "the signature of the checkpoint is wrong",
    "unknown_key": "the checkpoint is signed by a key that is not trusted",
    "bad_key": "the record of a key is not signed as it must be",
    "foreign_checkpoint": "a checkpoint of another chain",
    "checkpoint_gap": "checkpoints were removed or put in before this one",
    "uncovered": "no checkpoint covers the trail",
    "skewed": "note: the event's own time is far from its sealing",
    "unreadable": "note: a line of the checkpoints is no JSON, as a crash leaves",
}


def read_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The JSON objects of a file, a line each; None for a line that is none. A file that is not there is empty."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            yield value if isinstance(value, dict) else None


def read_links(path: Path) -> Iterator[Link]:
    """The links of an export. Raises ValueError for a line that is none."""
    for line in read_lines(path):
        if line is None:
            raise ValueError("a line of the trail is no JSON")
        yield Link(*(line.get(name) for name in Link._fields))  # type: ignore[arg-type]


def verify_folder(folder: Path, anchors: list[bytes]) -> tuple[Report, str]:
    """The report on an unpacked export, and the id of the key that it was held against."""
    manifest = json.loads((folder / "manifest.json").read_text())
    report = Report()
    records = [each for each in read_lines(folder / "keys.jsonl") if each]
    keys = trusted_keys(records, anchors, report)
    verify_chain(
        str(manifest["chain"]),
        read_links(folder / "trail.jsonl"),
        lambda: read_lines(folder / "checkpoints.jsonl"),
        keys,
        report,
    )
    if report.last_sequence != manifest["last_sequence"] or report.last_hash != manifest["last_hash"]:
        report.add(
            "truncated", report.last_sequence + 1, detail=f"exported through {manifest['last_sequence']}"
        )
    if not report.checkpoints and report.links:
        report.add("uncovered")
    return report, next(iter(keys), "")


def read_public_key(text: str) -> bytes:
    """The 32 bytes of a key in base64. Raises ValueError."""
    raw = base64.b64decode(text, validate=True)
    if len(raw) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    return raw


def main(arguments: list[str]) -> int:
    """Verify, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="Verify an audit trail that was exported from Atrium.")
    parser.add_argument("folder", type=Path, help="the unpacked export")
    parser.add_argument("--public-key", help="the platform's public key, base64")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    try:
        anchors = [read_public_key(options.public_key)] if options.public_key else []
        report, name = verify_folder(options.folder, anchors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"cannot be read: {error}\n")
        return 2
    if options.json:
        sys.stdout.write(json.dumps({**report.as_json(), "key_id": name}) + "\n")
    else:
        _print(report, name, is_pinned=bool(anchors))
    return 0 if report.is_whole else 1


def _print(report: Report, name: str, *, is_pinned: bool) -> None:
    lines = []
    for found in report.findings:
        where = f"link {found.sequence}" if found.sequence else "trail"
        event = f", event {shown(found.event)}" if found.event else ""
        detail = f" ({found.detail})" if found.detail else ""
        lines.append(f"{where}{event}: {SENTENCES.get(found.kind, found.kind)}{detail}")
    if report.left_out:
        lines.append(f"and {report.left_out} more")
    lines.append(f"{report.links} links, {report.checkpoints} checkpoints, key {name or 'none'}")
    lines.append(f"signed and sound through link {report.last_good_sequence} ({report.last_good_hash})")
    if not is_pinned:
        lines.append("The key came with the export: compare it with the one that the operator publishes.")
    lines.append("WHOLE" if report.is_whole else "NOT WHOLE")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
