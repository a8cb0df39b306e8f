"""E-mail addresses, also disguised ones, and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import phonenumbers

from safety.pii.recogniser import Recogniser, Span, any_of, recogniser, words

_LOCAL: Final = r"[A-Za-z0-9À-ÖØ-öø-ÿ_](?:[A-Za-z0-9À-ÖØ-öø-ÿ._%+'\-]{0,63})"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,40})"
_AT: Final = r"(?: ?@ ?| {0,2}[\[({<][ ]?(?:at|AT|At|@|艾特|爱特)[ ]?[\])}>] {0,2}|艾特)"
_DOT: Final = r"(?:\.| {0,2}[\[({<][ ]?(?:dot|DOT|Dot|\.|点)[ ]?[\])}>] {0,2}|点)"
_HOSTS: Final = (
    r"(?:qq|vip\.qq|163|126|yeah|gmail|foxmail|hotmail|outlook|sina|sohu|139|189|aliyun|yahoo|icloud)"
)
_DOT_NAMED: Final = r" {0,2}[\[({<][ ]?(?:dot|DOT|Dot)[ ]?[\])}>] {0,2}[A-Za-z0-9_\-]{1,40}"
EMAIL_PATTERN: Final = (
    rf"{_LOCAL}(?:{_DOT_NAMED}){{0,3}}{_AT}(?:{_LABEL}{_DOT}){{1,5}}[A-Za-z]{{2,24}}"
    rf"|{_LOCAL} (?:at|AT) {_LABEL}(?: (?:dot|DOT) {_LABEL}){{0,3}} (?:dot|DOT) [A-Za-z]{{2,12}}"
    rf"|{_LOCAL}#{_HOSTS}\.(?:com|cn|net)"
)
# What stands after the last dot of a file, not of a domain.
_FILES: Final = frozenset(
    words(
        "png|jpg|jpeg|gif|svg|webp|ico|bmp|css|scss|less|js|mjs|cjs|jsx|ts|tsx|json|yaml|yml|toml|ini|cfg",
        "conf|xml|html|htm|txt|log|csv|tsv|pdf|doc|docx|xls|xlsx|ppt|pptx|py|pyc|rb|php|java|class|jar|war|kt",
        "go|rs|swift|cpp|hpp|lock|tgz|gz|bz2|tar|xz|whl|gem|exe|dll|bin|mp3|mp4|wav|avi|mov|ttf|woff|woff2",
        "map|env|sql|bak|tmp|alpha|beta|rc",
    )
)
_ENDINGS: Final = frozenset(region.lower() for region in phonenumbers.SUPPORTED_REGIONS) | frozenset(
    words(
        "com|net|org|edu|gov|mil|int|info|biz|io|ai|app|dev|me|co|tv|cc|uk|eu|asia|xyz|top|vip|shop|site",
        "online|tech|cloud|pro|mobi|name|museum|club|store|blog|live|news|email|group|wiki|design|agency",
        "studio",
    )
)
# Before " at host dot com", these are no name of a mailbox.
_NO_NAMES: Final = frozenset(
    words(
        "look|looks|looking|meet|met|find|found|hosted|host|available|live|lives|visit|visits|us|is|are|based",
        "located|work|works|see|seen|sold|buy|online|here|there|it|that|this|them|page|site|store|shop|docs",
        "blog|start|and|or|listed|published|was|were|be|sign|up|out|in|on|down|over|back|started|read|more",
        "try|arrives|arrived",
    )
)
_SEPARATOR: Final = re.compile(r" ?[\[({<] ?(?:at|@|艾特|爱特) ?[\])}>] ?|艾特| at |#|@", re.I)
_DOTS: Final = re.compile(r" {0,2}[\[({<] ?(?:dot|\.|点) ?[\])}>] {0,2}| dot |点|\.", re.I)
_PASSWORD: Final = re.compile(r"[a-z][a-z0-9+.\-]*://[^\s/@]*$", re.I)


def email_spans(candidate: str, before: str) -> list[Span]:
    """Addresses, also as `name (at) host (dot) com`, `name艾特qq点com`, `name#qq.com`.

    Not: the password in front of a host in a URL, `git@host`, versions (`lodash@4.17.21`), files (`icon@2x.png`).
    """
    at = _SEPARATOR.search(candidate)
    if at is None:
        return []
    local, domain = candidate[: at.start()], candidate[at.end() :]
    start = len(local) - len(local.lstrip(".'%+-"))
    if local.lower() in ("git", "svn", "hg") or (before and before[-1] in "/@" and "://" not in before[-3:]):
        return []
    if _PASSWORD.search(before) and not before.lower().endswith("mailto://"):
        return []
    labels = _DOTS.split(domain.strip())
    end = len(candidate)
    # `…@host.com.Then`: the next sentence begins without a space.
    while len(labels) > 2 and labels[-1].lower() not in _ENDINGS and labels[-2].lower() in _ENDINGS:
        end = _last_dot(candidate, at.end(), end)
        labels.pop()
    last = labels[-1].lower()
    if last in _FILES or (labels[0].isdigit() and labels[1].isdigit()):
        return []
    if "#" in at[0] or at[0] == " at ":
        return [(start, end)] if last in _ENDINGS and local.lower() not in _NO_NAMES else []
    if at[0] == "@" and candidate[at.start() - 1 : at.start()] == " " and last not in _ENDINGS:
        return []
    return [(start, end)]


def _last_dot(candidate: str, low: int, high: int) -> int:
    found = high
    for match in _DOTS.finditer(candidate, low, high):
        found = match.start()
    return found


IP_WORDS: Final = words(
    "ip|ipv4|ipv6|address|server|host|hosts|node|gateway|dns|subnet|router|client|ping|ssh|from|nameserver|vpn|proxy",
    "connect|connected|login|logged|firewall|source|peer|地址|服务器|主机|网关|登录|来源|节点|代理|公网|内网|客户端|解析|域名服务器",
)
_VERSION_WORDS: Final = words(
    "version|versions|ver|v|release|released|firmware|build|section|sections|chapter|clause|rule|article|table",
    "figure|paragraph|chrome|firefox|edge|safari|upgrade to|upgraded to|update to|updated to|oid|revision|rev|kernel",
    "driver|sdk|appendix|item|step|requirement|windows|android|ios|office|dotnet|jdk|file version|assembly",
    "版本|版本号|升级到|更新到|升级至|固件|章节|条款|第|参见|见|附录|附件|条|节|章|驱动|内核|编号|发布|回滚到|退回到",
)
_VERSION: Final = re.compile(rf"(?:{any_of(_VERSION_WORDS)})[\s:=#/\"'v(]*$")
_IP: Final = re.compile(any_of(IP_WORDS))
_PUBLIC: Final = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9", "4.4.4.4", "5.5.5.5"})
_V4: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


def ip_spans(candidate: str, before: str) -> list[Span]:
    """IPv4 and IPv6 addresses.

    Four numbers of one digit each are an address only after a word that says so (else a version or a section),
    and never after a word such as "version". Netmasks and the unspecified address are nobody's.
    """
    if ":" in candidate:
        return _v6_spans(candidate, before)
    if before and (before[-1].isascii() and (before[-1].isalnum() or before[-1] == "_")):
        return []
    match = _V4.match(candidate)
    if match is None or re.match(r"[0-9A-Za-z_]|\.[0-9]", candidate[match.end() :]):
        return []
    address = match[0]
    parts = address.split(".")
    if any(int(part) > 255 or (len(part) > 1 and part[0] == "0") for part in parts):
        return []
    near = before[-32:].lower()
    if re.search(r"[0-9][.-]$|[a-z]/$|[a-z]-$", near) and not near.endswith(("ip-", "//")):
        return []
    if address.startswith("255.") or address == "0.0.0.0" or _VERSION.search(near):  # noqa: S104
        return []
    if all(len(part) == 1 for part in parts) and address not in _PUBLIC and not _IP.search(near):
        return []
    return [match.span()]


def _v6_spans(candidate: str, before: str) -> list[Span]:
    if candidate[0] == ":" and candidate[1:2] != ":":  # the colon of `IP:2001:…`
        return [(start + 1, end + 1) for start, end in _v6_spans(candidate[1:], "")]
    if before and (
        before[-1] == ":" or (before[-1].isascii() and (before[-1].isalnum() or before[-1] == "_"))
    ):
        return []
    text = candidate.rstrip("GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz_")
    if text != candidate:
        return []
    text = text.rstrip(".")
    if text.endswith(":") and not text.endswith("::"):
        text = text[:-1]
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return []
    groups = [group for group in text.split(":") if group]
    if len(groups) == 8 and all(len(group) == 2 for group in groups):
        return []  # an EUI-64
    if text == "::" or (len(groups) < 3 and text != "::1" and not _routable(groups)):
        return []
    return [(0, len(text))]


def _routable(groups: list[str]) -> bool:
    """Whether a short form such as `fe80::1` is an address and no name of a namespace."""
    return (
        len(groups) == 2
        and len(groups[0]) == 4
        and groups[0][0] in "2fF"
        and any(c.isdigit() for c in "".join(groups))
    )


RECOGNISERS: Final[tuple[Recogniser, ...]] = (
    recogniser("EMAIL_ADDRESS", "EMAIL", EMAIL_PATTERN, 511, email_spans),
    recogniser(
        "IP_ADDRESS",
        "IP",
        r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:\.?[0-9A-Za-z_])?"
        r"|(?:[0-9A-Fa-f]{0,4}:){2,39}(?:[0-9A-Fa-f]{1,4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})?[A-Za-z_]?",
        216,
        ip_spans,
        IP_WORDS,
    ),
)
