"""A trail as a file that proves itself: events, links, checkpoints, keys and the script that verifies them.

Made piece by piece, in constant memory; each page of links is read in a transaction and scope of its own, however
slowly the pieces are taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from audit import keys, trail
from audit.links import chain_name, stamp
from audit.proof import verify
from audit.proof.verify import Link, canonical
from audit.sinks import CheckpointSink, checkpoint_sink
from core import clock
from core.scoping import platform_scope, tenant_scope

CONTENT_TYPE = "application/zip"


class _Pipe(io.RawIOBase):
    """What zipfile writes into; `take` gives what came since."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Yes; and no seeking."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy."""
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """All that was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def bundle(*, tenant_id: UUID | None, last_sequence: int, last_hash: str) -> Iterator[bytes]:
    """The chain through `last_sequence` as a zip archive. The caller has looked whether the reader may.

    What is sealed later is not in it, so that it agrees with the checkpoints that go with it.
    """
    pipe, sink, name = _Pipe(), checkpoint_sink(), chain_name(tenant_id)
    files: dict[str, str] = {}
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        pieces = {
            "trail.jsonl": _links(tenant_id, last_sequence),
            "checkpoints.jsonl": _checkpoints(sink, name, last_sequence),
            "keys.jsonl": (canonical(record) + b"\n" for record in sink.key_records()),
            "verify.py": iter([Path(verify.__file__).read_bytes()]),
            "README.txt": iter([_readme().encode()]),
        }
        for file, parts in pieces.items():
            digest = hashlib.sha256()
            with archive.open(file, "w", force_zip64=True) as entry:
                for part in parts:
                    digest.update(part)
                    entry.write(part)
                    if made := pipe.take():
                        yield made
            files[file] = digest.hexdigest()
        manifest = {
            "format": 1,
            "chain": name,
            "made_at": stamp(clock.now()),
            "last_sequence": last_sequence,
            "last_hash": last_hash,
            "public_keys": list(map(keys.shown_key, keys.anchors())),
            "sha256": files,
        }
        archive.writestr("manifest.json", json.dumps(manifest, indent=1))
    yield pipe.take()


def _links(tenant_id: UUID | None, through: int) -> Iterator[bytes]:
    after = 0
    while page := _page(tenant_id, after, through):
        yield b"".join(canonical(link._asdict()) + b"\n" for link in page)
        after = page[-1].sequence


def _page(tenant_id: UUID | None, after: int, through: int) -> list[Link]:
    if tenant_id is None:
        with platform_scope("audit.export"):
            return trail.page_of_links(tenant_id=None, after=after, through=through)
    with tenant_scope(tenant_id):
        return trail.page_of_links(tenant_id=tenant_id, after=after, through=through)


def _checkpoints(sink: CheckpointSink, name: str, through: int) -> Iterator[bytes]:
    for record in sink.records(name):
        if record is not None and int(record.get("sequence") or 0) <= through:
            yield canonical(record) + b"\n"


def _readme() -> str:
    return _(
        "This is an audit trail of Atrium with its proof.\n\n"
        "trail.jsonl        events, each with the link that seals it\n"
        "checkpoints.jsonl  links that were signed and kept outside of the database\n"
        "keys.jsonl         public keys, each handed over by the one before it\n"
        "manifest.json      what this is, and the digests of the files\n"
        "verify.py          verifies all of it without the platform\n\n"
        "Unpack it, and run: python verify.py . --public-key KEY\n"
        "It needs Python 3.11 and the package cryptography. Ask the platform's operator for KEY on another way than "
        "this file: whoever can forge a trail can forge the key beside it.\n"
    )
