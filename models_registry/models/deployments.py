"""Deployment: which version is to run, on what engine, how many times, and for whom."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.scoping import SharedManager
from models_registry.models.catalogue import NAME_PATTERN, ModelVersion, Source, name_validator
from models_registry.models.ownership import OwnedOrPlatform
from models_registry.querysets import DeploymentQuerySet
from models_registry.specs import EngineSpec

MIN_REPLICAS = 1
MAX_REPLICAS = 64
POOL_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
DEFAULT_POOL = "default"


class EngineKind(models.TextChoices):
    """What runs the model."""

    VLLM = "vllm", _("vLLM")
    OPENAI = "openai", _("OpenAI-compatible server")
    SIMULATED = "simulated", _("Simulated")


# Which engine can run what: files need vLLM, a remote model its server; a drill may stand in for anything.
ENGINES_OF_SOURCE: dict[str, frozenset[str]] = {
    Source.FOLDER: frozenset({EngineKind.VLLM, EngineKind.SIMULATED}),
    Source.REMOTE: frozenset({EngineKind.OPENAI, EngineKind.SIMULATED}),
    Source.SIMULATED: frozenset({EngineKind.SIMULATED}),
}


class DeploymentManager(SharedManager.from_queryset(DeploymentQuerySet)):  # type: ignore[misc]
    """Deployments that the scope in force may see, without their credentials."""

    def get_queryset(self) -> DeploymentQuerySet:
        """All deployments in scope. NOTE: reading `remote_credential` of one costs a query."""
        return super().get_queryset().without_secrets()


class Deployment(OwnedOrPlatform):
    """The wish that a version runs.

    With a tenant it serves that tenant alone; without, all who may invoke it.

    What really runs is known from heartbeats; the reconciler brings the two together.
    """

    id_prefix = "dep"

    version = models.ForeignKey(
        ModelVersion,
        verbose_name=_("version"),
        on_delete=models.CASCADE,
        related_name="deployments",
        editable=False,
    )
    name = models.CharField(_("name"), max_length=100, validators=[name_validator])
    engine = models.CharField(_("engine"), max_length=16, choices=EngineKind.choices, editable=False)
    desired_replicas = models.PositiveSmallIntegerField(
        _("replicas"),
        default=1,
        validators=[MinValueValidator(MIN_REPLICAS), MaxValueValidator(MAX_REPLICAS)],
    )
    running = models.BooleanField(_("running"), default=True)
    engine_args = models.JSONField(_("engine arguments"), default=dict, blank=True)
    pool = models.CharField(
        _("pool"),
        max_length=40,
        default=DEFAULT_POOL,
        validators=[RegexValidator(POOL_PATTERN.replace("$", r"\Z"), code="invalid_name")],
    )
    remote_base_url = models.CharField(_("address"), max_length=500, blank=True)
    remote_model = models.CharField(_("model there"), max_length=200, blank=True)
    # Encrypted (core.encryption, purpose "remote-credential"); never shown again, to nobody.
    remote_credential = models.TextField(_("credential"), blank=True, editable=False)

    objects = DeploymentManager()
    unscoped = models.Manager["Deployment"]()

    class Meta(OwnedOrPlatform.Meta):
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        ordering = ["name", "id"]
        constraints = [
            # Not unique over all tenants: a refusal would tell one tenant of another's names.
            models.UniqueConstraint(
                fields=["tenant", "name"],
                name="models_registry_deployment_once",
                nulls_distinct=False,
                violation_error_message=_("A deployment of this name exists already."),
            ),
            models.CheckConstraint(
                condition=models.Q(name__regex=NAME_PATTERN), name="models_registry_deployment_name_form"
            ),
            models.CheckConstraint(
                condition=models.Q(desired_replicas__gte=MIN_REPLICAS, desired_replicas__lte=MAX_REPLICAS),
                name="models_registry_deployment_replicas",
            ),
            models.CheckConstraint(
                condition=models.Q(engine__in=EngineKind.values), name="models_registry_deployment_engine"
            ),
            # An address belongs to a remote engine, and a remote engine has one.
            models.CheckConstraint(
                condition=(models.Q(engine=EngineKind.OPENAI) & ~models.Q(remote_base_url=""))
                | (
                    ~models.Q(engine=EngineKind.OPENAI)
                    & models.Q(remote_base_url="", remote_model="", remote_credential="")
                ),
                name="models_registry_deployment_remote",
            ),
        ]
        indexes = [
            # What the reconciler wants to see running.
            models.Index(
                fields=["version"], condition=models.Q(running=True), name="models_registry_deploy_running"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_serving(self) -> bool:
        """True when this deployment is to take requests. NOTE: reads self.version."""
        return self.running and self.version.is_serving

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and answer together: the version's, or less where the engine is told so."""
        told = self.engine_args.get("max_model_len") or self.engine_args.get("context_length")
        known = [length for length in (told, self.version.context_length) if length]
        return min(known, default=None)

    def engine_spec(self) -> EngineSpec:
        """What a worker needs to start a replica. NOTE: reads self.version and its model."""
        version = self.version
        is_local = self.engine == EngineKind.VLLM
        return EngineSpec(
            deployment_id=self.id,
            tenant_id=self.tenant_id,
            version_id=version.id,
            name=self.name,
            engine=self.engine,
            task=version.model.task,
            served_name=version.model.name,
            path=version.artifact_path if is_local else "",
            digest=version.digest if is_local else "",
            manifest=version.manifest if is_local else {},
            context_length=self.context_length,
            args=dict(self.engine_args),
            remote_base_url=self.remote_base_url,
            remote_model=self.remote_model,
        )
