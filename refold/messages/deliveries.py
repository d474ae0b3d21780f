"""What the workflow that delivers system events tells its activities."""

from __future__ import annotations

from refold.messages.base import Message
from refold.requests.runs import Request


class DeliveryRequest(Request):
    """What `SystemEvents` is started with.

    Attributes:
        handler: The handler's name, ``module:function``.
    """

    handler: str


class FindDeliveries(Message):
    """Tells `next_deliveries` for which handler to look, and in which projection's events."""

    projection: str
    handler: str


class Delivery(Message):
    """One system event for one handler."""

    projection: str
    handler: str
    number: int


class NextDeliveries(Message):
    """What a handler is to be given next.

    Attributes:
        numbers: The numbers of the events, in order; none when nothing is left.
        max_attempts: How often it is tried with each.
    """

    numbers: list[int]
    max_attempts: int


class FailedDelivery(Message):
    """A delivery that is given up.

    Attributes:
        delivery: Which.
        error: What the handler raised last.
    """

    delivery: Delivery
    error: str
