"""Model, ModelVersion and Alias: what exists, in which version, and under which names it is called."""

from __future__ import annotations

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.scoping import SharedManager
from models_registry.models.ownership import OwnedOrPlatform
from models_registry.querysets import SERVING_STATES, AliasQuerySet, ModelQuerySet, ModelVersionQuerySet

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"
# An alias may look like the names that programs bring along, such as `gpt-4o` or `Qwen/Qwen3-8B`.
ALIAS_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,149}$"

# Python's `$` also matches before a final line feed.
name_validator = RegexValidator(
    NAME_PATTERN.replace("$", r"\Z"),
    _("Use lower-case letters, digits, dots, hyphens and underscores; begin with a letter or digit."),
    code="invalid_name",
)
alias_validator = RegexValidator(
    ALIAS_PATTERN.replace("$", r"\Z"),
    _("Use letters, digits and . _ : / -; begin with a letter or digit."),
    code="invalid_name",
)


class Task(models.TextChoices):
    """What a model is asked to do. A chat model also completes text."""

    CHAT = "chat", _("Chat")
    COMPLETION = "completion", _("Completion")
    EMBEDDING = "embedding", _("Embedding")


class Visibility(models.TextChoices):
    """Who beside the owner sees a model."""

    PRIVATE = "private", _("Private")  # nobody: the owner has shared it with no one
    GRANTED = "granted", _("Granted")  # tenants with a grant
    PUBLIC = "public", _("Public")  # every tenant, to look at and to invoke


class VersionState(models.TextChoices):
    """Where a version is in its life."""

    DRAFT = "draft", _("Draft")
    TRAINING = "training", _("Training")
    STAGING = "staging", _("Staging")
    ONLINE = "online", _("Online")
    DEPRECATED = "deprecated", _("Deprecated")
    RETIRED = "retired", _("Retired")


class Source(models.TextChoices):
    """Where a version's weights are."""

    FOLDER = "folder", _("Folder")  # verified files under a model root
    REMOTE = "remote", _("Remote")  # behind an OpenAI-compatible server elsewhere
    SIMULATED = "simulated", _("Simulated")  # nowhere: a programme for tests and drills


# What may follow what. Retirement is final, and is announced by a deprecation first.
TRANSITIONS: Final[dict[VersionState, frozenset[VersionState]]] = {
    VersionState.DRAFT: frozenset({VersionState.TRAINING, VersionState.STAGING, VersionState.RETIRED}),
    VersionState.TRAINING: frozenset({VersionState.DRAFT, VersionState.STAGING, VersionState.RETIRED}),
    VersionState.STAGING: frozenset({VersionState.TRAINING, VersionState.ONLINE, VersionState.RETIRED}),
    VersionState.ONLINE: frozenset({VersionState.STAGING, VersionState.DEPRECATED}),
    VersionState.DEPRECATED: frozenset({VersionState.ONLINE, VersionState.RETIRED}),
    VersionState.RETIRED: frozenset(),
}


