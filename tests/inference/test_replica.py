"""A replica's bookkeeping where orders and requests cross each other."""

from __future__ import annotations

import pytest

from core import clock
from tests.inference.edge import Edge
from tests.inference.test_queue import ticket


@pytest.mark.parametrize("how", ["client", "web"])
async def test_a_request_stopped_before_its_first_step_is_forgotten_and_accounted_for(
    edge: Edge, how: str
) -> None:
    replica = await edge.start_replica("rep-a")
    now_ms = clock.epoch_ms()
    request = ticket(
        str(edge.served.deployment.pk), str(edge.served.acme.pk), f"req_{how}",
        enqueued_ms=now_ms, deadline_ms=now_ms + 60_000,
    )  # fmt: skip
    replica._accept(request)
    # In the same step of the event loop, as when both wait in line behind a busy moment.
    if how == "client":
        replica._obey("cancel", request.id)
    else:
        replica._web_gone(request.web)
    record = await edge.usage(request.id)
    assert (record["outcome"], record["error_code"]) == (
        "cancelled",
        "client_gone" if how == "client" else "gateway_lost",
    )
    assert not replica._jobs
