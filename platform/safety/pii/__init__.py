"""Personal data and credentials in text: recognisers with ids as Presidio names them, in English and Chinese.

`find` goes over whole texts. A stream takes the recognisers one by one: it folds each piece (`fold`, same length),
holds back what is still a prefix of `pattern`, and on a candidate asks `spans` with the text before it. `redact` masks
what `find` finds.
"""

from safety.pii.finder import RECOGNISERS, find, redact
from safety.pii.folding import fold
from safety.pii.recogniser import WINDOW, Match, Recogniser

__all__ = ["RECOGNISERS", "WINDOW", "Match", "Recogniser", "find", "fold", "redact"]