class Model(OwnedOrPlatform):
    """One model, whatever versions of it there are. Owned by a tenant, or by the platform.

    Its owner calls it by `name`, and so does everybody for the platform's; other tenants call a tenant's
    model `<owner's short name>/<name>`, so that nobody can slip a model under a name that somebody else
    relies on.
    """

    id_prefix = "mdl"

    # The owner's short name, kept here because other tenants may not see the owner's row. It never changes.
    namespace = models.CharField(_("namespace"), max_length=40, blank=True, default="", editable=False)
    name = models.CharField(_("name"), max_length=100, validators=[name_validator])
    title = models.CharField(_("title"), max_length=200, blank=True)
    description = models.TextField(_("description"), max_length=10_000, blank=True)
    task = models.CharField(_("task"), max_length=16, choices=Task.choices, default=Task.CHAT)
    licence = models.CharField(_("licence"), max_length=100, blank=True)
    tags = ArrayField(models.CharField(max_length=50), verbose_name=_("tags"), default=list, blank=True)
    visibility = models.CharField(
        _("visibility"), max_length=16, choices=Visibility.choices, default=Visibility.PRIVATE
    )
    restrict_to_members = models.BooleanField(
        _("only named members"),
        default=False,
        help_text=_("On: inside a tenant, only members with a grant of their own may invoke the model."),
    )

    objects = SharedManager.from_queryset(ModelQuerySet)()
    unscoped = models.Manager["Model"]()

    class Meta(OwnedOrPlatform.Meta):
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["name", "id"]
        # `view` is one of Django's own four; guardian stores all of them per object.
        permissions = [
            ("invoke_model", "Can invoke model"),
            ("deploy_model", "Can deploy model"),
            ("manage_model", "Can manage model"),
        ]
        constraints = [
            # A name means one model of its owner; the platform (none) counts as one owner.
            models.UniqueConstraint(
                fields=["tenant", "name"],
                name="models_registry_model_name_once",
                nulls_distinct=False,
                violation_error_message=_("A model of this name exists already."),
            ),
            # Target of the foreign keys that hold a version's and a grant's owner to the model's.
            models.UniqueConstraint(fields=["id", "tenant"], name="models_registry_model_owner"),
            models.CheckConstraint(
                condition=models.Q(name__regex=NAME_PATTERN), name="models_registry_model_name_form"
            ),
            models.CheckConstraint(
                condition=models.Q(visibility__in=Visibility.values),
                name="models_registry_model_visibility_known",
            ),
            models.CheckConstraint(
                condition=models.Q(task__in=Task.values), name="models_registry_model_task_known"
            ),
            models.CheckConstraint(
                condition=models.Q(tenant__isnull=True, namespace="")
                | (models.Q(tenant__isnull=False) & ~models.Q(namespace="")),
                name="models_registry_model_namespace",
            ),
        ]
        indexes = [
            # "What is public": one branch of the wall's own policy.
            models.Index(
                fields=["visibility"],
                condition=models.Q(visibility="public"),
                name="models_registry_model_public",
            ),
        ]

    def __str__(self) -> str:
        return self.qualified_name

    @property
    def qualified_name(self) -> str:
        """The name that means this model to everybody; a tenant's carries the tenant's short name."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ModelVersion(OwnedOrPlatform):
    """One set of weights of a model, with the manifest of what was verified. `tenant` is the model's owner.

    NOTE: `artifact_path` is a path on the platform's disks; it is not for tenants' eyes.
    """

    id_prefix = "ver"

    model = models.ForeignKey(
        Model, verbose_name=_("model"), on_delete=models.CASCADE, related_name="versions", editable=False
    )
    number = models.PositiveIntegerField(_("number"), editable=False)
    label = models.CharField(_("label"), max_length=100, blank=True)
    state = models.CharField(
        _("state"), max_length=16, choices=VersionState.choices, default=VersionState.DRAFT, editable=False
    )
    source = models.CharField(_("source"), max_length=16, choices=Source.choices, editable=False)
    artifact_path = models.CharField(_("folder"), max_length=1_000, blank=True, editable=False)
    # {file: {"sha256", "size"}}, and the SHA-256 of its canonical JSON.
    manifest = models.JSONField(_("manifest"), default=dict, blank=True, editable=False)
    digest = models.CharField(_("digest"), max_length=64, blank=True, editable=False)
    architecture = models.CharField(_("architecture"), max_length=100, blank=True, editable=False)
    context_length = models.PositiveIntegerField(_("context length"), null=True, blank=True)  # tokens
    parameters = models.PositiveBigIntegerField(_("parameters"), null=True, blank=True, editable=False)
    size_bytes = models.PositiveBigIntegerField(_("size"), null=True, blank=True, editable=False)

    objects = SharedManager.from_queryset(ModelVersionQuerySet)()
    unscoped = models.Manager["ModelVersion"]()

    class Meta(OwnedOrPlatform.Meta):
        verbose_name = _("version")
        verbose_name_plural = _("versions")
        ordering = ["model", "-number"]
        constraints = [
            # Also serves "the newest version of a model".
            models.UniqueConstraint(fields=["model", "number"], name="models_registry_version_once"),
            models.CheckConstraint(
                condition=models.Q(state__in=VersionState.values), name="models_registry_version_state_known"
            ),
            # Nothing unverified is ever served.
            models.CheckConstraint(
                condition=~models.Q(source=Source.FOLDER)
                | models.Q(state__in=[VersionState.DRAFT, VersionState.TRAINING, VersionState.RETIRED])
                | (~models.Q(digest="") & ~models.Q(artifact_path="")),
                name="models_registry_version_verified",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model.qualified_name} v{self.number}"

    @property
    def is_serving(self) -> bool:
        """True while deployments of this version take requests."""
        return self.state in SERVING_STATES


class Alias(OwnedOrPlatform):
    """A public name that leads to one version.

    A tenant's own alias goes before every other meaning of the name.
    """

    id_prefix = "als"

    name = models.CharField(_("name"), max_length=150, validators=[alias_validator])
    version = models.ForeignKey(
        ModelVersion, verbose_name=_("version"), on_delete=models.CASCADE, related_name="aliases"
    )

    objects = SharedManager.from_queryset(AliasQuerySet)()
    unscoped = models.Manager["Alias"]()

    class Meta(OwnedOrPlatform.Meta):
        verbose_name = _("alias")
        verbose_name_plural = _("aliases")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"],
                name="models_registry_alias_once",
                nulls_distinct=False,
                violation_error_message=_("An alias of this name exists already."),
            ),
            models.CheckConstraint(
                condition=models.Q(name__regex=ALIAS_PATTERN), name="models_registry_alias_name_form"
            ),
        ]

    def __str__(self) -> str:
        return self.name
