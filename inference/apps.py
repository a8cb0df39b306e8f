"""Registration of the inference application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InferenceConfig(AppConfig):
    """Requests, engines and chats."""

    name = "inference"
    verbose_name = _("Inference")

    def ready(self) -> None:
        """Tell the console which models a member may call, and admission who keeps the money."""
        from billing.services import escrow
        from console.extensions import provide_models
        from inference.admission import port
        from inference.console import callable_models

        provide_models(callable_models)
        port.use(escrow)
        from inference.governance import declare

        declare()

        from console.extensions import NavEntry, add_entry

        add_entry(NavEntry(_("Call logs"), "calls:logs", "lines", "inference.log.read", order=30))
        add_entry(NavEntry(_("Limits"), "calls:limits", "sliders", "tenants.limit.read", order=45))
        add_entry(NavEntry(_("Overview"), "calls:overview", "gauge", "billing.cost.read", order=5))
        add_entry(NavEntry(_("Models"), "calls:models", "cube", "models_registry.model.read", order=15))
        add_entry(NavEntry(_("Settings"), "calls:settings", "cog", "inference.log_policy.read", order=80))
        add_entry(
            NavEntry(_("Engines"), "calls:engines", "cube", "inference.node.read", 200, is_platform=True)
        )
