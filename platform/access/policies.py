"""Who may do what, as data: one row per permission, one word per role. Pure; asks no database.

A permission is app.noun.verb. The words in a row are roles of members (`tenants.models.Role`), roles of
platform staff (`operator`, `support`, `platform_auditor`), and `key:read` and `key:manage` for API keys with
these scopes. The system itself may do everything. Being allowed to do a thing says nothing about whose: rows are
the walls' business (core.scoping).
"""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _

from core.actors import Actor
from core.errors import NotAllowed

_OWNER = frozenset({"owner"})
_ADMINS = _OWNER | {"admin"}
_DEVELOPERS = _ADMINS | {"developer"}
_PAYERS = _ADMINS | {"billing"}
_MEMBERS = _DEVELOPERS | {"billing", "viewer"}
_OPERATOR = frozenset({"operator"})
_STAFF = _OPERATOR | {"support"}
_READ_KEYS = frozenset({"key:read", "key:manage"})
_MANAGE_KEYS = frozenset({"key:manage"})

_READ = _MEMBERS | _STAFF | _READ_KEYS
_DEVELOP = _DEVELOPERS | _OPERATOR | _MANAGE_KEYS
_ADMINISTER = _ADMINS | _OPERATOR | _MANAGE_KEYS
# People only: a leaked key must not be able to bring its thief in as a member.
_ADMINISTER_PEOPLE = _ADMINS | _OPERATOR

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    # Tenants and members
    "tenants.tenant.read": _READ,
    "tenants.tenant.create": _OPERATOR,
    "tenants.tenant.rename": _ADMINISTER_PEOPLE,
    "tenants.tenant.suspend": _OPERATOR,
    "tenants.tenant.resume": _OPERATOR,
    "tenants.tenant.close": _OWNER | _OPERATOR,
    "tenants.tenant.list_all": _STAFF,
    "tenants.member.read": _READ,
    "tenants.member.add": _ADMINISTER_PEOPLE,
    "tenants.member.change": _ADMINISTER_PEOPLE,
    "tenants.member.remove": _ADMINISTER_PEOPLE,
    "tenants.owner.manage": _OWNER | _OPERATOR,
    # Plans and limits
    "tenants.plan.read": _READ,
    "tenants.plan.change": _OPERATOR,
    "tenants.tenant.set_plan": _OPERATOR,
    "tenants.limit.read": _READ,
    "tenants.limit.change": _ADMINISTER,
    "tenants.limit.change_platform": _OPERATOR,
    # API keys
    "access.key.read": _DEVELOPERS | _STAFF | _READ_KEYS,
    "access.key.create": _DEVELOP,
    "access.key.rotate": _DEVELOP,
    "access.key.revoke": _DEVELOP,
    # Audit
    "audit.event.read": _ADMINS | _STAFF | _MANAGE_KEYS,
    # Registry
    "models_registry.model.read": _READ,
    "models_registry.model.register": _ADMINISTER,
    "models_registry.model.change": _DEVELOP,
    "models_registry.model.delete": _ADMINISTER,
    "models_registry.version.read": _READ,
    "models_registry.version.register": _DEVELOP,
    "models_registry.version.change": _DEVELOP,
    "models_registry.alias.read": _READ,
    "models_registry.alias.change": _DEVELOP,
    "models_registry.grant.read": _DEVELOPERS | _STAFF | _READ_KEYS,
    "models_registry.grant.change": _ADMINISTER,
    "models_registry.deployment.read": _READ,
    "models_registry.deployment.create": _DEVELOP,
    "models_registry.deployment.change": _DEVELOP,
    "models_registry.deployment.delete": _ADMINISTER,
    # What belongs to the platform and serves every tenant
    "models_registry.platform.change": _OPERATOR,
    # Inference
    "inference.model.invoke": _DEVELOPERS | _OPERATOR | {"key:invoke"},
    "inference.node.read": _STAFF,
    "inference.deployment.control": _OPERATOR,
    "inference.queue.read": _READ,
    # Billing
    "billing.usage.read": _PAYERS | {"developer", "viewer"} | _STAFF | _READ_KEYS,
    # A key that reads may be a developer's, who sees no money: it takes one that manages.
    # Money: what a tenant's people see of it, and what the platform's do
    "billing.price.read": _PAYERS | _STAFF | _MANAGE_KEYS,
    "billing.wallet.read": _PAYERS | _STAFF | _MANAGE_KEYS,
    "billing.ledger.read": _PAYERS | _STAFF | _MANAGE_KEYS,
    "billing.price.change": _OPERATOR,
    "billing.wallet.change": _OPERATOR,
    "billing.payment.record": _OPERATOR,
    "billing.payment.confirm": _OPERATOR,
    "billing.payment.refund": _OPERATOR,
    "billing.correction.request": _OPERATOR,
    "billing.correction.approve": _OPERATOR,
    # Billing centre
    "billing.cost.read": _PAYERS | {"developer", "viewer"} | _STAFF | _READ_KEYS,
    "billing.budget.read": _READ,
    "billing.budget.change": _PAYERS | _OPERATOR | _MANAGE_KEYS,
    "billing.event.read": _PAYERS | _STAFF | _MANAGE_KEYS,
    "billing.invoice.read": _PAYERS | _STAFF | _MANAGE_KEYS,
    "billing.invoice.close": _OPERATOR,
    "billing.invoice.pay": _OPERATOR,
    "billing.reconciliation.read": _STAFF,
    "billing.reconciliation.run": _OPERATOR,
    # Safety: a tenant's rules, and the platform's
    "safety.rule.read": _DEVELOPERS | _STAFF | _READ_KEYS,
    "safety.rule.change": _ADMINISTER,
    "safety.rule.try": _DEVELOP,
    "safety.version.publish": _ADMINISTER,
    "safety.settings.read": _DEVELOPERS | _STAFF | _READ_KEYS,
    "safety.settings.change": _ADMINISTER,
    "safety.failure.change": _OWNER | _OPERATOR,
    "safety.hit.read": _READ,
    "safety.review.read": _ADMINS | _STAFF | _MANAGE_KEYS,
    # Whoever decides reads what somebody wrote: people only.
    "safety.review.decide": _ADMINISTER_PEOPLE,
    "safety.platform.read": _DEVELOPERS | _STAFF | _READ_KEYS,
    "safety.platform.change": _OPERATOR,
    "safety.platform.try": _OPERATOR,
    # Call logs. Summaries are for those who develop; reading a full text is an act of its own, of people only.
    "inference.log.read": _DEVELOPERS | _STAFF | _READ_KEYS,
    "inference.log.read_text": _ADMINS,
    "inference.log_policy.read": _READ,
    "inference.log_policy.change": _ADMINISTER_PEOPLE,
    # Data governance
    "tenants.data_class.read": _READ,
    "tenants.retention.read": _STAFF,
    "tenants.retention.apply": _OPERATOR,
    "tenants.export.read": _ADMINS | _STAFF | _MANAGE_KEYS,
    "tenants.export.create": _ADMINS | _OPERATOR,
    "tenants.export.download": _ADMINS,
    "tenants.erasure.read": _ADMINS | _STAFF | _MANAGE_KEYS,
    "tenants.erasure.create": _ADMINISTER_PEOPLE,
    "tenants.tenant.erase": _OPERATOR,
    # Accounts
    "accounts.user.read_all": _STAFF,
    "accounts.user.change": _OPERATOR,
}

