"""Which events are meant: expressions in CEL, and Python functions with a name.

::

    meant = parse_predicate('event.type == "OrderPlaced" && event.data.total > 100')
    meant.matches(event)

    @predicate("large-orders")
    def large_orders(event: Event) -> bool:
        return event.data.get("total", 0) > 1000
"""

from refold.predicates.cel import Predicate, parse_predicate
from refold.predicates.named import NamedPredicate, predicate

__all__ = ["NamedPredicate", "Predicate", "parse_predicate", "predicate"]
