"""Words for what leaves a worker: short, and such as JSON, PostgreSQL and Temporal can carry."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sized
from difflib import get_close_matches
from pathlib import Path
from sysconfig import get_paths
from types import FrameType
from typing import Any, cast

LONGEST = 2_000
"""Characters of a failure's message, and bytes: a server shows no failure of more than 4 kB."""

_ELLIPSIS = "…"

# Whose lines say nothing of where people's code stands: Refold's, and those of libraries.
_OTHERS = (Path(__file__).parents[1], *(Path(get_paths()[n]) for n in ("stdlib", "purelib")))


def storable(text: str) -> str:
    """A text as PostgreSQL can store it, and JSON can carry it: no NUL, no lone surrogates."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def shortened(text: str, most: int = LONGEST) -> str:
    """At most so many characters, and bytes of UTF-8, of a text that anybody may have made.

    The end is kept too: it says what to do.
    """
    clean = storable(text[: 2 * most])
    if len(text) <= 2 * most and len(clean.encode()) <= most:
        return clean
    tail = storable(text[-most:])
    end = _last(tail, most // 4)
    return _first(clean, most - len((_ELLIPSIS + end).encode())) + _ELLIPSIS + end


def _first(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


def _last(text: str, most: int) -> str:
    return text.encode()[-most:].decode(errors="ignore")


def said(error: BaseException, most: int = LONGEST) -> str:
    """What an exception says, shortened; also of one that cannot say it."""
    try:
        return shortened(str(error), most)
    except BaseException:
        return "it cannot say what"


def raised(error: BaseException, most: int = LONGEST) -> str:
    """An exception's type and what it says: ``ValueError: no such sku``."""
    message = said(error, most)
    kind = shortened(type(error).__name__, 200)
    return f"{kind}: {message}" if message else kind


def raised_at(error: BaseException) -> str | None:
    """Where people's code raised: its innermost line, as ``projections/orders.py:7``.

    None when all lines are Refold's, or a library's.
    """
    if isinstance(error, SyntaxError) and error.filename is not None and _is_theirs(error.filename):
        return _placed(error.filename, error.lineno or 1)
    place = None
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if _is_theirs(file):
            place = _placed(file, trace.tb_lineno)
        trace = trace.tb_next
    return place


def called_from() -> str | None:
    """Where people's code calls Refold right now: its innermost line; None when none does."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_theirs(frame.f_code.co_filename):
            return _placed(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def defined_at(function: Callable[..., Any]) -> str | None:
    """Where a function of people's begins; None when that cannot be known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else _placed(code.co_filename, code.co_firstlineno)


def _is_theirs(name: str) -> bool:
    # Python's importer, and what dataclasses write.
    if name.startswith(("<frozen ", "<string>")):
        return False
    file = Path(name)
    return not any(file.is_relative_to(other) for other in _OTHERS)


def _placed(name: str, line: int) -> str:
    file = Path(name)
    return f"{file.parent.name}/{file.name}:{line}"


def why_not_imported(name: str, error: BaseException) -> str:
    """Why a module that people name cannot be imported, with file and line.

    If it is missing itself: where it was sought.
    """
    told = isinstance(error, ImportError | AttributeError)
    why = error.msg if isinstance(error, SyntaxError) else str(error) if told else raised(error)
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{name}.".startswith(f"{missing}."):
        return f"{why} in the working directory, on PYTHONPATH or among what is installed"
    place = raised_at(error)
    return why if place is None else f"{place}: {why}"


def meant(got: str, known: Iterable[str]) -> str:
    """What somebody may have meant, to end a sentence with; empty when nothing comes near."""
    near = get_close_matches(got, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def printable(text: str) -> str:
    """A text in one line; what a terminal or a page would act upon is an escape sequence."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def described(value: Any) -> str:
    """What sort of value it is, and how large, without a word of what it holds."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    sizes: dict[type | tuple[type, ...], str] = {
        str: "a text of {:,} characters",
        dict: "an object of {:,} fields",
        (list, tuple): "a list of {:,}",
    }
    for kind, words in sizes.items():
        if isinstance(value, kind):
            return words.format(len(cast(Sized, value)))
    if isinstance(value, int):
        return f"a whole number of {value.bit_length()} bits"
    return "a number that is not whole" if isinstance(value, float) else f"a {type(value).__name__}"
