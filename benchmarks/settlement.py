"""How many requests a second settlement keeps up with: `python -m benchmarks.settlement` from the project's root.

Starts PostgreSQL as the tests do, gives some tenants prices and escrow, and settles batches of 1,000 records, one
transaction each. Prints records per second for batches of one tenant and of many. About half a minute.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any


def main(arguments: list[str]) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 10, 100])
    options = parser.parse_args(arguments)
    prepare()
    for tenants in options.tenants:
        seconds, grants = measure(tenants, options.records, options.batch)
        print(
            f"{tenants:>4} tenants in a batch of {options.batch}:"
            f" {options.records / seconds:,.0f} records/s; a grant {grants * 1000:.1f} ms"
        )


def prepare() -> None:
    """Servers, Django and a database of one's own."""
    sys.path[:0] = [".", "platform"]
    from tests import services

    services.start()
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    import django

    django.setup()
    import logging

    import structlog

    from tests import database

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    database.prepare("atrium_bench_settlement")


def measure(tenants: int, records: int, batch: int) -> tuple[float, float]:
    """Seconds to settle `records`, and seconds for one grant."""
    from billing.money import NANO
    from billing.services import escrow
    from billing.services.settlement import settle
    from tests.billing import world
    from tests.factories.tenants import TenantFactory

    made: list[Any] = [TenantFactory() for _ in range(tenants)]
    held: dict[Any, dict[str, Any]] = {}
    for tenant in made:
        world.priced(tenant, gpu_second_nano=NANO // 100)
        world.fund(tenant, 10_000 * NANO)
        held[tenant.pk] = {"hold_nano": 1_000_000, "epoch": world.EPOCH, "price": world.price_id(tenant)}
    began = time.perf_counter()
    for tenant in made:
        escrow.grant(tenant_id=tenant.pk, epoch=world.EPOCH, need_nano=100 * NANO)
    granting = (time.perf_counter() - began) / tenants
    notes = [
        world.note(made[number % tenants], f"r{tenants}-{number}", **held[made[number % tenants].pk])
        for number in range(records)
    ]
    began = time.perf_counter()
    for start in range(0, records, batch):
        settle(notes[start : start + batch])
    seconds = time.perf_counter() - began
    for tenant in made[:3]:
        world.assert_sound(tenant)
    return seconds, granting


if __name__ == "__main__":
    main(sys.argv[1:])
