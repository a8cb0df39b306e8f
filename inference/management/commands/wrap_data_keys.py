"""`manage.py wrap_data_keys`: wrap all data keys with the newest ATRIUM_ENCRYPTION_KEY, after it was changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from core.scoping import platform_scope, tenant_scope
from inference.call_logs import data_keys
from inference.call_logs.models import DataKey


class Command(BaseCommand):
    """For operators: run it before the old key is taken out of the list."""

    help = "Wrap all data keys with the newest of the platform's keys."

    def handle(self, *args: Any, **options: Any) -> None:
        """Tenant by tenant."""
        with platform_scope("manage.py wrap_data_keys"):
            tenants = set(
                DataKey.objects.filter(destroyed_at__isnull=True).values_list("tenant_id", flat=True)
            )
        count = 0
        for tenant_id in sorted(tenants):
            with tenant_scope(tenant_id):
                count += data_keys.wrap_anew()
        self.stdout.write(f"{count} keys of {len(tenants)} tenants")
