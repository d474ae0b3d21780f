"""What a process knows by name, found in the modules that REFOLD_PROJECTIONS names."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from refold.errors import (
    ConfigurationError,
    InvalidProjection,
    InvalidRequest,
    RefoldError,
    UnknownProjection,
    VersionChanged,
)
from refold.errors.words import defined_at, raised_at, why_not_imported
from refold.predicates import NamedPredicate
from refold.projection.declaration import Projection
from refold.projection.defaults import Defaults
from refold.projection.schemas import declared_schema
from refold.system_events.handlers import SystemHandler


class Registry:
    """Projections, in one version or several; handlers of system events; predicates by name.

    The highest version is the one that new runs fold with; the others keep what they built alive:
    a generation is followed, and so can be rolled back to, by the version that built it.

    Args:
        projections: Each projection, in each of its versions.
        system_handlers: Beside those that projections bring along.
        predicates: By which requests may select.
        defaults: Settings for what projections do not say themselves.
        environment: The same from REFOLD_… variables, behind those.

    Raises:
        InvalidProjection: Two have one name, one table, or settings that contradict one another;
            or upcasters leave events on the way to the newest version.

    Attributes:
        build: Of which build of the code they are (``deployment.build``), where workers are
            versioned; None elsewhere. Steps of its runs come to workers of that build only.
    """

    def __init__(
        self,
        projections: Iterable[Projection] = (),
        system_handlers: Iterable[SystemHandler] = (),
        predicates: Iterable[NamedPredicate] = (),
        *,
        defaults: Defaults | None = None,
        environment: Defaults | None = None,
    ) -> None:
        self.build: str | None = None
        behind = defaults or Defaults(), environment or Defaults()
        self._versions: dict[str, dict[int, Projection]] = {}
        self._system_handlers: dict[str, SystemHandler] = {}
        self._predicates: dict[str, NamedPredicate] = {}
        for projection in projections:
            projection.policies.take(*behind)
            self._add(projection)
            projection.reading.require_whole()
        self._require_own_tables()
        for handler in system_handlers:
            self._add_handler(handler)
        for projection in self:
            for handler in projection.system_handlers:
                self._add_handler(handler)
        for predicate in predicates:
            self._add_predicate(predicate)

    def _add_predicate(self, predicate: NamedPredicate) -> None:
        if self._predicates.setdefault(predicate.name, predicate) is not predicate:
            raise _placed(
                defined_at(predicate.function),
                f"two predicates are named {predicate.name!r}: requests call them by their names, "
                "rename one",
            )

    def _add_handler(self, handler: SystemHandler) -> None:
        if self._system_handlers.setdefault(handler.name, handler) is not handler:
            raise _placed(
                defined_at(handler.handle),
                f"two handlers of system events are named {handler.name!r}: a handler keeps its "
                "place by its name, give one of the functions another",
            )

    def _add(self, projection: Projection) -> None:
        versions = self._versions.setdefault(projection.name, {})
        if versions.setdefault(projection.version, projection) is not projection:
            raise _placed(
                projection.declared_at,
                f"two projections are named {projection.name!r} with version "
                f"{projection.version}: rename one, or give it another version",
            )
        names = {(declared_schema(p.table), p.table.name) for p in versions.values()}
        if len(names) > 1:
            raise _placed(
                projection.declared_at,
                f"{projection.name}: expected one table name for all its versions, got "
                f"{', '.join(sorted(name for _, name in names))}: readers query one table",
            )
        if projection.event_types == []:
            raise _placed(
                projection.declared_at,
                f"{projection.name}: expected at least one handler: decorate a function with "
                '@projection.on("EventType")',
            )

    def _require_own_tables(self) -> None:
        """Refuses two projections on one table: they would undo each other's rows."""
        owners: dict[tuple[str, str], str] = {}
        for name, versions in self._versions.items():
            for projection in versions.values():
                place = (declared_schema(projection.table), projection.table.name)
                owner = owners.setdefault(place, name)
                if owner != name:
                    raise _placed(
                        projection.declared_at,
                        f"projections {owner!r} and {name!r} have one table, "
                        f"{'.'.join(place)!r}: expected one for each: name another table for one "
                        "of them; versions of one projection share theirs under one name",
                    )

    def get(self, name: str) -> Projection:
        """The projection of that name, in its highest version.

        Raises:
            UnknownProjection: No projection has that name; the message lists those there are.
        """
        if name not in self._versions:
            raise UnknownProjection(name, list(self._versions))
        versions = self._versions[name]
        return versions[max(versions)]

    def version(self, name: str, version: int) -> Projection | None:
        """The projection of that name in that version, if it is registered.

        Raises:
            UnknownProjection: There is none of that name in any version.
        """
        self.get(name)
        return self._versions[name].get(version)

    def versions(self, name: str) -> list[int]:
        """The registered versions of a projection, ascending.

        Raises:
            UnknownProjection: There is none of that name.
        """
        self.get(name)
        return sorted(self._versions[name])

    def planned(self, name: str, version: int) -> Projection:
        """The projection that a run was planned for: two versions must not fold one table.

        Raises:
            UnknownProjection: There is none of that name.
            VersionChanged: That version is not registered any more.
        """
        projection = self.version(name, version)
        if projection is None:
            known = ", ".join(str(number) for number in self.versions(name))
            raise VersionChanged(
                f"projection {name!r}: the run was planned for version {version}, this worker has "
                f"version {known}: start the run again once all workers are alike"
            )
        return projection

    def add_system_handler(self, handler: SystemHandler) -> None:
        """Adds a handler of all projections' system events, in place of one of the same name."""
        self._system_handlers[handler.name] = handler

    def system_handlers(self, name: str) -> list[SystemHandler]:
        """The handlers of a projection's system events: its own, and those of all projections."""
        return [h for h in self._system_handlers.values() if h.projection in (None, name)]

    def predicate(self, name: str) -> NamedPredicate:
        """The predicate of that name.

        Raises:
            InvalidRequest: No predicate has that name; the message lists those that are registered.
        """
        if name not in self._predicates:
            known = ", ".join(sorted(self._predicates)) or "none: no module has a @predicate"
            raise InvalidRequest(f"predicate_name: expected one of ({known}), got {name!r}")
        return self._predicates[name]

    def __contains__(self, name: str) -> bool:
        """Whether a projection of that name is registered, in any version."""
        return name in self._versions

    def __iter__(self) -> Iterator[Projection]:
        """The projections by name, each in its highest version."""
        return iter([self.get(name) for name in sorted(self._versions)])

    def __len__(self) -> int:
        return len(self._versions)


