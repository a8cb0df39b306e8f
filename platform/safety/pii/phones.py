"""Telephone numbers: Chinese mobiles, and everything else that is dialled."""

from __future__ import annotations

import re
from typing import Final

import phonenumbers

from safety.pii import checks
from safety.pii.numbers import follows
from safety.pii.recogniser import Recogniser, Span, any_of, glued, recogniser, words

PHONE_WORDS: Final = words(
    "phone|tel|telephone|mobile|cell|cellphone|call|calls|called|calling|dial|ring|text|sms|whatsapp|fax|hotline",
    "landline|contact|contact number|reach|reached|reachable|ext|switchboard|callback|voicemail|helpline|signal",
    "phone number|number is|office|mob|ph|handy|wechat|viber|switchboard",
    "电话|手机|座机|固话|致电|拨打|拨|来电|打给|打到|打我|联系|热线|传真|短信|号码|总机|分机|联络|微信|通话|回电|呼叫|客服|机主",
    "電話|手機|致電|撥打|聯絡|傳真|熱線|來電",
)
# Words right before a number that make it another kind of number.
OTHER_WORDS: Final = words(
    "order|order id|order no|order number|invoice|invoice no|tracking|tracking no|tracking number|sku|isbn|issn|ean",
    "upc|part|part no|part number|serial|serial no|serial number|ticket|ticket no|case|case no|ref|reference|model",
    "item|batch|lot|build|version|commit|id|uid|user id|pid|po|po number|doi|policy|account|acct|account no|zip",
    "page|pages|timestamp|coordinates|receipt|transaction|product|article|docket|imei|hash|port|range|between|score",
    "订单|订单号|订单编号|单号|运单|运单号|快递单号|流水号|编号|序列号|发票号|发票号码|货号|型号|批号|条码|工号|学号|房号|票号|案号|卡号|账号",
    "商品编码|编码|产品|版本|共|总计|合计|参考号|工单|工单号|交易号|凭证号|合同号|车次|时间戳|坐标|邮编|金额|价格|证号|邮政编码|用户id|号段|区间",
    "訂單|訂單號|編號|單號",
)
# From such a word to its number: a few words that join them, no other number and no end of a sentence.
_JOINT: Final = (
    r"(?:[\s:#=.，,'\"“(/*_-]|(?:number|numbers|no|nr|num|is|was|are|at|me|us|on|him|her|them|it|the|to|my|our|your|his"
    r"|their|or|and|please|now|via|line|office|desk|back|mum|mom|dad|by|with|from|for|bookings|home|work|new|old|direct"
    r"|main|customer|service|support|phone|tel|mobile|cell|call|text|fax|whatsapp|abroad|changed)(?![a-z])"
    r"|[一-鿿、：，（“：]){0,12}"
)
_PHONE: Final = re.compile(rf"(?:{any_of(PHONE_WORDS)}){_JOINT}\+?$")
_OTHER: Final = re.compile(
    rf"(?:{any_of(OTHER_WORDS)})(?:\s?(?:is|no\.?|nr\.?|id|number|为|是|号))?[\s:#=.，,'\"(]*$"
)
_PREFIX_WORDS: Final = ("tel", "phone", "mobile", "fax", "call", "cell", "no", "p", "t", "m")

_EXTENSION: Final = r"(?:[ ,;]{0,2}(?:ext|extn|extension|x|#|转|轉|分机|转分机|轉分機)[.:： ]{0,2}[0-9]{1,6})"
_NATIONAL_REGIONS: Final = ("CN", "GB", "FR", "JP", "AU", "TW")
# How people group the eleven digits of a mobile.
_GROUPS: Final = frozenset(
    {
        (11,),
        (3, 4, 4),
        (4, 3, 4),
        (3, 3, 5),
        (3, 8),
        (7, 4),
        (5, 6),
        (2, 3, 3, 3),
        (3, 2, 3, 3),
        (3, 3, 3, 2),
        (1,) * 11,
    }
)

