"""Publication: the draft becomes a version that never changes, and is in force in every process within a second.

Rolling back publishes an old version's rules under a new number: a number means the same rules for ever, the newest is
the one in force, and the list of versions is the history.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from access import policies as access
from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, NotFound
from safety import policies, snapshots, terms
from safety.errors import BrokenVersion, Outdated, RuleRefused
from safety.owners import Owner, owner_of
from safety.services import compiling
from safety.services.heads import locked_head
from safety.spec import RuleSet


def draft(owner: Owner, *, version: int = 0) -> RuleSet:
    """The enabled rules of the draft as a rule set. Reads every word list that they use, each once."""
    rows = list(owner.rules.objects.filter(is_enabled=True, **owner.mine).order_by("pk"))
    wanted = {row.word_list_id for row in rows if row.word_list_id}
    lists = {each.pk: terms.unpack(each.content) for each in owner.lists.objects.filter(pk__in=wanted)}
    return RuleSet(
        id=owner.set_id,
        version=version,
        rules=tuple(snapshots.rule_of(row, lists.get(row.word_list_id, ())) for row in rows),
    )


@transaction.atomic
def publish(
    *, owner: Owner, actor: Actor, note: str = "", reason: str = "", draft_revision: int | None = None
) -> Any:
    """Put the draft in force. `draft_revision` is the one that the caller saw and tried.

    Raises NotAllowed, RuleRefused naming the rule that cannot be compiled, Outdated, Conflict. Compiles everything:
    up to some seconds for 100,000 words, during which nobody else can edit this owner's rules.
    """
    access.require(actor, owner.permission("version.publish"))
    head = locked_head(owner)
    if draft_revision is not None and draft_revision != head.draft_revision:
        raise Outdated(_("The draft has changed meanwhile. Look again."), field="draft_revision")
    rule_set = draft(owner, version=head.version + 1)
    controls = _controls(owner)
    return _put_in_force(owner, head, rule_set, actor, note=note, reason=reason, controls=controls)


@transaction.atomic
def roll_back(*, version: Any, actor: Actor, note: str = "", reason: str = "") -> Any:
    """Put the rules of an older version in force, as a new one. The draft stays as it is.

    Raises NotAllowed, Conflict when it is in force already, and RuleRefused when it cannot be compiled any more.
    """
    owner = owner_of(version)
    access.require(actor, owner.permission("version.publish"))
    head = locked_head(owner)
    old = owner.versions.objects.filter(pk=version.pk).first()
    if old is None:
        raise NotFound(_("There is no such version."))
    if old.number == head.version:
        raise Conflict(_("This version is in force already."), code="in_force")
    try:
        content = snapshots.decode(old.content, old.digest)
    except BrokenVersion:
        raise Conflict(_("The stored version is damaged and cannot be used."), code="broken") from None
    rule_set = snapshots.renumbered(content, head.version + 1)
    controls = old.controls if owner.is_platform else None
    return _put_in_force(
        owner, head, rule_set, actor, note=note, reason=reason, controls=controls, restores=old.number
    )


def _put_in_force(
    owner: Owner,
    head: Any,
    rule_set: RuleSet,
    actor: Actor,
    *,
    note: str,
    reason: str,
    controls: dict[str, Any] | None,
    restores: int | None = None,
) -> Any:
    count = snapshots.count_terms(rule_set)
    if count > policies.MAX_SET_TERMS:
        raise Conflict(
            _("All rules together may have at most %(limit)d words.") % {"limit": policies.MAX_SET_TERMS}
        )
    try:
        compiling.compiled(rule_set)
    except RuleRefused as error:
        error.field = f"rules.{error.rule}" if error.rule else "rules"
        raise
    content, digest = snapshots.encode(rule_set)
    row = owner.versions(
        **owner.mine,
        number=rule_set.version,
        content=content,
        digest=digest,
        rule_count=len(rule_set.rules),
        term_count=count,
        note=note,
        restores=restores,
        published_by_id=actor.id,
        published_by=actor.label[:254],
    )
    if controls is not None:
        row.controls = controls
    row.save(force_insert=True)
    before = head.version
    head.version = rule_set.version
    head.save(update_fields=["version", "updated_at"])
    audit.record(
        owner.verb("version.rolled_back" if restores else "version.published"),
        actor=actor,
        target=row,
        tenant_id=owner.tenant_id,
        reason=reason,
        before={"version": before},
        after={
            "version": row.number,
            "digest_sha256": digest,
            "rules": row.rule_count,
            "words": count,
            "note": note,
            "restores": restores,
        },
    )
    owner.announce()
    return row


def _controls(owner: Owner) -> dict[str, Any] | None:
    """What tenants may loosen, as the draft has it; none for a tenant's own rules."""
    if not owner.is_platform:
        return None
    rows = owner.rules.objects.filter(is_enabled=True, tenant_controlled=True)
    return {row.key: [row.loosest_in, row.loosest_out] for row in rows}
