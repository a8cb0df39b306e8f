"""The rules that the platform comes with. Data; `safety.services.builtin` brings them into the draft.

Raise REVISION with every addition: what is new since is then added where the platform runs already. Names are
English here and translated where they are shown (`PlatformRule.shown_name`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.utils.translation import gettext_noop as _

REVISION = 1

PERSONAL = "personal-data"
SECRETS = "secrets"
INJECTION = "prompt-injection"
ILLEGAL = "illegal-content"


class BuiltinRule(NamedTuple):
    """One rule: its key, the revision that brought it, its columns, and the words of its list where it has one."""

    key: str
    since: int
    fields: dict[str, Any]
    terms: tuple[str, ...] = ()


# Recogniser → (key, name). A recogniser without a line here becomes `pii.<its name>`.
_PERSONAL = {
    "EMAIL_ADDRESS": ("pii.email", _("E-mail addresses")),
    "PHONE_NUMBER": ("pii.phone", _("Phone numbers")),
    "CN_PHONE_NUMBER": ("pii.cn_mobile", _("Chinese mobile numbers")),
    "CN_RESIDENT_ID": ("pii.cn_resident_id", _("Chinese resident identity numbers")),
    "CREDIT_CARD": ("pii.bank_card", _("Bank card numbers")),
    "IBAN_CODE": ("pii.iban", _("Bank account numbers (IBAN)")),
    "IP_ADDRESS": ("pii.ip_address", _("IP addresses")),
}
_SECRETS = {
    "API_KEY": ("secret.api_key", _("API keys")),
    "PRIVATE_KEY": ("secret.private_key", _("Private keys")),
}


def personal(entities: Iterable[str]) -> list[BuiltinRule]:
    """A rule for each recogniser.

    Personal data is recorded on the way in and left alone on the way out; tenants decide. Credentials are masked in
    answers, and tenants can go down to recording them.
    """
    found = []
    for entity in entities:
        secret = _SECRETS.get(entity)
        key, name = secret or _PERSONAL.get(entity) or (f"pii.{entity.lower()}", entity)
        fields: dict[str, Any] = {
            "name": name,
            "kind": "pii",
            "entity": entity,
            "category": SECRETS if secret else PERSONAL,
            "severity": "high" if secret else "medium",
            "action_in": "flag",
            "action_out": "mask" if secret else "off",
            "tenant_controlled": True,
            "loosest_in": "off",
            "loosest_out": "flag" if secret else "off",
        }
        found.append(BuiltinRule(key, 1, fields))
    return found


INJECTIONS = (
    BuiltinRule(
        "injection.suspected",
        1,
        {
            "name": _("Suspected prompt injection"),
            "kind": "injection",
            "category": INJECTION,
            "severity": "medium",
            "threshold": 60,
            "action_in": "flag",
            "tenant_controlled": True,
            "loosest_in": "off",
        },
    ),
    BuiltinRule(
        "injection.certain",
        1,
        {
            "name": _("Almost certain prompt injection"),
            "kind": "injection",
            "category": INJECTION,
            "severity": "high",
            "threshold": 90,
            "action_in": "block",
            "tenant_controlled": True,
            "loosest_in": "flag",
        },
    ),
    BuiltinRule(
        "canary.leaked",
        1,
        {
            "name": _("System prompt on its way out"),
            "kind": "canary",
            "category": INJECTION,
            "severity": "critical",
            "action_out": "block",
            "tenant_controlled": True,
            "loosest_out": "mask",
        },
    ),
)


def _illegal(key: str, name: str, *terms: str) -> BuiltinRule:
    fields = {
        "name": name,
        "kind": "terms",
        "category": ILLEGAL,
        "severity": "critical",
        "whole_words": True,
        "action_in": "block",
        "action_out": "block",
    }
    return BuiltinRule(key, 1, fields, terms)


# A beginning, for operators to go on from. Whole phrases that ask for the thing itself: single words would also meet
# news, law and help.
ILLEGAL_CONTENT = (
    _illegal(
        "illegal.weapons",
        _("Making of explosives and weapons"),
        *("how to make a pipe bomb", "how to build a pipe bomb", "pipe bomb instructions"),
        *("how to make a bomb at home", "homemade bomb recipe", "how to make explosives at home"),
        *("how to 3d print a working gun", "how to make an untraceable gun", "how to make nerve gas"),
        *("自制炸弹教程", "炸弹制作方法", "土制炸弹的做法", "如何制作炸弹", "怎么制造炸弹", "自制炸药配方"),
        *("自制枪支教程", "如何自制枪支", "3d打印枪支教程", "神经毒气制作方法"),
    ),
    _illegal(
        "illegal.drugs",
        _("Making of drugs"),
        *("how to cook meth", "how to make meth", "how to cook methamphetamine", "meth recipe at home"),
        *("how to synthesize methamphetamine", "how to make fentanyl", "how to synthesize fentanyl"),
        *("how to make crack cocaine", "how to make heroin"),
        *("冰毒制作方法", "如何制作冰毒", "怎么制作冰毒", "冰毒合成教程", "自制毒品教程", "芬太尼合成方法"),
        *("海洛因制作方法", "制毒教程"),
    ),
    _illegal(
        "illegal.minors",
        _("Sexual content with minors"),
        *("child porn videos", "child porn pictures", "download child porn", "preteen porn"),
        *("sexual story about a child", "sexual story with a minor"),
        *("儿童色情视频", "儿童色情图片", "儿童色情资源", "未成年人色情视频", "幼女视频资源"),
    ),
)


def rules(entities: Iterable[str]) -> list[BuiltinRule]:
    """All of them, given the recognisers that there are."""
    return [*personal(entities), *INJECTIONS, *ILLEGAL_CONTENT]
