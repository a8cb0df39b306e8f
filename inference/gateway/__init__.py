"""The gateway of a web process: who may call what, into the queue, and the answer back, exactly once and in order.

`/v1`, the websocket chat and whatever comes later submit their requests here and nowhere else.
"""

from inference.gateway.callers import Caller
from inference.gateway.errors import Rejected
from inference.gateway.gateway import Gateway, gateway
from inference.gateway.stream import Piece, Stream

__all__ = ["Caller", "Gateway", "Piece", "Rejected", "Stream", "gateway"]
