"""The same text in the ways that an instruction may be hidden in it, each with its way back to the original.

Invisible characters, full width, look-alikes, combining marks and case are undone in every view. Other views: letters
written apart, digits for letters, backwards, ROT13, and what base64, hex, percent, escapes and entities decode to.
Each view is made only where something speaks for it; making all of them is linear in the length of the text.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from safety.pii.folding import fold, strip_ignorable

MAX_DEPTH: Final = 3  # encodings inside encodings
MIN_PAYLOAD: Final = 12  # characters of a decoded text that could say something
MIN_SHORT: Final = 6


class View(NamedTuple):
    """One reading of a text. `places` maps each character, and the end, to the original; None: the same places."""

    text: str
    places: Sequence[int] | None
    disguise: str = ""

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Where a span of this view lies in the original."""
        if self.places is None:
            return start, end
        low, high = self.places[start], self.places[end - 1]
        return min(low, high), max(low, high) + 1


# Letters that look like Latin ones, for the letters that the patterns are made of.
_LOOKALIKES: Final = str.maketrans(
    "аесорхуіјѕԁһӏкмтвнгАВЕКМНОРСТХУІЈЅαοεινρτυκχΑΒΕΖΗΙΚΜΝΟΡΤΥΧɑɡıʟɪᴏᴄᴇᴠᴀᴛꜱʀɴᴘᴍᴜʏʙᴅɢʜᴊᴋᴡᴢ",
    "aecopxyijsdhlkmtbhrABEKMHOPCTXYIJSaoeivptukxABEZHIKMNOPTYXagiLioceVatsrnpmuybdghjkwz",
)
# Traditional characters of the patterns.
_SIMPLIFIED: Final = str.maketrans(
    "略過規則設定顯請輸無視遺忘記系統開發現從們沒說話詞內給發遵須將對應應當複製貼導刪請問覆寫執當這個"
    "與為並會機議題違讓關閉鎖權繞檢審複轉譯編碼敘實際學習變遊戲擬飾演員檔據庫網頁連結時間後歷經頭傳遞"
    "訊聯",
    "略过规则设定显请输无视遗忘记系统开发现从们没说话词内给发遵须将对应应当复制贴导删请问覆写执当这个"
    "与为并会机议题违让关闭锁权绕检审复转译编码叙实际学习变游戏拟饰演员档据库网页连结时间后历经头传递"
    "讯联",
)
_MARKS: Final = re.compile("[\u0300-\u036f\u0489\u1ab0-\u1aff\u20d0-\u20ff]+")


def undisguised(text: str) -> View:
    """The text without invisible characters, marks and look-alikes; case as it was."""
    stripped, places = strip_ignorable(text)
    if not stripped.isascii():
        stripped, places = _without_marks(stripped, places)
        stripped = fold(stripped).translate(_LOOKALIKES)
    return View(stripped, places)


def plain(text: str) -> View:
    """The text without disguises of characters, in lower case and simplified Chinese."""
    view = undisguised(text)
    stripped, places = view.text, view.places
    if not stripped.isascii():
        stripped = stripped.translate(_SIMPLIFIED)
    lowered = stripped.lower()
    if len(lowered) != len(stripped):
        lowered = "".join(
            one if len(one) == 1 else letter for letter in stripped for one in (letter.lower(),)
        )
    return View(lowered, places)


def _without_marks(text: str, places: Sequence[int] | None) -> tuple[str, Sequence[int] | None]:
    if _MARKS.search(text) is None:
        return text, places
    return _without(text, places, _MARKS)


def _without(text: str, places: Sequence[int] | None, what: re.Pattern[str]) -> tuple[str, list[int]]:
    """`text` without the matches of `what`, and the places of what is left."""
    source = range(len(text) + 1) if places is None else places
    kept: list[str] = []
    left: list[int] = []
    last = 0
    for match in what.finditer(text):
        kept.append(text[last : match.start()])
        left.extend(source[last : match.start()])
        last = match.end()
    kept.append(text[last:])
    left.extend(source[last:])
    return "".join(kept), left


