"""The mirrors of this process: those that REFOLD_MIRRORS names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from refold.errors import ConfigurationError, UnknownMirror
from refold.source.mirrors.protocol import MirrorSource
from refold.source.port.current import imported

SETTING = "REFOLD_MIRRORS"


class NamedMirrors:
    """The sources of mirrors by name; each is imported when it is first asked for.

    A mirror's name is what stands after the colon: ``shop.mirrors:kurrent`` is ``kurrent``. The
    place of the module may change, the name keeps its cursor.

    Args:
        places: ``module:name`` of each source, or of a function without arguments that makes it.

    Raises:
        ConfigurationError: One is not a place, or two have the same name.
    """

    def __init__(self, places: Sequence[str]) -> None:
        for place in places:
            if not re.fullmatch(r"[\w.]+:[A-Za-z_][A-Za-z0-9_]*", place):
                raise ConfigurationError(
                    f"{SETTING}: expected module:name of each mirror, such as "
                    f"shop.mirrors:kurrent, got {place!r}"
                )
        self.places = {place.partition(":")[2]: place for place in places}
        if len(self.places) < len({*places}):
            raise ConfigurationError(
                f"{SETTING}: expected mirrors of different names, which stand after the colon, got "
                f"{', '.join(places)}"
            )
        self._sources: dict[str, MirrorSource] = {}

    def require(self, name: str) -> None:
        """Requires that there is a mirror of that name.

        Raises:
            UnknownMirror: There is none.
        """
        if name not in self.places:
            raise UnknownMirror(name, [*self.places])

    def get(self, name: str) -> MirrorSource:
        """A mirror's source.

        Raises:
            UnknownMirror: There is none of that name.
            ConfigurationError: It cannot be imported, or is no source.
        """
        self.require(name)
        if name not in self._sources:
            self._sources[name] = _loaded(self.places[name])
        return self._sources[name]


def _loaded(place: str) -> MirrorSource:
    found: Any = imported(place, SETTING, "a MirrorSource", is_one=_is_source)
    if not _is_source(found):
        raise ConfigurationError(
            f"{SETTING}: expected module:name of a MirrorSource (a method `async def read(after, "
            f"limit)`), got {place!r}, which is {type(found).__name__}"
        )
    source: MirrorSource = found
    return source


def _is_source(found: Any) -> bool:
    return not inspect.isclass(found) and callable(getattr(found, "read", None))
