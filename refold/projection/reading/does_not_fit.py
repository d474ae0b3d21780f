"""What is wrong with an event that its handler cannot be given."""

from __future__ import annotations


class EventDoesNotFit(ValueError):
    """Its data are not what a class or an upcaster says, or its schema version is none.

    Such an event is poison. The message says where, and what was expected, without values.
    """
