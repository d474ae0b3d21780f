"""Options that several commands share: a function declares them, and commands take them over.

What the shell completes is here, too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from refold.errors import RefoldError

Fields = dict[str, Any]
"""The fields of a request, by name, as options give them."""

_TAKEN = "fields"


def with_options(
    *options: Callable[..., Fields],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of these functions, in place of its parameter ``fields``.

    The command gets what these functions return, merged, as ``fields``.

    Args:
        options: Functions of keyword-only parameters, each an option with a default.

    Raises:
        TypeError: A command has no such parameter, or two options have one name.
    """
    signatures = [inspect.signature(function, eval_str=True) for function in options]

    def give(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name == _TAKEN:
                parameters += [option for s in signatures for option in s.parameters.values()]
            else:
                parameters.append(parameter)
        names = [parameter.name for parameter in parameters]
        if _TAKEN in names or len({*names}) < len(names) or len(names) < 2:
            raise TypeError(f"{command.__name__}: expected options of different names, got {names}")

        @functools.wraps(command)
        def given(*positional: Any, **options_given: Any) -> None:
            fields: Fields = {}
            for function, signature in zip(options, signatures, strict=True):
                own = {name: options_given.pop(name) for name in signature.parameters}
                fields |= function(**own)
            command(*positional, **{_TAKEN: fields}, **options_given)

        # Typer reads this signature. Keyword-only parameters come last, in the order of the help.
        ordered = sorted(parameters, key=lambda option: option.kind is option.KEYWORD_ONLY)
        given.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        return given

    return give


def known_names(incomplete: str) -> list[str]:
    """The registered projections whose names begin so; none when the modules cannot be loaded."""
    from refold.runtime.settings import load_settings

    try:
        registry = load_settings().registry()
    except RefoldError:
        return []
    return [projection.name for projection in registry if projection.name.startswith(incomplete)]