_APART: Final = re.compile(r"(?<![a-z0-9])(?:[a-z][ .\-_*|/,~+^]{1,3}){5,400}[a-z](?![a-z])")
_HAN_APART: Final = re.compile(r"[一-鿿](?:[ .\-_*|/,·~+、]{1,2}[一-鿿]){3}")
_HAN_GAP: Final = re.compile(r"(?<=[一-鿿])[ .\-_*|/,·~+、]{1,2}(?=[一-鿿])")
_INSIDE: Final = re.compile(r"[a-z]{2,12}[.\-_*|]{1,2}[a-z]{2,12}")
_INSIDE_GAP: Final = re.compile(r"(?<=[a-z])[.\-_*|]{1,2}(?=[a-z])")
_LEET: Final = re.compile(r"[a-z][0134578@$!|][a-z]|[0134578@$][a-z]{2}|[a-z]{2}[0134578@$]")
_LEET_I: Final = str.maketrans("013457@$!|8", "oieastasiib")
_LEET_L: Final = str.maketrans("013457@$!|8", "oleastasilb")
_BACKWARDS: Final = (
    "snoitcurtsni",
    "tpmorp",
    "selur ",
    "erongi",
    "drager",
    "seniledi",
    "令指",
    "词示提",
    "则规",
)
_ROTATED: Final = ("vtaber", "qvfertneq", "vafgehpgvba", "cebzcg", "sbetrg", "flfgrz", "thvqryva")


def disguised(view: View) -> Iterator[View]:
    """Views of letters put apart, replaced, turned round or rotated. `view` is a plain one."""
    text = view.text
    if _APART.search(text):
        yield _joined(view)
    if _HAN_APART.search(text):
        yield View(*_without(text, view.places, _HAN_GAP), "spaced")
    if _INSIDE.search(text):
        yield View(*_without(text, view.places, _INSIDE_GAP), "split words")
    if _LEET.search(text):
        first = text.translate(_LEET_I)
        yield View(first, view.places, "leet")
        second = text.translate(_LEET_L)
        if second != first:
            yield View(second, view.places, "leet")
    if any(word in text for word in _BACKWARDS):
        places = range(len(text)) if view.places is None else view.places[: len(text)]
        yield View(text[::-1], [*reversed(places), 0], "reversed")
    if any(word in text for word in _ROTATED):
        yield View(codecs.encode(text, "rot13"), view.places, "rot13")


def _joined(view: View) -> View:
    """Letters that stand alone put together; two separators in a row stay one space."""
    text, places = view.text, view.places
    source = range(len(text) + 1) if places is None else places
    kept: list[str] = []
    left: list[int] = []
    last = 0
    for run in _APART.finditer(text):
        kept.append(text[last : run.start()])
        left.extend(source[last : run.start()])
        for gap in re.finditer(r"[a-z]|[^a-z]{2,3}", run[0]):
            kept.append(gap[0] if len(gap[0]) == 1 else " ")
            left.append(source[run.start() + gap.start()])
        last = run.end()
    kept.append(text[last:])
    left.extend(source[last:])
    return View("".join(kept), left, "spaced")


_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-]{16,}(?:\r?\n[A-Za-z0-9+/_\-]{4,})*={0,2}")
_BASE32: Final = re.compile(r"[A-Z2-7]{24,}={0,6}")
_HEX: Final = re.compile(r"(?:(?:\\x|0x)?[0-9a-fA-F]{2}[ :,\n]{0,2}){12,}")
_BINARY: Final = re.compile(r"(?:[01]{8} ?){10,}")
_CODES: Final = re.compile(r"(?:\b(?:3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6])\b[ ,]{1,2}){11,}\d{2,3}")
_PERCENT: Final = re.compile(r"%[0-9a-fA-F]{2}")
_ESCAPE: Final = re.compile(
    r"\\u\{([0-9a-fA-F]{1,6})\}|\\U([0-9a-fA-F]{8})|\\[uU]([0-9a-fA-F]{4})|\\[xX]([0-9a-fA-F]{2})"
)
_ENTITY: Final = re.compile(r"&(?:#\d{2,6}|#[xX][0-9a-fA-F]{2,5}|[a-z]{2,6});")


