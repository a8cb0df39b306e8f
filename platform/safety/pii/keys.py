"""Keys to other systems: API keys by their form, other secrets by the word before them, private keys."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

from safety.pii.recogniser import Recogniser, Span, any_of, recogniser, words

_B64: Final = "[A-Za-z0-9_\\-]"
# Issuer and form. Each begins with letters that say whose it is.
FORMS: Final[dict[str, str]] = {
    "atrium": rf"atr-[a-z0-9]{{8}}-{_B64}{{43}}[0-9A-Za-z]{{6}}",
    "openai, anthropic and those that copy them": rf"sk-{_B64}{{16,200}}",
    "aws": r"(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA|ANVA|AIPA)[A-Z0-9]{16}",
    "github": r"gh[pousr]_[A-Za-z0-9]{30,100}|github_pat_[A-Za-z0-9_]{22,110}",
    "gitlab": rf"gl(?:pat|dt|rt|ptt|cbt|soat|ft)-{_B64}{{20,64}}",
    "google": rf"AIza{_B64}{{33,39}}|GOCSPX-{_B64}{{24,32}}|ya29\.{_B64}{{20,220}}",
    "slack": r"xox[abeoprs]-[A-Za-z0-9\-]{10,120}|xapp-[0-9]-[A-Za-z0-9\-]{20,120}"
    r"|hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,28}",
    "stripe": r"(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,110}|whsec_[A-Za-z0-9+/=]{24,64}",
    "hugging face, replicate, groq, xai, perplexity": r"hf_[A-Za-z]{30,40}|hf_[A-Za-z0-9]{30,40}|r8_[A-Za-z0-9]{37}"
    r"|gsk_[A-Za-z0-9]{40,60}|xai-[A-Za-z0-9]{40,90}|pplx-[A-Za-z0-9]{40,60}",
    "package registries": rf"npm_[A-Za-z0-9]{{36}}|pypi-{_B64}{{50,200}}|dckr_pat_{_B64}{{20,40}}",
    "mail": rf"SG\.{_B64}{{16,32}}\.{_B64}{{32,64}}|key-[0-9a-f]{{32}}|re_[A-Za-z0-9]{{6,12}}_[A-Za-z0-9]{{20,30}}",
    "twilio": r"(?:SK|AC)[0-9a-f]{32}",
    "clouds in china": r"LTAI[A-Za-z0-9]{12,26}|AKID[A-Za-z0-9]{28,36}|AKLT[A-Za-z0-9]{20,60}",
    "telegram": rf"[0-9]{{8,10}}:AA{_B64}{{32,36}}",
    "digitalocean, vault, linear, notion, shopify, databricks, doppler, atlassian, postman, square, figma": (
        rf"do[opr]_v1_[a-f0-9]{{64}}|hv[sb]\.{_B64}{{24,200}}|lin_api_[A-Za-z0-9]{{32,48}}|ntn_[A-Za-z0-9]{{40,60}}"
        rf"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{{32}}|dapi[a-f0-9]{{32}}|dp\.[a-z]{{2,5}}\.[A-Za-z0-9]{{40,48}}"
        rf"|ATATT3{_B64}{{60,240}}|PMAK-[a-f0-9]{{24}}-[a-f0-9]{{34}}|sq0[a-z]{{3}}-{_B64}{{22,43}}|fig[dou]_{_B64}{{36,60}}"
    ),
    "json web token": rf"eyJ{_B64}{{8,300}}\.eyJ{_B64}{{8,1000}}{_B64}{{0,200}}(?:\.{_B64}{{0,400}})?",
}
_FORM: Final = re.compile("|".join(f"(?:{form})" for form in FORMS.values()))
# Any word of its own that is long enough to be a secret.
_WORD: Final = r"[A-Za-z0-9_\-+/.~]{16,256}={0,2}"
_LOOSE_PREFIX: Final = re.compile(rf"sk-|pk_|key-|re_|{_B64}{{0,3}}$")

KEY_WORDS: Final = words(
    "api key|apikey|api token|api secret|secret key|secret|access key|access token|auth token|token|client secret",
    "private token|bearer|authorization|x-api-key|refresh token|session token|app secret|app key|license key",
    "signing key|encryption key|webhook secret|account key|shared key|sas token|master key|service key|deploy key",
    "passphrase|credential|credentials|secret access key|key|basic",
    "密钥|秘钥|密匙|令牌|口令|凭证|凭据|授权码|访问码|私钥|金鑰|權杖|apikey",
)
_KEY: Final = re.compile(
    rf"(?:{any_of(KEY_WORDS)})[\"'`”’*_)\]]{{0,3}}\s{{0,3}}"
    r"(?:(?:[a-z ]{0,24}\s)?(?:is|was|:|=|=>|:=|->|to|as|这是)|[：:=]|[一-鿿]{0,6}(?:是|为|：|:|=|給你|给你|如下|叫)|)"
    r"(?:\s*(?:bearer|basic|token)\s)?[\s\"'`“‘:：=，,(（*_\[]{0,6}$"
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
# Words that a name or a path consists of, but no secret.
_NAMELIKE: Final = re.compile(
    r"(?:[A-Za-z]+[_\-./]){2,}[A-Za-z]*[0-9]{0,4}|[/.].*|(?:19|20)[0-9]{2}[-/.].*|v?[0-9.]+|.*\.[a-z]{2,4}"
)


def entropy(text: str) -> float:
    """Bits per character, by how often each occurs."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values())