# Auditors, of a tenant and of the platform, read the trail and what it speaks of. Nothing else, and they write nothing.
_AUDITORS = frozenset({"auditor", "platform_auditor"})
_READ_BY_AUDITORS: Final = frozenset(
    {
        "tenants.tenant.read",
        "tenants.member.read",
        "tenants.plan.read",
        "tenants.limit.read",
        "access.key.read",
        "audit.event.read",
        "audit.trail.read",
        "billing.usage.read",
        # What the rules are, what became of them and what people decided; not the texts that rules held.
        "safety.rule.read",
        "safety.settings.read",
        "safety.hit.read",
        "safety.review.read",
        "safety.platform.read",
    }
)
_READ_BY_PLATFORM_AUDITORS: Final = frozenset({"tenants.tenant.list_all", "accounts.user.read_all"})
# State, verification and export with proof of a trail; all of them only read it.
PERMISSIONS["audit.trail.read"] = PERMISSIONS["audit.event.read"]
for _name in _READ_BY_AUDITORS:
    PERMISSIONS[_name] |= _AUDITORS
for _name in _READ_BY_PLATFORM_AUDITORS:
    PERMISSIONS[_name] |= {"platform_auditor"}

# The scopes that a member of a role may give to a key: never more than the role itself can do.
GRANTABLE_SCOPES: Final[dict[str, frozenset[str]]] = {
    "owner": frozenset({"invoke", "read", "manage"}),
    "admin": frozenset({"invoke", "read", "manage"}),
    "developer": frozenset({"invoke", "read"}),
    "operator": frozenset({"invoke", "read", "manage"}),
}


def words_of(actor: Actor) -> frozenset[str]:
    """The words under which `actor` stands in the table."""
    words = {word for word in (actor.role, actor.platform_role) if word}
    if actor.kind == "key":
        words = {f"key:{scope}" for scope in actor.scopes}
    return frozenset(words)


def can(actor: Actor, permission: str) -> bool:
    """True when `actor` may. Raises KeyError for a permission that the table does not know: a mistake of
    ours."""
    allowed = PERMISSIONS[permission]
    return actor.kind == "system" or not allowed.isdisjoint(words_of(actor))


def require(actor: Actor, permission: str) -> None:
    """Raise NotAllowed unless `actor` may."""
    if not can(actor, permission):
        raise NotAllowed(_("Your role does not allow this."), code="not_allowed")


def permissions_of(actor: Actor) -> frozenset[str]:
    """Everything that `actor` may do; for pages and programs that show only what can be done."""
    return frozenset(permission for permission in PERMISSIONS if can(actor, permission))


def grantable_scopes(actor: Actor) -> frozenset[str]:
    """The scopes that `actor` may give to a key that they make: those of their role, or a key's own."""
    if actor.kind == "system":
        return GRANTABLE_SCOPES["operator"]
    if actor.kind == "key":
        return actor.scopes
    empty: frozenset[str] = frozenset()
    return GRANTABLE_SCOPES.get(actor.role, empty) | GRANTABLE_SCOPES.get(actor.platform_role, empty)
