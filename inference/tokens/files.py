"""A model's tokenizer and chat template out of its folder, or the reason why they cannot be relied on.

transformers does not always tokenize by `tokenizer.json`: many of its classes take the vocabulary out of it and build
the rest themselves. Counted is only where the two are known to agree: for classes that take the file as it is, and
for those whose own rules are the file's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import AddedToken, Tokenizer, processors

from inference.tokens.template import ChatTemplate

_TAKES_THE_FILE = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
_QWEN2 = frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"})
_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_BERT = frozenset({"BertTokenizer", "BertTokenizerFast"})
# vLLM renders these models' prompts by code of its own, or transformers mends their tokenizers when it loads them.
_OTHER_RULES = (
    "gpt_oss", "mistral", "ministral", "pixtral", "voxtral", "kimi", "deepseek_v3", "deepseek_v4", "inkling", "cohere",
    "internlm2", "step3",
)  # fmt: skip
_OTHER_ARCHITECTURES = (
    "DeepseekV32",
    "DeepseekV4",
    "KimiK3",
    "MoonshotKimia",
    "Inkling",
    "Mistral",
    "Cohere",
)
_SPECIAL_NAMES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_SENTENCE_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_xlm-roberta_config.json",
)


_SIGNS = re.compile(r"[<>\[\]|｜]")


class NoTokenizer(Exception):
    """The folder's tokenizer cannot be had, or is not known to be the engine's. The message says why."""


class ModelTokens:
    """One model's tokenizer, and its chat templates where it has any that can be relied on."""

    def __init__(self, folder: Path) -> None:
        config = _json(folder / "config.json")
        self._settings = _json(folder / "tokenizer_config.json")
        _check(folder, config)
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            raise NoTokenizer(f"tokenizer.json: {error}") from error
        self._check_class(_json(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._add_tokens()
        self._mend_post_processor()
        self._lowered = any(_json(folder / name).get("do_lower_case") for name in _SENTENCE_FILES)
        self.special = self._special()
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        # Its control tokens, as they would have to be written. Blanks and ordinary words that some have are none.
        self.control = tuple(word for word in added if len(word.strip()) > 2 and _SIGNS.search(word))
        self._templates = _templates(folder, self._settings)

    @property
    def template_sources(self) -> tuple[str, ...]:
        """The chat templates as they are written."""
        return tuple(template.source for template in self._templates.values())

    def text(self, text: str, *, special: bool = True) -> int:
        """How many tokens `text` has; with those that a tokenizer puts around a text, unless it is a chat's."""
        if self._lowered:
            text = text.lower()
        (encoded,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=special)
        return len(encoded)

    def written(self, ids: list[int]) -> str:
        """The text that token ids stand for, special tokens included. An id that is none is left out."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def template(self, *, with_tools: bool) -> ChatTemplate:
        """The chat template. Raises NoTokenizer where there is none to rely on."""
        name = "tool_use" if with_tools and "tool_use" in self._templates else "default"
        found = self._templates.get(name)
        if found is None:
            raise NoTokenizer("no chat template")
        return found

    def _special(self) -> dict[str, str]:
        found = {}
        for name in _SPECIAL_NAMES:
            value = self._settings.get(name)
            if isinstance(value, dict):
                value = value.get("content")
            if isinstance(value, str):
                found[name] = value
        return found

    def _add_tokens(self) -> None:
        """Tokens that the settings name and the file does not know as such, as transformers adds them."""
        known = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        wanted: list[AddedToken] = []
        decoder = self._settings.get("added_tokens_decoder") or {}
        for _, token in sorted(decoder.items(), key=lambda item: int(item[0])):
            flags = {name: bool(token.get(name)) for name in _FLAGS if name in token}
            wanted.append(AddedToken(str(token["content"]), **flags))
        extra = self._settings.get("extra_special_tokens") or self._settings.get("additional_special_tokens")
        names = list(extra.values()) if isinstance(extra, dict) else list(extra or ())
        for name in (*self._special().values(), *names):
            content = name.get("content") if isinstance(name, dict) else name
            wanted.append(AddedToken(str(content), special=True))
        for token in wanted:
            if token.content not in known:
                known.add(token.content)
                self._tokenizer.add_tokens([token])

    def _mend_post_processor(self) -> None:
        """Begin and end of text as the settings say, where they say it, as transformers does."""
        explicit = "add_bos_token" in self._settings or "add_eos_token" in self._settings
        if not explicit and self._tokenizer.post_processor is not None:
            return
        special = self._special()
        begin = special.get("bos_token") if self._settings.get("add_bos_token") else None
        end = special.get("eos_token") if self._settings.get("add_eos_token") else None
        tokens = [(token, self._tokenizer.token_to_id(token)) for token in (begin, end) if token]
        single = f"{begin + ':0 ' if begin else ''}$A:0{' ' + end + ':0' if end else ''}"
        self._tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=tokens)

    def _check_class(self, file: dict[str, Any]) -> None:
        kind = str(self._settings.get("tokenizer_class") or "")
        normalizer, splitter = file.get("normalizer") or {}, file.get("pre_tokenizer") or {}
        if kind in _TAKES_THE_FILE:
            return
        if kind in _QWEN2:
            steps = splitter.get("pretokenizers") or []
            pattern = ((steps[0].get("pattern") or {}).get("Regex") if steps else "") or ""
            if normalizer.get("type") == "NFC" and len(steps) == 2 and pattern == _QWEN2_PATTERN:
                return
        if kind in _BERT:
            same = (
                normalizer.get("type") == "BertNormalizer"
                and splitter.get("type") == "BertPreTokenizer"
                and normalizer.get("lowercase") is bool(self._settings.get("do_lower_case", True))
                and normalizer.get("handle_chinese_chars")
                is self._settings.get("tokenize_chinese_chars", True)
                and normalizer.get("strip_accents") == self._settings.get("strip_accents")
            )
            if same:
                return
        raise NoTokenizer(f"tokenizer class {kind or 'not named'}")


def _check(folder: Path, config: dict[str, Any]) -> None:
    kind = str(config.get("model_type") or "")
    architectures = config.get("architectures") or []
    if kind.startswith(_OTHER_RULES) or any(str(a).startswith(_OTHER_ARCHITECTURES) for a in architectures):
        raise NoTokenizer(f"model type {kind}")
    if (folder / "tekken.json").exists() or any(folder.glob("tokenizer.model.v*")):
        raise NoTokenizer("Mistral's own tokenizer")


def _templates(folder: Path, settings: dict[str, Any]) -> dict[str, ChatTemplate]:
    """By name. A file of its own goes before the settings; a processor's template cannot be relied on."""
    sources: dict[str, str] = {}
    given = settings.get("chat_template")
    if isinstance(given, str):
        sources["default"] = given
    elif isinstance(given, list):
        sources = {item["name"]: item["template"] for item in given}
    files = {path.stem: path for path in (folder / "additional_chat_templates").glob("*.jinja")}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = folder / "chat_template.jinja"
    if files:
        sources = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    elif any((folder / name).exists() for name in ("chat_template.json", "processor_config.json")):
        return {}
    made = {}
    for name, source in sources.items():
        try:
            made[name] = ChatTemplate(source)
        except jinja2.TemplateError:
            continue
    return made


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is absent. Raises NoTokenizer for one that cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NoTokenizer(f"{path.name}: {error}") from error
    if not isinstance(found, dict):
        raise NoTokenizer(f"{path.name} is no object")
    return found
