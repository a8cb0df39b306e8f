"""The registry's Django application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ModelsRegistryConfig(AppConfig):
    """Models, versions, aliases, deployments, grants."""

    name = "models_registry"
    verbose_name = _("Model registry")

    def ready(self) -> None:
        """Tell the catalogue of data what this application keeps."""
        from models_registry.governance import declare

        declare()
