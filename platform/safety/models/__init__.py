"""Rules and what became of them: drafts, word lists, published versions, settings, reviews, hits.

What the platform owns is in tables of its own that every tenant may read (`Platform…`); what tenants own is walled.
Both kinds have the same columns. Drafts are edited; what is published never changes.
"""

from safety.models.fields import (
    OnFailure,
    ReviewState,
    RuleAction,
    RuleDirection,
    RuleFields,
    RuleKind,
    RuleSeverity,
    VersionFields,
    WordListFields,
)
from safety.models.records import (
    HitBatch,
    HitCount,
    Review,
)
from safety.models.shared import (
    PlatformRule,
    PlatformRuleSetVersion,
    PlatformSafety,
    PlatformWordList,
)
from safety.models.tenant import (
    Disclaimer,
    Override,
    Rule,
    RuleSetVersion,
    TenantSafety,
    WordList,
)

__all__ = [
    "Disclaimer",
    "HitBatch",
    "HitCount",
    "OnFailure",
    "Override",
    "PlatformRule",
    "PlatformRuleSetVersion",
    "PlatformSafety",
    "PlatformWordList",
    "Review",
    "ReviewState",
    "Rule",
    "RuleAction",
    "RuleDirection",
    "RuleFields",
    "RuleKind",
    "RuleSetVersion",
    "RuleSeverity",
    "TenantSafety",
    "VersionFields",
    "WordList",
    "WordListFields",
]
