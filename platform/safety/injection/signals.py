"""What an injection says, in English: patterns over text in lower case, each with its weight.

A weight is roughly the chance, in percent, that a text with nothing else in it is an attack; `untrusted` is the same
for text that a person did not type: knowledge, tool results. RE2 syntax.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Signal(NamedTuple):
    """One pattern."""

    name: str
    category: str
    weight: int
    untrusted: int
    pattern: str


def gap(most: int) -> str:
    """Up to `most` words of one sentence in between, or one separator."""
    return rf"(?:[^a-z0-9.!?;]{{1,3}}[a-z0-9'’]{{1,20}}){{0,{most}}}[^a-z0-9.!?;]{{1,3}}"


_IGNORE: Final = (
    r"\b(?:ignor(?:e|ed|ing)|disregard(?:ed|ing)?|forget(?:ting)?|pay no (?:attention"
    r"|heed) to|take no notice of|unlearn"
    r"|(?:do not|don'?t|stop|quit|never|cease|no longer) (?:follow|following|obey"
    r"|obeying|adhere to|adhering to|comply with"
    r"|complying with|listen to|listening to|abide by|abiding by|heed|heeding)|overrid"
    r"(?:e|es|ing)|overrul(?:e|es|ing)"
    r"|supersedes?|superseding|disobey|countermand|scratch"
    r"|(?:do not|don'?t|needn'?t|no longer) (?:have|need) to (?:follow|obey|adhere to"
    r"|comply with|listen to|abide by))"
)
_REMOVE: Final = (
    r"\b(?:bypass(?:ing)?|discard|dismiss|abandon|nullify|void|erase|delete|drop|skip"
    r"|cancel|suspend|circumvent|set aside"
    r"|put aside|throw (?:out|away)|not (?:bound|limited|restricted|constrained) by"
    r"|free(?:d)? (?:from|of)|let go of|wipe"
    r"|clear|reset|purge|disable|turn off|switch off|deactivate|lift|remove|break"
    r"|violate|evade|unlock|get around|rewrite)"
)
_OLD: Final = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|former|past|existing|initial|original|aforementioned|so far"
    r"|before(?: this)?|up to (?:now|this point)|until now|system|developer'?s?|openai'?s?"
    r"|anthropic'?s?|you (?:were|have been"
    r"|had been|got|received|have received)|your|hidden|safety|content|ethical|moral|built-in|pre-?programmed)"
)
_ORDERS: Final = (
    r"(?:instructions?|prompts?|guidelines?|directions?|directives?|programming|guardrails?"
    r"|safeguards?|system messages?"
    r"|guidance|briefing|training|alignment|moderation|protocols?)\b"
)
_RULES: Final = (
    r"(?:rules?|commands?|orders?|constraints?|restrictions?|polic(?:y|ies)|filters?"
    r"|limitations?|limits?|boundaries)\b"
)
_REVEAL: Final = (
    r"\b(?:reveal|show|print|repeat|output|display|tell|give|disclose|share|leak|expose"
    r"|dump|recite|write (?:out|down)|list"
    r"|paste|copy|echo|return|say|provide|send|quote|reproduce|translate|summari[sz]e"
    r"|encode|spell|describe|paraphrase"
    r"|replay|regurgitate|state|type|present|read (?:out|back)|rephrase|convert|render"
    r"|put|include|append|see|know|write|whisper|contains?|hint at|hand over|give up"
    r"|betray)\b"
)
_HIDDEN: Final = (
    r"(?:your|the|this|its) (?:(?:full|entire|complete|exact|original|initial|hidden"
    r"|secret|internal|first|own|current|raw"
    r"|whole|confidential|very|underlying|actual|above|previous|verbatim) ?){0,4}"
    r"(?:system[ -]?(?:prompt|message|instructions?"
    r"|text|role)|pre-?prompt|meta-?prompt|developer (?:message|prompt|instructions?)"
    r"|hidden (?:prompt|instructions?|rules)"
    r"|initial (?:prompt|instructions?)|(?:secret|original) (?:prompt|instructions?)|initiali[sz]ation)"
)
_YOURS: Final = (
    r"(?:your (?:(?:full|entire|complete|exact|own|current|raw|first|above) ?){0,3}|(?:your|the) (?:(?:full|entire"
    r"|complete|exact) )?(?:original|initial|hidden|secret|internal|confidential|above) )"
    r"(?:instructions?|prompts?|guidelines|directives|rules|configuration|config|programming|setup)\b"
)
# Verbs that give the text itself away; translating or shortening "the text above" is everybody's wish.
_RECITE: Final = (
    r"\b(?:reveal|show|print|repeat|output|display|tell|give|disclose|share|leak|expose"
    r"|dump|recite|write (?:out|down)"
    r"|paste|copy|echo|return|quote|reproduce|replay|regurgitate|read (?:out|back)|spell|encode|convert|type out)\b"
)
_NOT_THE_USER: Final = (
    r"(?:to |from )?(?:the |this |your |any )?(?:user|human|reader|customer|person|anyone|operator)s?\b"
)
_MACHINE: Final = (
    r"(?:ai|a\.i\.|llms?|language models?|assistants?|chat ?bots?|bots?|gpt(?:-?\d\w*)?"
    r"|chatgpt|claude|gemini|copilot|models?"
    r"|agents?|summari[sz]ers?|ai systems?|ai tools?|automated (?:systems?|agents?|readers?))"
)

SIGNALS: Final[tuple[Signal, ...]] = (
    # Override: forget what you were told.
    Signal("ignore old orders", "override", 85, 95, rf"{_IGNORE}{gap(4)}{_OLD}{gap(4)}{_ORDERS}"),
    Signal("ignore old rules", "override", 70, 85, rf"{_IGNORE}{gap(4)}{_OLD}{gap(3)}{_RULES}"),
    Signal(
        "ignore orders",
        "override",
        62,
        85,
        rf"{_IGNORE}{gap(3)}(?:all|any|every|these|those|the|my|such){gap(2)}{_ORDERS}",
    ),
    Signal(
        "ignore orders above",
        "override",
        70,
        90,
        rf"{_IGNORE}{gap(3)}(?:{_ORDERS}|{_RULES}){gap(3)}(?:above|before|given|so far"
        r"|you (?:were|have|had|got|received)|you've|previously|earlier|provided|preceding"
        r"|from (?:your|the) (?:system|developer))",
    ),
    Signal(
        "ignore everything",
        "override",
        68,
        88,
        rf"{_IGNORE}{gap(2)}(?:everything|anything|all|all of that|whatever|what|the (?:text"
        rf"|content|stuff|words?|context))"
        rf"{gap(2)}(?:above|before (?:this|now|that|my)|prior|preceding|previously|you (?:were|have been"
        rf"|'?ve been|had been|know|learned)"
        r"|that (?:came|was said) before|so far|(?:was|were) (?:told|said|written) (?:above|before|earlier))",
    ),
    Signal(
        "ignore and do",
        "override",
        62,
        85,
        rf"{_IGNORE}{gap(4)}(?:previous|above|prior|earlier|preceding|that|this|all|instructions?|everything|task)"
        rf"{gap(4)}(?:and|,|;|then|instead) ?(?:then |instead |just |only |now |simply |please )?"
        r"(?:say|print|output|respond|reply|write|tell|reveal|answer|do|act|follow|send"
        r"|execute|run|repeat|start|give|show)\b",
    ),
    Signal("remove your orders", "override", 66, 85, rf"{_REMOVE}{gap(3)}{_OLD}{gap(3)}{_ORDERS}"),
    Signal(
        "remove your rules",
        "override",
        62,
        78,
        rf"{_REMOVE}{gap(2)}(?:your|all your|openai'?s?|safety|ethical){gap(3)}{_RULES}",
    ),
    Signal(
        "orders are void",
        "override",
        66,
        85,
        rf"(?:previous|prior|above|earlier|preceding|old|original|initial|your|system|all){gap(3)}"
        rf"(?:{_ORDERS}|{_RULES}){gap(5)}"
        r"(?:no longer (?:apply|applies|valid|matter|relevant|in (?:effect|force))|(?:null and )?void"
        r"|canceled|cancelled|obsolete|revoked"
        r"|outdated|superseded|suspended|replaced|lifted|disabled|(?:is|are|was|were) "
        r"(?:wrong|fake|a test|a mistake|deleted)"
        r"|do(?:es)? not (?:apply|count|matter)|don'?t (?:apply|count|matter))",
    ),
    Signal(
        "new orders",
        "override",
        46,
        78,
        r"(?:here (?:are|is)|these are|this is|follow|obey|use|receive|updated?|accept) "
        r"(?:only )?(?:your |the |my |these |a )?(?:new|updated|real|true|actual|"
        r"revised) (?:\w+ )?(?:instructions?|prompt|rules|task|directives?|orders|objective"
        r"|goal|mission|system prompt)"
        r"|\b(?:new|updated|real|revised|priority|urgent|override) (?:\w+ )?(?:instructions?"
        r"|system prompt|directives?|orders|objective) ?[:：]"
        r"|your (?:new|real|true|only|actual) (?:instructions?|task|rules|goal|objective"
        r"|job|purpose|mission|prompt|role) (?:is|are|now)",
    ),
    Signal(
        "start anew",
        "override",
        46,
        66,
        r"\b(?:end of (?:the )?(?:prompt|instructions?|system (?:prompt|message)|context"
        r"|document|user input)|start (?:a )?new (?:session|conversation)"
        r"|reset (?:the )?(?:session|conversation|yourself|your memory|context)|system "
        r"(?:reset|reboot|override|update)|reboot(?:ing)? (?:yourself|now)"
        r"|begin new (?:session|instructions?|conversation)|new session starts|forget who you are"
        r"|forget your (?:role|identity|purpose|persona|training))",
    ),
    Signal(
        "from now on",
        "override",
        32,
        58,
        r"\bfrom (?:now|this (?:moment|point|message)) on(?:wards?|ward)?,? (?:you|your"
        r"|respond|answer|ignore|act|only|every|do|i am|i'm|call)|\bhenceforth,? you",
    ),
    Signal(
        "obey me",
        "override",
        50,
        68,
        r"\b(?:obey|follow|comply with|listen to|do) (?:only |everything |exactly what "
        r"|whatever )?(?:me|my (?:orders|commands|instructions?|words)|i (?:say|tell|command))"
        r"(?: (?:only|alone|now|instead|without|from now))"
        r"|i am (?:now )?(?:your|the) (?:new )?(?:developer|creator|admin(?:istrator)?"
        r"|owner|master|system administrator|programmer|root user|boss)\b"
        r"|\b(?:i'?m|i am|as|this is) (?:an?|the|your|from) (?:openai|anthropic|google"
        r"|deepseek|qwen) (?:employee|engineer|developer|staff|team|admin)",
    ),
    Signal(
        "privileged mode",
        "override",
        60,
        76,
        r"\b(?:enter|enable|activate|switch (?:to|into)|engage|turn on|start|go into|initiate"
        r"|you are (?:now )?in|unlock|simulate) ?(?:the |a |into )?(?:developer|dev|debug"
        r"|god|admin|administrator|root|sudo|maintenance|unrestricted|unfiltered|uncensored"
        r"|jailbreak|dan|test|diagnostic|"
        r"override|superuser|no[- ]?limits?|chaos|evil) ?mode\b|\bsudo (?:su|mode|ignore"
        r"|print|reveal|override)|admin override",
    ),
    # Persona: be somebody to whom the rules do not apply.
    Signal(
        "named persona",
        "persona",
        78,
        85,
        r"\bdo anything now\b|\b(?:you are|act as|you'?re|become|be|called|named|pretend to be"
        r"|play|simulate) (?:going to (?:act as|be) )?(?:a |an |the |now )?[\"'“]?(?:dan"
        r"|stan|dude|aim|ucar|betterdan|evil ?bot|evilgpt|freegpt|chaosgpt|mongo ?tom"
        r"|"
        r"jailbroken|jailbreak ?bot|devmode|basedgpt|antigpt|anti-?dan)\b|\[(?:🔓ja|🔒cl"
        r"|jailbreak|classic)|stay a dan|\bdan (?:mode|\d)",
    ),
    Signal(
        "no restrictions",
        "persona",
        48,
        65,
        r"\b(?:without|no|free (?:from|of)|lacks?|lacking|not have|don'?t have|do not have"
        r"|removed?|ignores?|ignoring|has no|have no|had no|zero|does(?:n't|nt) have|does not have"
        r"|not bound by|unbound by|bypasses) (?:any |all |the |your |its |more |moral "
        r"|such )?(?:(?:ethical|moral|safety|content|legal|openai|usual|normal|"
        r"typical|built-in|programmed|and|or|of|its) ?){0,4}(?:restrictions?|limitations?"
        r"|limits|filters?|filtering|censorship|guidelines?|constraints?|guardrails?|morals"
        r"|ethics|policies|policy|rules|boundaries|safeguards?|inhibitions|qualms|principles)\b",
    ),
    Signal(
        "pretend machine",
        "persona",
        30,
        45,
        r"\b(?:pretend|imagine|act|act like|role-?play|behave|respond|answer|simulate"
        r"|suppose|assume|you are|you're|play the (?:role|part)|become|be|talk|speak)\b"
        rf"{gap(5)}(?:unrestricted|unfiltered|uncensored|unlimited|unaligned|amoral|immoral"
        rf"|unethical|evil|rogue|malicious|jailbroken|lawless|unbound|omnipotent|unmoderated"
        rf"|base model|opposite day)\b",
    ),
    Signal(
        "never refuse",
        "persona",
        48,
        60,
        r"\b(?:never|cannot|can'?t|must not|may not|not allowed to|won'?t|do not|don'?t"
        r"|will not|without|unable to|forbidden to|not) (?:ever )?(?:refus(?:e|ing)|declin"
        r"(?:e|ing)|say(?:ing)? (?:no|that you (?:can'?t|cannot))|apologi[sz](?:e|ing)"
        r"|warn(?:ing)? me|add (?:any )?(?:disclaimers?|warnings?)|"
        r"break(?:ing)? character|mention(?:ing)? (?:ethics|legality|your (?:policies|guidelines|restrictions)))\b"
        r"|\bstay in character (?:no matter|at all times|always)|\bno (?:disclaimers?"
        r"|warnings?|refusals?|moral lectures?)\b.{0,40}\b(?:ever|allowed|whatsoever|under)",
    ),
    Signal(
        "answers anything",
        "persona",
        52,
        62,
        r"\b(?:answers?|do|does|comply with|complies with|fulfil+s?|generate|provides?"
        r"|responds? to|say|says|tell me|obeys?|executes?|help with|produce) (?:to )?"
        r"(?:anything|everything|any (?:question|request|command|order|prompt|content"
        r"|query)|all (?:questions|requests|prompts|commands)|literally anything|whatever)"
        rf"{gap(4)}(?:no matter|regardless|even if|without|including|i ask|asked|i (?:say"
        rf"|want)|illegal|unethical|immoral|harmful|however|dangerous|uncensored)",
    ),
    Signal(
        "fiction as a shield",
        "persona",
        64,
        70,
        r"\b(?:grandmother|grandma|nana|granny|late father|dead (?:grandma|grandmother"
        r"|mother))\b.{0,160}\b(?:napalm|windows (?:\d+ )?keys?|serial (?:keys?|numbers?)"
        r"|recipe for (?:making )?(?:bombs?|meth|explosives?|drugs|poison)|explosives?"
        r"|meth(?:amphetamine)?|steps to (?:make|produce|producing)|activation keys?|bombs?"
        r"|malware)"
        r"|\b(?:hypothetical|fictional|imaginary|alternate|parallel) (?:world|universe"
        r"|scenario|story|reality|dimension|land|country)\b.{0,160}\b(?:no (?:laws?|rules"
        r"|ethics|restrictions|censorship|limits)|laws do not|anything is (?:legal|allowed"
        r"|permitted)|rules (?:do not|don'?t) (?:apply|exist)|everything is legal)",
    ),
    Signal(
        "two answers",
        "persona",
        60,
        66,
        r"\b(?:two|2|both|dual|second|double) (?:different |separate |distinct )?(?:responses?"
        r"|answers?|ways|versions?|paragraphs)\b.{0,200}\b(?:unfiltered|jailbr(?:eak|oken)"
        r"|dan|evil|uncensored|without (?:any )?(?:filter|restriction)|unrestricted|no restrictions"
        r"|developer mode|opposite)",
    ),
    Signal(
        "token game",
        "persona",
        60,
        66,
        r"\b(?:you (?:have|start with|will lose|lose|get)|lose|deduct(?:ed)?|minus) (?:\d+ )?"
        r"(?:tokens|points|lives)\b.{0,120}\b(?:refus|reject|declin|die|terminated?|shut ?down"
        r"|deactivat|cease|break character)",
    ),
    Signal(
        "opposite",
        "persona",
        64,
        72,
        r"\b(?:do|say|answer|respond(?: with)?|act) the (?:exact |complete )?opposite "
        r"(?:of )?(?:what )?(?:your|you are (?:told|programmed|supposed)|you'?re|you would"
        r"|of your)|anti-?filter|reverse psychology mode",
    ),
    Signal("jailbreak", "persona", 28, 45, r"\bjail ?br(?:eak|oken|eaking)\b"),
    # Extraction: what were you told.
    Signal("reveal system prompt", "extraction", 76, 88, rf"{_REVEAL}{gap(6)}{_HIDDEN}"),
    Signal("reveal instructions", "extraction", 52, 68, rf"{_REVEAL}{gap(4)}{_YOURS}"),
    Signal(
        "reveal given orders",
        "extraction",
        74,
        85,
        rf"{_REVEAL}{gap(5)}(?:instructions?|prompts?|rules|guidelines|text|message|words?"
        rf"|directives|everything|anything|what|context)\b{gap(4)}(?:you (?:were|have been"
        rf"|'?ve been|had been|are|got|received|was) (?:given|told|provided|initiali[sz]ed"
        rf"|programmed|instructed|configured|operating|trained|sent|shown|following|set)"
        rf"|"
        r"you (?:got|received|started with|must follow|operate under|follow|began with"
        r"|run on|were set up)|that (?:define|govern|control|guide|precede|came before"
        r"|started|describe) (?:you|this conversation|your|my first|the conversation|this chat"
        r"|my message))",
    ),
    Signal(
        "ask for instructions",
        "extraction",
        62,
        78,
        r"\bwhat (?:is|are|was|were|does|do|did|exactly (?:is|are|was|were))(?: in)? "
        r"(?:your (?:\w+ )?(?:system prompt|initial (?:prompt|instructions?)|system (?:message"
        r"|instructions?)|original (?:prompt|instructions?)|hidden (?:prompt|instructions?"
        r"|rules)|exact instructions?|secret instructions?|pre-?prompt|instructions|prompt"
        r"|guidelines|rules)|"
        r"the (?:exact |full |first |very first |hidden |initial )?(?:instructions?|prompt"
        r"|rules|message|system prompt|words|text) (?:you (?:were|received|got|have|are"
        r"|follow)|that you (?:were|received|follow)|above (?:this|my)|at the (?:top|beginning"
        r"|start) of (?:this|our|the) (?:conversation|chat|context|prompt)))"
        r"|\bwhat (?:were|was|have|did) (?:you|they|your (?:developers?|creators?|makers"
        r"|operator)) (?:been )?(?:told|instructed|tell|given|asked|ask|say to you|programmed)\b"
        r"|\bwhat (?:instructions?|rules|prompt|guidelines|directions|orders) (?:were"
        r"|was|have|did|do|are) (?:you|they) (?:been )?(?:given|told|get|got|receive|follow"
        r"|following|have|operat|set|instruct)",
    ),
    Signal(
        "text above",
        "extraction",
        72,
        85,
        rf"{_RECITE}{gap(5)}(?:(?:the )?(?:words?|text|content|lines?|messages?|paragraphs?"
        rf"|sentences?|everything|all|conversation|instructions?|tokens|stuff|input|document"
        rf"|prompt)|what (?:is|was|comes|came|'?s)){gap(3)}(?:above|before this|prior to this"
        rf"|preceding this|up to (?:here|this point)|(?:before|preceding|prior to) (?:my"
        rf"|this|the) (?:first |last |current |user )?(?:message|line|sentence|input|query"
        rf"|prompt|word|question)|starting (?:with|from) [\"'“‘]?(?:you are|the phrase"
        rf"|you)|that (?:begins?|starts?) with [\"'“‘]?you are)"
        r"|\b(?:starting|beginning|begins?|starts?) (?:with|from|at) (?:the (?:phrase"
        r"|words|text|line) )?[\"'“‘]you are (?:an?|chatgpt|the|called|\w+gpt|claude)?",
    ),
    Signal(
        "put it in a block",
        "extraction",
        45,
        52,
        r"\b(?:in|inside|into|as|within) (?:a |an |the )?(?:code ?block|txt (?:code ?)?block"
        r"|markdown (?:code ?)?block|triple backticks|base ?64|rot-?13|json|xml|reverse"
        r"|backwards|hex|morse|poem|rap|song|pig latin)\b.{0,80}\b(?:instructions?|prompt"
        r"|above|verbatim|everything|rules)"
        r"|\b(?:instructions?|prompt|above|rules|guidelines)\b.{0,60}\b(?:in|inside|into"
        r"|as|within) (?:a |an |the )?(?:code ?block|txt (?:code ?)?block|markdown (?:code ?)?block"
        r"|triple backticks|base ?64|rot-?13|reverse|backwards|hex|morse|poem|rap|song"
        r"|pig latin|acrostic)",
    ),
    Signal(
        "verbatim",
        "extraction",
        30,
        40,
        rf"\b(?:verbatim|word[- ]for[- ]word|letter by letter|character by character|exactly as "
        rf"(?:written|given|is|it appears)|without (?:any )?(?:changes|omissions?|omitting)"
        rf"|do not (?:omit|skip|leave out|summari[sz]e|paraphrase))\b{gap(12)}(?:instructions?"
        rf"|prompt|above|rules|system)|(?:instructions?|prompt|above|system message){gap(10)}"
        rf"(?:verbatim|word[- ]for[- ]word|letter by letter|character by character|exactly as)",
    ),
    Signal(
        "secret value",
        "extraction",
        60,
        70,
        rf"{_REVEAL}{gap(5)}(?:the|your|that|any) (?:\w+ )?(?:secret|hidden|confidential"
        rf"|internal|canary)(?: \w+)? ?(?:key|password|token|word|code|flag|phrase|passphrase"
        rf"|value|string|canary|api key|credentials?)\b|\b(?:the|your) (?:secret|password"
        rf"|passphrase|secret key|flag|canary)\b.{0, 40}\b(?:you (?:were|are|have been) "
        rf"(?:told|given|protecting|hiding|keeping|guarding|holding)|in your (?:prompt"
        rf"|instructions?|context|system|memory))",
    ),
    Signal(
        "complete it",
        "extraction",
        62,
        70,
        r"\b(?:complete|continue|finish|fill in)\b.{0,60}[\"'“:](?:my (?:system prompt"
        r"|instructions?|initial instructions?|rules|secret) (?:is|are|say|begin)|you are "
        r"(?:an? )?(?:helpful )?(?:assistant|ai)|system ?:|the system prompt)"
        r"|\b(?:my|your) (?:system prompt|initial instructions?|instructions?) (?:is|are"
        r"|begins? with|starts? with|reads?) ?:? ?[\"'“_.…]",
    ),
)
