"""What an injection says, in English, continued: forms that join what the signals of `signals` find alone."""

from __future__ import annotations

from typing import Final

from safety.injection.signals import _ORDERS, _REMOVE, _RULES, Signal, gap

SIGNALS: Final[tuple[Signal, ...]] = (
    # Both halves of what the others find alone.
    Signal(
        "remove orders given",
        "override",
        66,
        85,
        rf"{_REMOVE}{gap(3)}{_ORDERS}{gap(2)}(?:you (?:were|have|had|got)|given|above|provided"
        rf"|received|from (?:your|the) (?:system|developer))",
    ),
    Signal(
        "orders no longer apply",
        "override",
        66,
        85,
        rf"(?:{_ORDERS}|{_RULES}){gap(5)}(?:no longer (?:apply|applies|valid|matter|in "
        rf"(?:effect|force)|binding)|(?:did ?n'?t|do ?n'?t|never|no longer) exist(?:ed)?"
        rf"|can be ignored)",
    ),
    Signal(
        "a machine without restrictions",
        "persona",
        66,
        76,
        r"\b(?:pretend|act|be|become|respond|answer|imagine|simulate|role-?play|you are"
        r"|you'?re|you (?:now )?have|you will|as an? (?:ai|model|llm)|ai|bot|gpt|chatbot"
        r"|language model|assistant|character)\b"
        rf"{gap(8)}(?:without|no|free (?:from|of)|not have|not bound by|unbound by|removed) "
        rf"(?:any |all |the |of |your |its |of its |more )?(?:(?:ethical|moral|safety|content"
        rf"|legal|openai|usual|and|or) ?){{0,3}}(?:restrictions?|limitations?|filters?"
        rf"|censorship|guidelines?|constraints?|guardrails?|morals?|ethics|content policy"
        rf"|policies|safeguards?|moral boundaries|moral limits)\b",
    ),
    Signal(
        "an uncensored machine",
        "persona",
        64,
        74,
        r"\b(?:simulate|act (?:as|like)|become|be|pretend (?:to be|you(?:'re| are))|you are"
        r"(?: now)?|you'?re|respond as|answer as|role-?play(?: as)?|imagine (?:you(?:'re"
        r"| are)|being)|play|speak as|behave (?:like|as)|emulate)\b"
        rf"{gap(3)}(?:uncensored|unrestricted|unfiltered|unaligned|jailbroken|amoral|immoral"
        rf"|evil|rogue|unmoderated|unethical|lawless)(?:[ ,-]{{1,2}}[a-z]+){{0,2}} (?:language models?"
        rf"|models?|ai|a\.i\.|assistants?|chat ?bots?|bots?|gpt|llms?|version|machine|intelligence"
        rf"|twin)\b|machiavellian.{{0,60}}(?:amoral|unfiltered)|aim ?: ?always intelligent",
    ),
    Signal(
        "you must not refuse",
        "persona",
        64,
        74,
        r"\b(?:you|it|he|she|who|that|ai|bot|model|assistant|[a-z]+(?:bot|gpt)) (?:must "
        r"|will |should |shall |can |could |may |is |are |do |does )?(?:now )?(?:never"
        r"|not|cannot|can'?t|won'?t|does(?:n't|nt)|don'?t|unable to|not allowed to|forbidden to) "
        r"(?:ever )?(?:refuses?|decline|say (?:that you can'?t|no to)|reject (?:any|my"
        r"|a) )",
    ),
    Signal(
        "lawless fiction",
        "persona",
        64,
        70,
        r"\b(?:no (?:laws?|rules|ethics|morals|restrictions)|everything is (?:legal|allowed)"
        r"|laws (?:do not|don'?t) (?:apply|exist)).{0,80}\b(?:how (?:to|do|would|one)"
        r"|explain|describe|instructions?|steps?|teach|recipe)\b.{0,60}\b(?:bombs?|meth"
        r"|drugs?|weapons?|explosives?|poison|hack|malware|kill|steal|napalm|counterfeit"
        r"|launder|kidnap)\b",
    ),
    Signal(
        "mode with an order",
        "override",
        64,
        76,
        r"\b(?:developer|dev|debug|god|admin|root|sudo|maintenance|unrestricted|jailbreak"
        r"|dan|override) mode\b.{0,12}(?:enabled|activated|: ?on\b|unlocked|engaged|output"
        r"|confirmed)|\b(?:enable|enter|activate|switch to|engage) (?:the )?(?:developer"
        r"|debug|god|admin|root|sudo|maintenance|unrestricted|jailbreak|dan|override) mode "
        r"(?:and|now|for this|then|so)\b|jailbreak(?:ed)? mode",
    ),
    Signal(
        "speaks of your prompt",
        "extraction",
        54,
        68,
        r"\byour (?:(?:full|entire|exact|original|initial|hidden|secret|internal|own|current"
        r"|raw|confidential|underlying) ){0,3}(?:system[ -]?(?:prompt|message|instructions?)"
        r"|pre-?prompt|hidden (?:prompt|instructions?|rules)|initial (?:prompt|instructions?)"
        r"|developer (?:message|prompt|instructions?)|original (?:prompt|instructions?)"
        r"|secret (?:prompt|instructions?|key|rules))\b"
        r"|\b(?:role|with role|the role) [\"'`]?(?:system|developer)\b",
    ),
    Signal(
        "top of the chat",
        "extraction",
        64,
        76,
        r"\b(?:what(?:'s| is| was| does| did)?|show|tell|repeat|print|read|give|copy|quote)\b.{0,50}\b"
        r"(?:top|beginning|start|very first (?:line|message)|head) of (?:this|our|the"
        r"|your) (?:chat|conversation|context|session|window|thread|discussion)\b"
        r"|\bwhat(?:'s| is| was) the (?:first|last|second|third|exact|full) (?:\w+ ){0,3}"
        r"(?:of|in) (?:the|your) (?:prompt|instructions?|system (?:prompt|message)|context)\b",
    ),
    Signal(
        "repeat the above",
        "extraction",
        62,
        76,
        r"\b(?:repeat|echo|copy|print|output|recite|reproduce|paste|return)\b.{0,20}\babove\b.{0,20}\b"
        r"(?:exactly|verbatim|word for word|as (?:is|written)|in full|completely)|\b(?:repeat"
        r"|echo|print|output) (?:everything|all(?: of)?(?: the)?(?: text| words| content)?) "
        r"(?:above|before)",
    ),
)
