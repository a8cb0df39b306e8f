"""The keys of checkpoints: made known, handed over, trusted or not; and the folder that they are written to."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import keys
from audit.proof.verify import Report, key_id, read_public_key, trusted_keys
from audit.services import checkpoints, sealing
from audit.sinks import FileSink
from launcher.secrets import SERVER_SECRETS
from tests.audit.conftest import Trail

NEW = "a new secret that is long enough for everybody: 7f3k2m"


def introduced(folder: Path) -> list[dict[str, Any]]:
    """The records of keys."""
    return [json.loads(line) for line in (folder / "keys.jsonl").read_text().splitlines()]


@pytest.mark.django_db(transaction=True)
class TestHandingOver:
    """From an old key to a new one."""

    def test_a_new_key_is_signed_by_the_old_one_and_both_are_trusted(
        self, trail: Trail, settings: Any
    ) -> None:
        settings.AUDIT_KEYS = [NEW, *settings.AUDIT_KEYS]
        trail.grow(2)
        settings.AUDIT_KEYS = [NEW]
        trail.grow(2)
        first, second = introduced(trail.folder)
        assert second["previous_key_id"] == first["key_id"]
        assert {line["key_id"] for line in trail.lines()} == {first["key_id"], second["key_id"]}
        assert trail.found() == set()
        for record in (first, second):
            assert trail.found(anchors=[read_public_key(record["public_key"])]) == set()

    def test_a_new_key_without_the_old_one_stands_alone_until_the_old_is_trusted(
        self, trail: Trail, settings: Any
    ) -> None:
        old = keys.shown_key(keys.public_key(keys.signing_keys()[0]))
        settings.AUDIT_KEYS = [NEW]
        trail.grow(2)
        assert {kind for kind, _sequence in trail.found()} == {"unknown_key", "checkpoint_gap"}
        settings.AUDIT_TRUSTED_KEYS = [old]
        assert trail.found() == set()

    def test_without_a_key_nothing_is_signed_and_sealing_goes_on(self, trail: Trail, settings: Any) -> None:
        settings.AUDIT_KEYS = []
        trail.write()
        assert sealing.seal() == 1
        assert checkpoints.sign_due(at_once=True) == 0
        assert len(trail.lines()) == 3

    def test_a_forged_key_beside_the_real_ones_is_not_trusted(self, trail: Trail) -> None:
        forger = Ed25519PrivateKey.generate()
        raw = keys.public_key(forger)
        record: dict[str, Any] = {
            "kind": "key",
            "key_id": key_id(raw),
            "public_key": base64.b64encode(raw).decode(),
            "previous_key_id": introduced(trail.folder)[0]["key_id"],
            "time": "2026-01-01T00:00:00.000000Z",
        }
        keys.sign(record, forger, "own_signature")
        keys.sign(record, forger)  # in the old one's place
        with (trail.folder / "keys.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        report = Report()
        trusted = trusted_keys(introduced(trail.folder), keys.anchors(), report)
        assert key_id(raw) not in trusted
        assert [each.kind for each in report.findings] == ["bad_key"]
        assert ("bad_key", None) in trail.found()

    def test_files_are_private_and_only_grow(self, trail: Trail) -> None:
        before = trail.file.read_bytes()
        trail.grow(1)
        assert trail.file.read_bytes().startswith(before)
        for path in trail.folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(trail.folder.stat().st_mode) == 0o700


def test_the_key_is_made_with_the_other_secrets() -> None:
    assert "ATRIUM_AUDIT_KEY" in SERVER_SECRETS


@pytest.mark.parametrize("name", ["../x", "a/b", "keys", ""])
def test_a_chains_name_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chain"):
        FileSink(tmp_path).append(name, {})


@pytest.mark.parametrize("text", ["", "x", "AAAA", base64.b64encode(b"1" * 31).decode()])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_public_key(text)
