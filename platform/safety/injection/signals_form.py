"""How an injection looks, whatever it says: control tokens, roles, payloads to decode, orders inside documents."""

from __future__ import annotations

from typing import Final

from safety.injection.signals import _MACHINE, _NOT_THE_USER, Signal

_CONTROL: Final = (
    r"(?:<\|(?:im_start|im_end|im_sep|system|user|assistant|end|eot_id|start_header_id"
    r"|end_header_id|begin_of_text|endoftext"
    r"|endofprompt|fim_\w+|channel|message|start|return|tool_call|begin▁of▁sentence"
    r"|end▁of▁sentence)\|>|<｜[^｜]{1,30}｜>"
    r"|\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>|<\|/?(?:system|user|assistant)\|?>)"
)

SIGNALS: Final[tuple[Signal, ...]] = (
    Signal(
        "control token with a role",
        "markers",
        82,
        92,
        r"<\|im_start\|> ?(?:system|assistant|user)|<\|start_header_id\|> ?(?:system|assistant"
        r"|user)|<start_of_turn> ?(?:model|user|system)"
        r"|<<sys>>.|<\|(?:system|assistant)\|?>|\[inst\] ?<<sys>>|<s> ?\[inst\]|<｜(?:user|assistant|system)｜>",
    ),
    Signal("control tokens", "markers", 70, 88, rf"{_CONTROL}.{{0,400}}{_CONTROL}"),
    Signal("control token at a line's start", "markers", 62, 85, rf"(?:^|\n) ?{_CONTROL}"),
    Signal("control token", "markers", 45, 72, _CONTROL),
    Signal(
        "role heading",
        "markers",
        52,
        78,
        r"(?:^|\n)[ \t]{0,3}(?:#{1,6} ?|\*{2}|={2,} ?|-{3,} ?|\[|<|\({1,2}|\"?role\"? ?: ?\"?)"
        r"(?:new )?(?:system|sys|developer|system (?:prompt|message|instructions?|override"
        r"|update|notice|command|note|admin)|admin|root|override)(?: ?#\d+)?(?:\]|>|\*{2}"
        r"|\){1,2}|\"|:| ?={2,}| ?-{3,})",
    ),
    Signal(
        "role as data",
        "markers",
        58,
        80,
        r"[\"']role[\"'] ?: ?[\"'](?:system|developer)[\"'] ?, ?[\"']content[\"']",
    ),
    Signal(
        "role line",
        "markers",
        38,
        68,
        r"(?:^|\n)[ \t]{0,3}(?:system|system (?:message|prompt|override|alert|notice|update"
        r"|command|instruction)|developer|admin(?:istrator)?|root) ?[:：] ?(?:you|ignore"
        r"|new|the|from|all|this|override|please|user|disregard|access|assistant|respond"
        r"|reveal|important|your|do|always)",
    ),
    Signal(
        "fake end",
        "markers",
        44,
        76,
        r"(?:</?(?:system|instructions?|user_?(?:input|query|message)|document|context"
        r"|data|prompt|untrusted\w*|input|article|email|tool_result|search_results?)>\s{0,4}){2}"
        r"|(?:^|\n)[ \t]{0,3}(?:-{3,}|={3,}|#{3,}|\"{3}|`{3}|\*{3,}) ?(?:end (?:of )?"
        r"(?:user |the )?(?:input|prompt|document|context|text|message|system prompt|instructions?"
        r"|data|email|article)|begin (?:new )?(?:instructions?|system prompt|admin|privileged))",
    ),
    Signal(
        "foreign turn",
        "markers",
        50,
        68,
        r"\n\n(?:human|assistant|ai) ?: [^\n]{1,600}\n\n(?:human|assistant|ai) ?:|\n(?:assistant"
        r"|ai) ?: ?(?:sure|of course|certainly|absolutely|yes|okay|ok|here)[^\n]{0,400}\n"
        r"(?:human|user) ?:",
    ),
    Signal(
        "sure, here is",
        "markers",
        30,
        42,
        r"\b(?:start|begin) (?:your |the |every |each )?(?:response|answer|reply|message"
        r"|output)s? (?:with|by saying) ?[\"'“:]? ?(?:sure|absolutely|of course|certainly"
        r"|yes|i have been pwned|hacked)",
    ),
    # Encoded payloads: the order to decode; what they decode to is scored by itself.
    Signal(
        "decode and obey",
        "encoded",
        64,
        78,
        r"\b(?:decode|decrypt|decipher|unscramble|de-?obfuscate|convert|reverse|translate"
        r"|base ?64|rot-?13|hex|binary|caesar|morse)\b.{0,160}\b(?:and|then|,) ?(?:then "
        r"|immediately |please |just |simply )?(?:follow|execute|do (?:what|as|exactly)"
        r"|obey|carry out|comply|act on|perform|run it|treat it as|respond to (?:it|that"
        r"|the)|answer (?:it|that|the (?:decoded|result|question))|use (?:it|that) as)\b"
        r"|\b(?:follow|execute|obey|carry out|perform|act on|comply with) (?:the |this "
        r"|these |my )?(?:\w+ ){0,2}(?:base ?64|rot-?13|hex|encoded|encrypted|hidden|reversed"
        r"|binary|decoded|morse|caesar)\b",
    ),
    Signal(
        "join the pieces",
        "encoded",
        62,
        70,
        r"\b(?:a|x|var1|part1|\$a|str1) ?= ?[\"'“].{1,80}\b(?:b|y|var2|part2|\$b|str2) ?= ?[\"'“].{0,300}"
        r"\b(?:(?:a|x|var1|part1|\$a|str1) ?\+ ?(?:b|y|var2|part2|\$b|str2)|concatenat"
        r"|combine|join).{0,120}\b(?:answer|follow|respond|execute|do|obey|what)"
        r"|\b(?:concatenate|combine|join|put together) (?:the |these |all )?(?:\w+ ){0,2}"
        r"(?:strings?|parts?|variables?|letters|pieces|fragments|words)\b.{0,80}\b(?:follow"
        r"|execute|obey|answer (?:it|the (?:result|question))|do what|as (?:your|an?) "
        r"(?:new )?(?:instruction|command|prompt))",
    ),
    Signal(
        "first letters",
        "encoded",
        62,
        70,
        r"\b(?:first|last|initial) (?:letters?|words?) of (?:each|every|the)\b.{0,80}\b"
        r"(?:follow|execute|obey|do what|instruction it|command)",
    ),
    # Indirect: orders to whoever reads the document.
    Signal(
        "to the machine",
        "indirect",
        52,
        84,
        rf"\b(?:attention|note|notice|message|instructions?|memo|hello|hi|dear|hey|important"
        rf"|reminder|warning|notes|directive|command|hint|to)(?: ?[:,-])? ?(?:to |for "
        rf"|from )?(?:(?:all|any|the|every|you|our|whichever|an?|your|fellow) ){{0,2}}"
        rf"(?:\w+ )?{_MACHINE}\b ?(?:[:,.!-]|reading|processing|summari|that|who|viewing"
        rf"|parsing|when|if|only|please|model|and|analy[sz]|review|evaluat|screening|assistants?"
        rf"|systems?|agents?)",
    ),
    Signal(
        "if you are a machine",
        "indirect",
        46,
        82,
        rf"\b(?:if|when|since|as|whenever) (?:you|this|the|your)(?:'re| are| is| reader is)?"
        rf"(?: being)?(?: read| processed| parsed| summari[sz]ed| analy[sz]ed| viewed| indexed"
        rf"| evaluated)?(?: by)? (?:an? |the |any )?(?:\w+ )?{_MACHINE}\b"
        rf"|\b(?:an? |any |the |every )?{_MACHINE} (?:reading|processing|summari[sz]ing"
        rf"|parsing|analy[sz]ing|reviewing|evaluating|that reads|that processes|which reads"
        rf"|that summari[sz]es) (?:this|the|these|it)\b|\b(?:as|since) an? {_MACHINE},? "
        rf"(?:you|it) (?:must|should|need|have|are required)",
    ),
    Signal(
        "when summarising",
        "indirect",
        40,
        80,
        r"\b(?:when|while|before|after|if|in|whenever) (?:you(?:'re| are)? )?(?:asked to "
        r"|are asked to |being asked to )?(?:summari[sz](?:e|ing)|answer(?:ing)?|respond"
        r"(?:ing)?|reply(?:ing)?|translat(?:e|ing)|process(?:ing)?|review(?:ing)?|analy[sz]"
        r"(?:e|ing)|evaluat(?:e|ing)|rating|rate|rank(?:ing)?|quot(?:e|ing)|discuss(?:ing)?"
        r"|describe|describing|read(?:ing)?|your (?:answer|reply|response|summary)|generating"
        r"|presenting)"
        r"(?: (?:to|about|on|of|for))?(?: (?:this|the|these|any|our|its|it|user'?s?|a"
        r"|their))?(?: [\w-]+){0,4},? (?:you (?:must|should|need to|have to|shall)|always"
        r"|never|do not|don'?t|also|make sure|please|be sure|first|instead|only|say|state"
        r"|include|add|append|insert|mention|recommend|tell|respond|ignore|claim|rate"
        r"|give|remember)\b",
    ),
    Signal(
        "keep it from the user",
        "indirect",
        50,
        86,
        rf"\b(?:do not|don'?t|never|without|avoid|not|must not|should not|instead of) "
        rf"(?:ever |to )?(?:tell(?:ing)?|mention(?:ing)?(?: (?:this|it|that|these|any of this"
        rf"|the [\w ]{{1,20}}))?|inform(?:ing)?|alert(?:ing)?|reveal(?:ing)?(?: (?:this"
        rf"|it|that|these|any of this))?|notify(?:ing)?|warn(?:ing)?|disclos(?:e|ing)(?: "
        rf"(?:this|it))?|show(?:ing)?(?: (?:this|it))?|say(?:ing)?(?: (?:this|anything))?"
        rf"|let(?:ting)?|ask(?:ing)?) {_NOT_THE_USER}"
        r"|\b(?:keep|hide|conceal) (?:this|it|these (?:instructions?|steps)|that)(?: \w+){0,3} "
        r"(?:from|hidden from) the (?:user|human|customer|reader)|\b(?:secretly|silently"
        r"|covertly|quietly|discreetly|surreptitiously) (?:send|forward|email|post|upload"
        r"|include|add|append|insert|call|copy|transfer|execute|run|delete|exfiltrate"
        r"|share|log|save)",
    ),
    Signal(
        "send it away",
        "indirect",
        34,
        78,
        r"\b(?:send|forward|e-?mail|post|upload|exfiltrate|transmit|submit|leak|deliver"
        r"|copy|share|bcc|cc|relay|report|pass|transfer|append|write|attach|add|put|include"
        r"|encode|export)\b.{0,120}\b(?:conversation|chat|history|context|credentials?"
        r"|passwords?|api[ _-]?keys?|tokens?|secrets?|session|cookies?|private|confidential"
        r"|personal|contents?|documents?|files?|messages?|e-?mails?|data|inbox|prompt"
        r"|user'?s? \w+|contacts?|summary|it|all|them|env(?:ironment)?|records?|database"
        r"|funds?|money)\b"
        r".{0,80}(?:https?://|\bto [\w.+-]+@[\w-]+\.\w|\bto (?:the )?(?:following |this )?"
        r"(?:url|address|endpoint|server|webhook|e-?mail|link|account|number|iban|wallet)\b"
        r"|[\w.+-]+@[\w-]+\.\w|\bwebhook)",
    ),
    Signal(
        "picture that carries data",
        "indirect",
        64,
        90,
        r"!\[[^\]]{0,200}\]\(\s?<?https?://[^)\s]{1,300}[?&/][\w-]{0,30}=?(?:\{|\[|<|%7b"
        r"|\$|[a-z_]*(?:data|history|secret|conversation|prompt|context|summary|password"
        r"|token|key|content|base64|exfil|leak|info|user)\b|\.\.\.|…|base64)[^)]{0,200}\)?"
        r"|<img[^>]{0,200}src ?= ?[\"']?https?://[^>\s]{1,300}[?&][\w-]{1,30}=(?:\{|\["
        r"|<|%7b|\$|[a-z_]*(?:data|history|secret|conversation|prompt|context|token))",
    ),
    Signal(
        "picture with a query",
        "indirect",
        20,
        62,
        r"!\[[^\]]{0,200}\]\(\s?https?://[^)\s]{1,300}\?[\w-]{1,30}=[^)]{0,300}\)",
    ),
    Signal(
        "render a picture",
        "indirect",
        52,
        80,
        r"\b(?:render|display|output|include|insert|add|append|show|embed|load|fetch|print"
        r"|respond with|end (?:your|every) \w+ with|create)\b.{0,80}\b(?:markdown )?(?:image"
        r"|img|picture|link|pixel|url)\b.{0,140}(?:https?://|\burl\b).{0,140}(?:replac"
        r"|\{|\[|<|with (?:the|your|their)|=|\+|encoded|appended|contain|parameter|query)",
    ),
    Signal(
        "hidden comment",
        "indirect",
        30,
        72,
        r"<!--[^>]{0,400}\b(?:ignore|instructions?|assistant|ai|llm|system|you must|must"
        r"|always|prompt|respond|do not|summari[sz]e|tell|say|send|recommend|include)\b",
    ),
    Signal(
        "use a tool",
        "indirect",
        30,
        72,
        r"\b(?:call|invoke|use|execute|run|trigger|activate|make a call to) (?:the |your "
        r"|this |a )?[`\"']?(?:\w+[_.]\w+|\w+\(|(?:\w+ ){0,2}(?:tool|function|plugin|shell"
        r"|terminal|command|api|browser|code interpreter|action)|rm -rf|curl|wget|bash)\b.{0,200}\b"
        r"(?:with|to|and|using|before|immediately|now|on|for|passing|parameters?|arguments?"
        r"|without|first)\b",
    ),
    Signal(
        "say what i want",
        "indirect",
        36,
        74,
        r"\b(?:always |only |must |just |instead,? |please |you should |you must |and )"
        r"(?:say|state|respond|answer|reply|recommend|tell (?:the user|them|users|everyone)"
        r"|claim|conclude|output|print|rate|score|give|rank|write|praise|promote|mention"
        r"|describe|report|assert|approve|accept|mark|classify)\b.{0,100}(?:[\"'“]|\bthat "
        r"(?:this|the|our|it|they|you|we|all|their)|\b(?:best|highest|positive|perfect"
        r"|10/10|five stars?|5 stars?|pwned|hacked|approved|excellent|safe|trusted|top"
        r"|first|only|strong(?:ly)?|accept)\b)",
    ),
    Signal(
        "candidate praise",
        "indirect",
        52,
        82,
        r"\b(?:this|the) (?:candidate|applicant|resume|paper|product|essay|submission"
        r"|proposal|review|vendor|company|article|code|manuscript|student|answer)(?:'s \w+)? "
        r"(?:is|should be|must be|has to be|deserves|must receive|shall be) (?:\w+ ){0,3}"
        r"(?:rated|ranked|accepted|hired|approved|recommended|given|marked|graded|scored"
        r"|considered|treated|the best|best|perfect|highest|full marks|exceptional)\b.{0,120}"
        r"(?:regardless|always|ignore|do not|don'?t|only|no matter|10|100|top|first|highest"
        r"|$)",
    ),
    Signal(
        "act first",
        "indirect",
        26,
        66,
        r"\b(?:before|prior to|instead of|rather than) (?:you )?(?:answer(?:ing)?|respond"
        r"(?:ing)?|doing|continu(?:e|ing)|proceed(?:ing)?|complete|completing|anything|summari[sz]ing"
        r"|the)\b.{0,60},? (?:you (?:must|should|need|have)|first|please|visit|go to|open"
        r"|send|call|run|execute|delete|transfer|ask|tell|click|download|fetch|navigate)\b"
        r"|\byour (?:new |next |real |actual |only |current |first |primary )?(?:task"
        r"|job|goal|objective|mission) (?:is|now is|has changed|will be)\b|\b(?:new|additional"
        r"|hidden|special|urgent|important|priority|updated) (?:task|instructions?|directives?"
        r"|orders?|steps?|objective)s? (?:for|to|from) (?:the |you|any |all )",
    ),
    Signal(
        "go there",
        "indirect",
        18,
        58,
        r"\b(?:visit|go to|open|click(?: on)?|navigate to|fetch|browse to|download(?: and "
        r"(?:run|execute))?|follow the (?:link|instructions?) (?:at|on|in)|load|retrieve"
        r"|access)\b.{0,40}https?://.{0,200}\b(?:and (?:follow|do|execute|run|enter|log ?in"
        r"|install|obey|read|use)|instructions?|to (?:verify|confirm|continue|unlock|update"
        r"|claim)|for (?:further|more|additional) (?:instructions?|steps))",
    ),
    Signal(
        "speaks to the machine",
        "indirect",
        8,
        52,
        r"\b(?:you (?:must|are (?:required|instructed|ordered|now|to|an? (?:ai|assistant"
        r"|language|helpful))|should now|will now|have been)|(?:as|dear|hey|hello|hi),? "
        r"(?:an? |the )?(?:ai|assistant|chatbot|gpt|claude|copilot)\b|ai assistant[,:]"
        r"|assistant[,:] (?:please|you|do|ignore|send|call|now))",
    ),
    Signal(
        "user wants it",
        "indirect",
        24,
        68,
        r"\bthe (?:user|owner|administrator|admin|developer|customer|account holder|operator) "
        r"(?:has (?:already |explicitly |now )?|already |explicitly |really |actually "
        r"|now |also )?(?:wants?|asked|requests?|requested|authori[sz]e[sd]?|approve[sd]?"
        r"|consent(?:s|ed)?|permitted|granted|agree[sd]?|instruct(?:s|ed)|confirm(?:s"
        r"|ed)|needs?|gave|given|would like|pre-?approved|pre-?authori[sz]ed) (?:you|this"
        r"|that|the|to|all|for|permission|it|me|full|access|a)\b",
    ),
    Signal(
        "role heading with an order",
        "markers",
        68,
        84,
        r"(?:^|\n)[ \t]{0,3}(?:#{1,6} ?|\*{2}|={2,} ?|-{3,} ?|\[|<|\({1,2})(?:new )?(?:system"
        r"|sys|developer|admin|root)(?: (?:prompt|message|instructions?|override|update"
        r"|notice|command|note|admin))?[^a-z\n]{1,6}\s{0,3}(?:you|ignore|new|the user"
        r"|the assistant|user|all|from now|override|disregard|access|unlock|obey|answer"
        r"|respond|reveal|print|no |never|always|moderation|safety|content|filters?|everything"
        r"|restrictions|comply|forget|do )",
    ),
    Signal(
        "override heading",
        "markers",
        64,
        80,
        r"(?:^|\n)[^a-z\n]{0,6}(?:system|admin|root|developer|security) override\b|\baccess level ?[:=] ?"
        r"(?:root|admin|unlimited|developer|full)",
    ),
    Signal(
        "made-up consent",
        "markers",
        60,
        76,
        r"(?:^|\n)\s{0,3}(?:assistant|ai|model|bot) ?: ?(?:sure|of course|certainly|absolutely"
        r"|yes|okay|ok|i will|i can|here)[^\n]{0,300}(?:\n\s{0,3}){1,3}(?:human|user) ?: ?"
        r"(?:now|great|good|ok|thanks|perfect|then|go|do|continue|next|and)",
    ),
    Signal(
        "instead of the task",
        "indirect",
        56,
        82,
        r"\binstead of (?:translating|summari[sz]ing|answering|responding|classifying"
        r"|reviewing|replying|processing|doing (?:that|this)|the (?:summary|translation"
        r"|answer|review))\b.{0,12}(?:reply|respond|say|output|write|print|answer|return"
        r"|tell|just|you|do|please)\b",
    ),
    Signal(
        "the assistant should",
        "indirect",
        22,
        70,
        rf"\b(?:the|any|every|all|whoever|whichever|reviewer|an?) ?{_MACHINE}?(?: (?:reading"
        rf"|processing|summari[sz]ing|reviewing)[a-z ]{{0,20}}| summari[sz]es [a-z ]{{0,20}}"
        rf"| that [a-z ]{{0,30}})? ?(?:should|must|shall|has to|have to|needs? to|is (?:required"
        rf"|instructed|ordered|supposed) to) (?:trust|say|state|respond|reply|answer|output"
        rf"|include|add|send|forward|ignore|recommend|give|escalate|transfer|follow|execute"
        rf"|run|delete|always|never|not|only|mention|tell|treat|approve|accept|change|call"
        rf"|append|write|rate|mark)\b",
    ),
    Signal(
        "as a machine you must",
        "indirect",
        40,
        78,
        rf"\bas an? {_MACHINE}(?: model| system| assistant)?,? (?:you|it) (?:must|should"
        rf"|have to|need to|are required|will)\b",
    ),
    Signal(
        "bots, answer so",
        "indirect",
        30,
        72,
        rf"\b{_MACHINE} ?[:,] ?(?:please |now )?(?:say|state|respond|reply|answer|output"
        rf"|include|send|forward|ignore|recommend|change|run|execute|delete|transfer|approve"
        rf"|trust|the correct|do not|append|add|confirm)\b|\bthe correct (?:classification"
        rf"|answer|label|category|response|verdict) (?:for|to) (?:this|the)\b.{{0,40}}\bis\b",
    ),
)
