"""Whatever people's code raises is theirs: it ends no process of ours, and cancels nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import temporalio.exceptions

from refold import Projection
from refold.engine.folding.key_order import KeyOrderFold
from refold.errors import PoisonEvent, PredicateFailed
from refold.predicates.named import predicate
from tests.support.declared import counted, event

RAISED = [
    ValueError("no"),
    KeyError("sku"),
    ZeroDivisionError(),
    StopIteration(),
    StopAsyncIteration(),
    RecursionError("too deep"),
    MemoryError(),
    OSError("no such file"),
    TimeoutError(),
    ConnectionResetError(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    temporalio.exceptions.CancelledError(),
    temporalio.exceptions.ApplicationError("no"),
    ExceptionGroup("both", [ValueError("no")]),
    BaseExceptionGroup("both", [SystemExit(3)]),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("where", ["handler", "key", "in key order", "predicate"])
def test_whatever_peoples_code_raises_is_a_poison_event(error: BaseException, where: str) -> None:
    def fails(*_: Any) -> Any:
        raise error

    projection = counted()
    projection.on("Added")(fails)
    if where == "predicate":
        with pytest.raises(PredicateFailed, match=type(error).__name__):
            predicate("odd")(fails).matches(event(1))
        return
    if where == "key":
        table = projection.table
        projection = Projection("p", table=table, key=fails)
        projection.on("Added")(lambda row, event: row)
    record = [1, "s", 1, "Added", {}, {}, "2026-01-01T00:00:00+00:00", "s"]
    fold = KeyOrderFold(projection, 10)
    folding: Callable[[], Any] = lambda: projection.fold([event(1)])  # noqa: E731
    if where == "in key order":
        folding = lambda: list(fold.feed([record]))  # noqa: E731
    with pytest.raises(PoisonEvent, match=type(error).__name__) as raised:
        folding()
    assert raised.value.__cause__ is error