def api_key_spans(candidate: str, before: str) -> list[Span]:
    """Keys of known forms anywhere; otherwise a long mixed word after a word such as "api key" or 密钥."""
    match = _FORM.match(candidate)
    if match:
        if before and before[-1].isascii() and (before[-1].isalnum() or before[-1] == "_"):
            return []
        return [match.span()] if _form_is_real(match[0]) else []
    value = candidate.rstrip(".-/_~+")
    if not 16 <= len(value) <= 256 or (before and before[-1] in "@/\\."):
        return []
    if not _looks_random(value) or _KEY.search(before.lower()) is None:
        return []
    return [(0, len(value))]


def _form_is_real(text: str) -> bool:
    """Forms with a short prefix also fit names: `sk-learn-pipeline-for-beginners`."""
    if not text.startswith(("sk-", "key-", "re_", "hf_", "xox", "npm_")):
        return True
    body = text.split("-", 1)[-1] if "-" in text[:4] else text[3:]
    return any(letter.isdigit() for letter in body) and entropy(body) >= 2.8 and len(set(body)) >= 8


def _looks_random(value: str) -> bool:
    if _UUID.fullmatch(value):
        return True
    digits = sum(letter.isdigit() for letter in value)
    letters = sum(letter.isalpha() for letter in value)
    if not digits or letters < 2 or _NAMELIKE.fullmatch(value):
        return False
    return entropy(value) >= (3.0 if digits > 1 else 3.7)


_KIND: Final = r"(?:[A-Z0-9]{2,12} ){0,4}"
# ASCII up to the next comma, dot or dash; two ranges only, since RE2 copies them 7,000 times. A key of 8,192 bits has
# 6,500 characters; a repetition of RE2 ends at 1,000.
_BODY: Final = r"[\t-+/-~]"
PRIVATE_KEY_PATTERN: Final = (
    rf"-{{4,5}} ?BEGIN {_KIND}PRIVATE KEY(?: BLOCK)? ?-{{4,5}}"
    r"(?:[\\rn\s]{1,8}(?:Version|Comment|Hash|Proc-Type|DEK-Info|Charset): ?[^\r\n\\]{0,100}){0,4}"
    + f"{_BODY}{{0,1000}}" * 7
    + rf"(?:-{{4,5}} ?END {_KIND}PRIVATE KEY(?: BLOCK)? ?-{{4,5}})?"
)
_BEGIN: Final = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_END: Final = re.compile(r"-{4,5} ?END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}$")
_CHUNK: Final = re.compile(r"[A-Za-z0-9+/=]{16,}")


def private_key_spans(candidate: str, before: str) -> list[Span]:
    """PEM and PGP private keys, also cut off before their end. The mention of a header is none."""
    del before
    begin = _BEGIN.match(candidate)
    if begin is None:
        return []
    chunks = list(_CHUNK.finditer(candidate, begin.end()))
    if not any(re.search(r"[0-9+/]", chunk[0]) or len(chunk[0]) > 32 for chunk in chunks):
        return []
    return [(0, len(candidate) if _END.search(candidate) else _tail_end(candidate, chunks[-1].end()))]


def _tail_end(candidate: str, end: int) -> int:
    """Where a cut key ends: its last line may be shorter than the others."""
    rest = re.match(r"(?:\\n|\s){1,4}[A-Za-z0-9+/]*[0-9+/=][A-Za-z0-9+/=]*", candidate[end:])
    return end + rest.end() if rest else end


RECOGNISERS: Final[tuple[Recogniser, ...]] = (
    recogniser("PRIVATE_KEY", "PRIVATE_KEY", PRIVATE_KEY_PATTERN, 7_700, private_key_spans),
    recogniser("API_KEY", "API_KEY", "|".join((*FORMS.values(), _WORD)), 1_920, api_key_spans, KEY_WORDS),
)
