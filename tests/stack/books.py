"""The books of a running platform, read past its API: `python -m tests.stack.books`, with ATRIUM_HOME set.

Prints JSON: what the verification of the ledger finds, every tenant's accounts, charges and drafts in nano-units, and
what Valkey still holds for requests.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def accounts_and_drafts() -> dict[str, Any]:
    """Of every tenant: balances, charges by request, and drafts computed now beside the ledger's sums."""
    from django.db.models import Count, Sum

    from billing.models import Account, EscrowEpoch, UsageRecord
    from billing.services import invoices
    from core.scoping import platform_scope, tenant_scope
    from tenants.models import Tenant

    with platform_scope("books of a test"):
        tenants = list(Tenant.objects.order_by("slug"))
    found = {}
    for tenant in tenants:
        with tenant_scope(tenant.pk):
            balances: dict[str, dict[str, int]] = {}
            for account in Account.objects.all():
                balances.setdefault(account.currency, {})[account.kind] = account.balance_nano
            usage = UsageRecord.objects.exclude(currency="").values("currency")
            served = UsageRecord.objects.exclude(outcome="refused")
            found[tenant.slug] = {
                "id": tenant.public_id,
                "balances": balances,
                "charged": {
                    row["currency"]: [row["sum"], row["count"]]
                    for row in usage.order_by().annotate(sum=Sum("charge_nano"), count=Count("id"))
                },
                "requests": dict(served.values_list("request_id", "charge_nano")),
                "rows": served.count(),
                "drafts": {
                    f"{d.month:%Y-%m} {d.currency}": d.total_nano
                    for d in invoices.ensure_drafts(tenant_id=tenant.pk)
                },
                "open_epochs": EscrowEpoch.objects.filter(state="open").count(),
                "held": held(str(tenant.pk)),
            }
    return found


def held(tenant_id: str) -> dict[str, int]:
    """What Valkey holds for one tenant's requests, and the escrow in USD that is left."""
    from core.valkey import sync_client
    from inference.admission.keys import TenantKeys

    valkey: Any = sync_client()
    keys = TenantKeys(tenant_id)
    now_ms = int(valkey.time()[0]) * 1000
    # What has expired counts no more, and goes when somebody looks.
    live = sum(int(valkey.zcount(name, now_ms, "+inf")) for name in valkey.scan_iter(f"{keys.prefix}live:*"))
    return {
        "requests": int(valkey.hlen(keys.requests)),
        "holds": int(valkey.zcard(keys.holds)),
        "slots": live,
        "escrow_nano": int(valkey.hget(keys.money, "escrow:USD") or 0),
    }


def main() -> None:
    """Print the books."""
    from launcher.home import join_running_platform

    join_running_platform()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    import django

    django.setup()
    from billing.services.verification import verify

    wrong = [f"{each.check} {each.what}: {each.said_nano} / {each.found_nano}" for each in verify()]
    json.dump({"verification": wrong, "tenants": accounts_and_drafts()}, sys.stdout)


if __name__ == "__main__":
    main()
