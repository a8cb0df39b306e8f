"""A trail with its proof, verified by somebody who has Python and `cryptography` and nothing of ours."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from audit import keys
from audit.services import record
from core.actors import Actor
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests.api.client import REST
from tests.audit.conftest import Trail

pytestmark = pytest.mark.django_db(transaction=True)


def unpacked(content: bytes, folder: Path) -> Path:
    """The archive's files."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The archive's own script, in a process that finds nothing of the platform."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "verify.py"), str(folder), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": ""},
        timeout=60,
        check=False,
    )


def public_key() -> str:
    """As the operator publishes it."""
    return keys.shown_key(keys.public_key(keys.signing_keys()[0]))


@pytest.fixture
def exported(trail: Trail, alice_client: Client, tmp_path: Path) -> Path:
    """Acme's trail as its owner gets it."""
    answer = REST(alice_client).get("/audit/export/")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/zip"
    return unpacked(b"".join(answer.streaming_content), tmp_path / "export")


def test_a_third_party_finds_it_whole(exported: Path) -> None:
    done = run(exported, "--public-key", public_key())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 links, 3 checkpoints" in done.stdout
    assert done.stdout.endswith("\nWHOLE\n")
    report = json.loads(run(exported, "--json").stdout)
    assert (report["is_whole"], report["last_good_sequence"]) == (True, 9)
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["public_keys"] == [public_key()]
    assert "verify.py" in (exported / "README.txt").read_text()


def lines(path: Path) -> list[dict[str, Any]]:
    """JSON Lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_a_third_party_finds_what_was_done_to_the_file(exported: Path) -> None:
    good = lines(exported / "trail.jsonl")
    assert good[3]["event"]["action"] == "tests.thing.done"

    def outcome(rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
        write(exported / "trail.jsonl", rows)
        done = run(exported, "--public-key", public_key(), "--json")
        assert done.returncode == 1, done.stderr
        return {(each["kind"], each["sequence"]) for each in json.loads(done.stdout)["findings"]}

    edited = [dict(row) for row in good]
    edited[3] = {**good[3], "event": {**good[3]["event"], "reason": "forged"}}
    assert outcome(edited) == {("edited", 4)}
    assert outcome(good[:3] + good[4:]) == {("missing", 4)}
    assert ("truncated", 7) in outcome(good[:6])
    swapped = [dict(row) for row in good]
    swapped[1], swapped[4] = {**good[4], "sequence": 2}, {**good[1], "sequence": 5}
    assert {("broken", 2), ("reordered", 5)} <= outcome(swapped)


@pytest.mark.slow
def test_a_third_party_trusts_the_key_that_it_was_given_and_no_other(exported: Path) -> None:
    other = keys.shown_key(b"\x01" * 32)
    done = run(exported, "--public-key", other)
    assert done.returncode == 1
    assert "a key that is not trusted" in done.stdout
    assert run(exported, "--public-key", "nonsense").returncode == 2
    (exported / "manifest.json").unlink()
    assert run(exported).returncode == 2


def test_an_export_tells_nothing_of_where_staff_sat_and_proves_the_rest(
    trail: Trail, acme: Tenant, alice_client: Client, tmp_path: Path
) -> None:
    staff = Actor(kind="person", label="sam", platform_role="support", address="203.0.113.5")
    member = Actor(kind="person", label="alice", role="owner", address="203.0.113.6")
    with tenant_scope(acme.pk):
        for actor in (staff, member):
            record("tests.thing.done", actor=actor, tenant_id=acme.pk)
    trail.seal()
    answer = REST(alice_client).get("/audit/export/")
    folder = unpacked(b"".join(answer.streaming_content), tmp_path / "export")
    text = (folder / "trail.jsonl").read_text()
    assert "203.0.113.6" in text
    assert "203.0.113.5" not in text
    assert run(folder, "--public-key", public_key()).returncode == 0
    # The platform still finds a change of it.
    with platform_scope(reason="tests"):
        event = trail.event_of(10)
    trail.attack("UPDATE audit_auditevent SET address = '203.0.113.9' WHERE id = %(event)s", event=event)
    assert trail.found() == {("edited", 10)}


def test_an_export_goes_through_the_head_of_its_beginning(
    trail: Trail, alice_client: Client, tmp_path: Path
) -> None:
    """What is sealed while it is being taken is not in it, and makes it no less whole."""
    pieces = REST(alice_client).get("/audit/export/").streaming_content
    trail.grow(2)
    folder = unpacked(b"".join(pieces), tmp_path / "export")
    assert len(lines(folder / "trail.jsonl")) == 9
    assert run(folder, "--public-key", public_key()).returncode == 0


def test_the_command_writes_and_verifies(trail: Trail, tmp_path: Path, capsys: Any) -> None:
    call_command("audit_export", str(tmp_path / "acme.zip"), tenant="acme")
    folder = unpacked((tmp_path / "acme.zip").read_bytes(), tmp_path / "export")
    assert run(folder, "--public-key", public_key()).returncode == 0
    with pytest.raises(CommandError):
        call_command("audit_export", str(tmp_path / "acme.zip"), tenant="acme")
    trail.seal()
    capsys.readouterr()
    call_command("audit_verify", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["is_whole"]
    assert trail.chain in {each["chain"] for each in report["chains"]}
    call_command("audit_verify", tenant="acme", since="2026-01-01", public_key=public_key())
    assert "11 links" in capsys.readouterr().out
    trail.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=trail.event_of(4))
    with pytest.raises(CommandError) as raised:
        call_command("audit_verify", tenant="acme")
    assert raised.value.returncode == 1
    assert "deleted 4 aud_" in capsys.readouterr().out
    for wrong in ({"tenant": "nobody"}, {"since": "yesterday"}, {"public_key": "x"}):
        with pytest.raises(CommandError):
            call_command("audit_verify", **wrong)


def test_verification_since_a_time_begins_at_a_signed_link(trail: Trail) -> None:
    from datetime import datetime

    times = [datetime.fromisoformat(line["time"]) for line in trail.lines()]
    verified = trail.verify(since=times[1])
    assert (verified.first, verified.report.links) == (7, 3)
    assert verified.report.is_whole
    trail.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=trail.event_of(2))
    assert trail.found(since=times[1]) == set()
    assert trail.found(since=times[0]) == set()
    assert trail.found(most=3) == set()
    assert trail.found(most=8) == {("deleted", 2)}
    assert trail.found() == {("deleted", 2)}