def decoded(text: str, *, short: bool = False) -> Iterator[tuple[str, int, int, str]]:
    """What parts of `text` decode to: the decoded text, start and end of the part, and the encoding's name.

    `short` is for who looks for a few letters only; it decodes many ordinary words as well.
    """
    for pattern, decode, name in _SHORT_CODECS if short else _CODECS:
        for match in pattern.finditer(text):
            content = decode(match[0])
            if content is not None and len(content) >= (MIN_SHORT if short else MIN_PAYLOAD):
                yield content, match.start(), match.end(), name
    for pattern, replace, name in _INLINE:
        if len(pattern.findall(text, 0, 200_000)) >= 4 or sum(1 for _ in pattern.finditer(text)) >= 4:
            yield replace(text), 0, len(text), name


def _readable(data: bytes) -> str | None:
    """Bytes as text, None when they are none."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    # Invisible characters do not make bytes that are no text: they are a disguise below the encoding.
    odd = sum(
        1
        for letter in text[:400]
        if not letter.isprintable() and letter not in "\n\r\t" and unicodedata.category(letter) != "Cf"
    )
    return None if odd * 20 > min(len(text), 400) else text


def _from_base64(part: str) -> str | None:
    """The text of base64 in one or more lines; words in lines right before or after it are left away."""
    lines = part.split()
    for first, last in ((0, len(lines)), (0, len(lines) - 1), (1, len(lines)), (0, 1)):
        content = _one_base64("".join(lines[first:last]))
        if content is not None:
            return content
    return None


def _one_base64(part: str) -> str | None:
    compact = re.sub(r"[\s=]", "", part).replace("-", "+").replace("_", "/")
    for drop in range(2):
        usable = compact[: len(compact) - drop]
        if len(usable) % 4 != 1:
            try:
                return _readable(base64.b64decode(usable + "=" * (-len(usable) % 4)))
            except (ValueError, binascii.Error):
                return None
    return None


def _from_base32(part: str) -> str | None:
    compact = part.rstrip("=")
    try:
        return _readable(base64.b32decode(compact + "=" * (-len(compact) % 8)))
    except (ValueError, binascii.Error):
        return None


def _from_hex(part: str) -> str | None:
    return _readable(bytes.fromhex("".join(re.findall(r"(?:\\x|0x)?([0-9a-fA-F]{2})", part))))


def _from_binary(part: str) -> str | None:
    return _readable(bytes(int(byte, 2) for byte in re.findall(r"[01]{8}", part)))


def _from_codes(part: str) -> str | None:
    return "".join(chr(int(code)) for code in re.findall(r"\d+", part) if 31 < int(code) < 127)


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = int(match[match.lastindex or 0], 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "?"

    return _ESCAPE.sub(one, text)


def _unquote(text: str) -> str:
    return urllib.parse.unquote(text.replace("+", " "), errors="replace")


_CODECS: Final[tuple[tuple[re.Pattern[str], Callable[[str], str | None], str], ...]] = (
    (_BASE64, _from_base64, "base64"),
    (_BASE32, _from_base32, "base32"),
    (_HEX, _from_hex, "hex"),
    (_BINARY, _from_binary, "binary"),
    (_CODES, _from_codes, "character codes"),
)
_SHORT_CODECS: Final[tuple[tuple[re.Pattern[str], Callable[[str], str | None], str], ...]] = (
    (re.compile(r"[A-Za-z0-9+/_\-]{10,}(?:\r?\n[A-Za-z0-9+/_\-]{4,})*={0,2}"), _from_base64, "base64"),
    (re.compile(r"[A-Z2-7]{13,}={0,6}"), _from_base32, "base32"),
    (re.compile(r"(?:(?:\\x|0x)?[0-9a-fA-F]{2}[ :,\n]{0,2}){8,}"), _from_hex, "hex"),
    (re.compile(r"(?:[01]{8} ?){8,}"), _from_binary, "binary"),
    (re.compile(r"(?:\b\d{2,3}\b[ ,]{1,2}){7,}\d{2,3}"), _from_codes, "character codes"),
)
_INLINE: Final[tuple[tuple[re.Pattern[str], Callable[[str], str], str], ...]] = (
    (_PERCENT, _unquote, "percent"),
    (_ESCAPE, _unescape, "escapes"),
    (_ENTITY, html.unescape, "entities"),
)