_MOBILE: Final = re.compile(
    r"(?P<prefix>[+(]{0,2}(?:00)?86\)?[ .\-]{0,2}(?:\(0\))?)?(?P<open>\()?"
    r"(?P<number>1[ .\-]?[3-9](?:[ .\-]?[0-9]){9})(?![0-9])"
)
_ABROAD: Final = re.compile(r"(?:\+|(?:\+ ?|(?<![0-9])00)(?!86)[0-9]{1,3}[) .\-]{0,2}\(?)$")
_SPELT: Final = re.compile(
    r"[一幺][三四五六七八九][零〇一幺二三四五六七八九]{9}(?![零〇一幺二三四五六七八九百千万])"
)
# Ways to write a number that stand without a word that says what it is.
_ALONE: Final = re.compile(
    "|".join(
        (
            rf"(?P<plus>\(?\+ ?\(?[1-9][0-9]{{0,2}}\)?(?:[ .\-/()]{{0,3}}[0-9]){{6,14}}{_EXTENSION}?)",
            r"(?P<zeros>00(?:86|852|853|886|44|1|49|33|81|82|61|65|39|34|91|7|55)[ .\-()]{0,2}[0-9]"
            r"(?:[ .\-/()]{0,2}[0-9]){6,12})",
            r"(?P<american>(?:1[ .\-]{1,2})?(?:\([2-9][0-9]{2}\)[ .\-]{0,2}|[2-9][0-9]{2}[.\-])"
            rf"[2-9][0-9]{{2}}[ .\-][0-9]{{4}}{_EXTENSION}?)",
            r"(?P<service>(?:400|800)(?:-[0-9]{3}-[0-9]{4}|-[0-9]{4}-[0-9]{3}| [0-9]{3} [0-9]{4}| [0-9]{4} [0-9]{3}"
            r"|-[0-9]{7}))",
            r"(?P<landline>(?:\(0[0-9]{2,3}\)[ \-]?|0[0-9]{2,3}[ \-]{1,2}|0[0-9]{2,3}\) ?)"
            rf"(?:[2-9][0-9]{{6,7}}|[2-9][0-9]{{2,3}}[ \-][0-9]{{4}})(?:-[0-9]{{3,5}})?{_EXTENSION}?)",
            rf"(?P<national>\(?0[1-9][0-9]{{0,4}}\)?(?:[ .\-/]{{1,2}}[0-9]{{2,8}}){{1,4}}{_EXTENSION}?)",
        )
    )
)
_AFTER_WORD: Final = re.compile(
    rf"\(?\+?[0-9](?:[ .\-/()]{{0,3}}[0-9]){{6,14}}(?:{_EXTENSION})?|[0-9]{{3,4}}[ -][0-9]{{4}}(?:{_EXTENSION})?"
)
_DIGITS: Final = re.compile(r"[^0-9]")
_DATE: Final = re.compile(
    r"(?:19|20)[0-9]{2}[ .\-/](?:0?[1-9]|1[0-2])[ .\-/](?:0?[1-9]|[12][0-9]|3[01])(?![0-9])"
    r"|(?:0?[1-9]|[12][0-9]|3[01])[ .\-/](?:0?[1-9]|[12][0-9]|3[01])[ .\-/](?:19|20)[0-9]{2}(?![0-9])"
    r"|(?:19|20)[0-9]{6}(?![0-9])|(?:19|20)[0-9]{2} ?- ?(?:19|20)[0-9]{2}(?![0-9])"
)
_ADDRESS: Final = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![.0-9])")


def mobile_spans(candidate: str, before: str) -> list[Span]:
    """Chinese mobiles with or without +86, in groups of at least two digits or digit by digit, or spelt out."""
    spelt = _SPELT.match(candidate)
    if spelt:
        return [spelt.span()]
    match = _MOBILE.search(candidate)
    if match is None:
        return []
    sizes = tuple(len(group) for group in re.split(r"[ .\-]", match["number"]))
    if sizes not in _GROUPS:
        return []
    ahead = before + candidate[: match.start()]
    if _ABROAD.search(ahead) or glued(ahead, _PREFIX_WORDS) or follows(candidate, match.end()):
        return []
    if not match["prefix"] and _OTHER.search(ahead[-24:].lower()):
        return []
    start = match.start("number") if match["open"] else match.start()
    if match["prefix"] and candidate[start] == "(" and ")" not in match["prefix"]:
        start += 1
    return [(start, match.end())]


def phone_spans(candidate: str, before: str) -> list[Span]:
    """Numbers in international form, in a country's usual form, or after a word that says so."""
    found: list[Span] = []
    place = 0
    while place < len(candidate):
        span = _next_phone(candidate, place, before)
        if span is None:
            break
        found.append(span)
        place = span[1]
    return found


