"""Imports at the start of a process."""

from __future__ import annotations

import gc
from importlib import import_module
from types import ModuleType


def imported(name: str) -> ModuleType:
    """Imports a module and all that it needs, without the cyclic garbage collector.

    Nothing of what a module makes is garbage. The collector looks at all of it again and again
    nevertheless, for a tenth of the time that the imports take.

    Raises:
        Whatever the import raises.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if was_on:
            gc.enable()
