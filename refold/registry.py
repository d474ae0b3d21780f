"""The projections that a process knows: found in the modules that REFOLD_PROJECTIONS names."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from refold.errors import ConfigurationError, InvalidProjection, UnknownProjection, VersionChanged
from refold.projection import Projection


class Registry:
    """Projections by name."""

    def __init__(self, projections: Iterable[Projection] = ()) -> None:
        self._by_name: dict[str, Projection] = {}
        for projection in projections:
            self._add(projection)

    def _add(self, projection: Projection) -> None:
        known = self._by_name.setdefault(projection.name, projection)
        if known is not projection:
            raise InvalidProjection(f"two projections are named {projection.name!r}: rename one")
        if not projection.handlers:
            raise InvalidProjection(
                f"{projection.name}: expected at least one handler: decorate a function with "
                '@projection.on("EventType")'
            )

    def get(self, name: str) -> Projection:
        """The projection of that name.

        Raises:
            UnknownProjection: There is none; the message lists those there are.
        """
        if name not in self._by_name:
            raise UnknownProjection(name, list(self._by_name))
        return self._by_name[name]

    def planned(self, name: str, version: int) -> Projection:
        """The projection that a run was planned for: two versions must not fold one table.

        Raises:
            UnknownProjection: There is none of that name.
            VersionChanged: It has another version now.
        """
        projection = self.get(name)
        if projection.version != version:
            raise VersionChanged(
                f"projection {name!r}: the run was planned for version {version}, this worker has "
                f"version {projection.version}: start the run again once all workers are alike"
            )
        return projection

    def __iter__(self) -> Iterator[Projection]:
        return iter(sorted(self._by_name.values(), key=lambda projection: projection.name))

    def __len__(self) -> int:
        return len(self._by_name)


def load_registry(modules: Iterable[str]) -> Registry:
    """Imports the modules, and all modules inside those that are packages.

    The working directory counts as an import path, so that an application's own modules are found.

    Raises:
        ConfigurationError: A module cannot be imported.
        InvalidProjection: Two different projections have the same name, or one has no handler.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    found: dict[int, Projection] = {}
    for name in modules:
        for module in _import_all(name):
            for value in vars(module).values():
                if isinstance(value, Projection):
                    found.setdefault(id(value), value)
    return Registry(found.values())


def _import_all(name: str) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
        yield module
        for inner in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
            yield importlib.import_module(inner.name)
    except (ImportError, SyntaxError) as error:
        raise ConfigurationError(
            f"REFOLD_PROJECTIONS: expected importable modules, but {name!r} fails: {error}"
        ) from error
