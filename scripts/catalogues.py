"""Translations: `extract` brings new sentences into the .po files, `compile` writes a .mo beside every .po, `check`
refuses what a reader would stumble over.

Checked: syntax, placeholders, nothing untranslated or fuzzy, and that every committed .mo is that of its .po.
"""

import io
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

ROOT = Path(__file__).resolve().parent.parent
WRITTEN_AT = datetime(2026, 1, 1, tzinfo=UTC)
SKIPPED = {".venv", ".git", ".atrium", "node_modules"}
# Folders without sentences for Django's catalogues.
UNSPOKEN = (
    *(f"{folder}/*" for folder in sorted(SKIPPED)),
    *(f"{folder}/*" for folder in ("benchmarks", "deploy", "docs", "scripts", "starter_model", "tests")),
    "platform/launcher/*",
    "static/vendor/*",
)


def catalogues() -> list[Path]:
    """Every .po of the repository."""
    return sorted(path for path in ROOT.rglob("*.po") if not SKIPPED & set(path.relative_to(ROOT).parts))


def read(path: Path) -> Catalog:
    """The catalogue, in the language that its folder names."""
    with path.open("rb") as handle:
        catalogue = read_po(handle, locale=path.parents[1].name, abort_invalid=True)
    # Babel fills in the time of reading, and a .mo would differ from itself a minute later.
    catalogue.creation_date = catalogue.revision_date = WRITTEN_AT
    return catalogue


def compiled(catalogue: Catalog) -> bytes:
    """The .mo file's content."""
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def problems(path: Path) -> list[str]:
    """What is wrong with one catalogue."""
    name = path.relative_to(ROOT)
    try:
        catalogue = read(path)
    except (PoFileError, ValueError) as error:
        return [f"{name}: {error}"]
    found = [f"{name}: {message.id!r}: {error}" for message, errors in catalogue.check() for error in errors]
    for message in catalogue:
        texts = message.string if isinstance(message.string, (list, tuple)) else [message.string]
        if message.id and (message.fuzzy or not all(texts)):
            found.append(f"{name}: {message.id!r} is {'fuzzy' if message.fuzzy else 'not translated'}")
    machine = path.with_suffix(".mo")
    if not machine.exists() or machine.read_bytes() != compiled(catalogue):
        found.append(f"{name}: run `make messages`, its .mo is missing or older")
    if shutil.which("msgfmt"):
        command = ["msgfmt", "--check", "-o", "/dev/null", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found += [f"{name}: {line}" for line in result.stderr.splitlines() if result.returncode]
    return found


def extract() -> None:
    """Sentences of code, templates and scripts, into the catalogue that is nearest to each; needs GNU gettext.

    The launcher speaks before Django is there, by a catalogue of its own that is kept by hand.
    """
    ignored = [f"--ignore={pattern}" for pattern in UNSPOKEN]
    for domain in ("django", "djangojs"):
        command = [
            "manage.py",
            "makemessages",
            "-d",
            domain,
            "-l",
            "zh_Hans",
            "--no-wrap",
            "--add-location=file",
        ]
        subprocess.run([sys.executable, *command, *ignored], cwd=ROOT, check=True)


def main() -> int:
    """`extract`, `compile` or `check`, all catalogues."""
    if sys.argv[1:] == ["extract"]:
        extract()
        return 0
    if sys.argv[1:] == ["compile"]:
        for path in catalogues():
            path.with_suffix(".mo").write_bytes(compiled(read(path)))
        return 0
    found = [line for path in catalogues() for line in problems(path)]
    print("\n".join(found) or f"{len(catalogues())} catalogues are in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
