"""How static files are named in production."""

from __future__ import annotations

from servestatic.storage import CompressedManifestStaticFilesStorage


class VersionedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Every file under a name that changes with its content, those that ES modules import from each other included.

    Without that a browser could hold one module of the last release and another of this one.
    """

    support_js_module_import_aggregation = True