def _next_phone(candidate: str, place: int, before: str) -> Span | None:
    for start in range(place, len(candidate)):
        if candidate[start] not in "+(0123456789" or (start > place and candidate[start - 1].isdigit()):
            continue
        ahead = before + candidate[:start]
        if glued(ahead, _PREFIX_WORDS) or (ahead and ahead[-1] in "+("):
            continue
        end = _phone_end(candidate, start, ahead)
        if end is not None:
            if candidate[start] == "(" and ")" not in candidate[start:end]:
                start += 1
            return start, end
    return None


def _phone_end(candidate: str, start: int, ahead: str) -> int | None:
    near = ahead[-48:].lower()
    if candidate[start] != "+" and re.search(r"[0-9][ .\-/]{0,3}\(?$", near):
        return None
    if _ADDRESS.match(candidate, start) or _DATE.match(candidate, start):
        return None
    other = _OTHER.search(near[-24:]) is not None
    match = _ALONE.match(candidate, start)
    if match and not follows(candidate, match.end()) and _stands(match, other):
        rows_on = match.lastgroup == "national" and re.match(r"[ .\-/]{1,3}[0-9]", candidate[match.end() :])
        return None if rows_on else match.end()
    if other or _PHONE.search(near) is None:
        return None
    match = _AFTER_WORD.match(candidate, start)
    if (
        match is None
        or follows(candidate, match.end())
        or (match.end() < len(candidate) and candidate[match.end()] == ":")
    ):
        return None
    digits = _DIGITS.sub("", match[0])
    if _taken(digits) or not 7 <= len(digits) <= 20 or len(set(digits)) == 1:
        return None
    return match.end()


def _taken(digits: str, abroad: bool = False) -> bool:
    """Whether the digits are data of another kind: a mobile, a card. `abroad`: they begin with a country's code."""
    bare = digits.removeprefix("00")
    bare = bare.removeprefix("86") if abroad or len(bare) > 11 else bare
    if (
        len(bare) == 11
        and bare[0] == "1"
        and bare[1] in "3456789"
        and (not abroad or bare != digits.removeprefix("00"))
    ):
        return True
    return len(digits) >= 13 and digits[0] != "0" and checks.card_length_fits(digits) and checks.luhn(digits)


def _stands(match: re.Match[str], other: bool) -> bool:
    """Whether a number in that form is one without a word beside it; `other`: a word speaks against it."""
    form = match.lastgroup
    number = re.split(r"(?:ext|x|#|转|轉|分机)", match[0], maxsplit=1)[0]
    digits = _DIGITS.sub("", number)
    if _taken(digits, abroad=form in ("plus", "zeros")) and form != "american":
        return False
    if form in ("plus", "zeros"):
        return _international(digits, exact=form == "zeros", other=other)
    if other:
        return False
    if form in ("american", "service", "landline"):
        return True
    return len(digits) >= 9 and any(_valid_in(region, digits) for region in _NATIONAL_REGIONS)


def _international(digits: str, *, exact: bool, other: bool) -> bool:
    """Whether the country's code exists and the length fits; `exact`: also whether the number can be given out."""
    try:
        parsed = phonenumbers.parse("+" + digits.removeprefix("00"))
    except phonenumbers.NumberParseException:
        return False
    if exact:
        return not other and phonenumbers.is_valid_number(parsed)
    return phonenumbers.is_possible_number(parsed)


def _valid_in(region: str, digits: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))
    except phonenumbers.NumberParseException:
        return False


RECOGNISERS: Final[tuple[Recogniser, ...]] = (
    recogniser(
        "CN_PHONE_NUMBER",
        "PHONE",
        r"(?:[+(]{0,2}(?:00)?86\)?[ .\-]{0,2}(?:\(0\))?)?\(?1[ .\-]?[3-9](?:[ .\-]?[0-9]){9}(?:[\-/.]?[0-9A-Za-z_])?"
        r"|[一幺][三四五六七八九][零〇一幺二三四五六七八九]{9}[零〇一幺二三四五六七八九百千万]?",
        36,
        mobile_spans,
        words("手机|电话|mobile|phone|tel|cell"),
    ),
    recogniser(
        "PHONE_NUMBER",
        "PHONE",
        r"(?:\(?\+ ?)?\(?[0-9](?:[ .\-/()]{0,3}[0-9]){6,18}"
        r"(?:[ ,;]{0,2}(?:ext|extn|extension|x|#|转|轉|分机|转分机|轉分機)[.:： ]{0,2}[0-9]{1,6})?"
        r"(?:[\-/.]?[0-9A-Za-z_:])?",
        100,
        phone_spans,
        PHONE_WORDS,
    ),
)