def load_registry(modules: Iterable[str], environment: Defaults | None = None) -> Registry:
    """Imports the modules, and all modules inside those that are packages.

    The working directory counts as an import path, so that an application's own modules are found.

    Args:
        modules: Where projections, predicates, handlers of system events and `Defaults` are found.
        environment: Settings behind those of a module's `Defaults`.

    Raises:
        ConfigurationError: A module cannot be imported.
        InvalidProjection: Two different projections or predicates have the same name, a projection
            has no handler, or there are two `Defaults`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    found: dict[int, Projection] = {}
    handlers: dict[int, SystemHandler] = {}
    predicates: dict[int, NamedPredicate] = {}
    defaults: dict[int, Defaults] = {}
    for name in modules:
        for module in _import_all(name):
            for value in vars(module).values():
                if isinstance(value, Projection):
                    found.setdefault(id(value), value)
                elif isinstance(value, SystemHandler):
                    handlers.setdefault(id(value), value)
                elif isinstance(value, NamedPredicate):
                    predicates.setdefault(id(value), value)
                elif isinstance(value, Defaults):
                    defaults.setdefault(id(value), value)
    if len(defaults) > 1:
        raise InvalidProjection(
            f"expected one Defaults(...) in {', '.join(modules)}, got {len(defaults)}: name one "
            "object, and import it where it is needed"
        )
    # Those of a projection come with it, if it is of the version that counts.
    own = {id(handler) for one in found.values() for handler in one.system_handlers}
    others = [handler for number, handler in handlers.items() if number not in own]
    return Registry(
        found.values(),
        others,
        predicates.values(),
        defaults=next(iter(defaults.values()), None),
        environment=environment,
    )


def _placed(place: str | None, said: str) -> InvalidProjection:
    """An error that begins with the file and line of what is wrong, if they are known."""
    return InvalidProjection(said if place is None else f"{place}: {said}")


def _import_all(name: str) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
        yield module
        for inner in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
            yield importlib.import_module(inner.name)
    except InvalidProjection as wrong:
        raise _placed(raised_at(wrong), str(wrong)) from wrong
    except (RefoldError, KeyboardInterrupt):
        raise
    except BaseException as error:  # `exit()` in a module is no end of ours
        raise ConfigurationError(
            f"REFOLD_PROJECTIONS: expected the modules of your projections, such as "
            f"shop.read_models, but {name!r} fails: {why_not_imported(name, error)}"
        ) from error
