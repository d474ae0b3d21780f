"""What holds for all projections of a deployment, unless a projection says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from refold.errors import InvalidProjection
from refold.projection.backfill_policy import BackfillPolicy
from refold.projection.checkpoints import SAME_DATABASE, Checkpoints
from refold.projection.snapshot_policy import Snapshots
from refold.requests.criteria import CriteriaFields

P = TypeVar("P", bound=BaseModel)

_CRITERIA = set(CriteriaFields.model_fields)


class Defaults(BaseModel):
    """Settings for all projections: an object of a module that REFOLD_PROJECTIONS names.

    A projection's own setting wins, field by field; snapshots are taken as a whole.

    Attributes:
        checkpoints: How often checkpoints of live projections are moved, and where they are kept.
        snapshots: When live projections make snapshots by themselves.
        backfill: How projections are backfilled and rebuilt.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoints: Checkpoints = Checkpoints()
    snapshots: Snapshots | None = None
    backfill: BackfillPolicy = BackfillPolicy()

    def over(self, others: Defaults) -> Defaults:
        """These defaults where they say something, the others elsewhere."""
        return Defaults(
            checkpoints=_merged(Checkpoints, self.checkpoints, others.checkpoints),
            snapshots=others.snapshots if self.snapshots is None else self.snapshots,
            backfill=_merged(BackfillPolicy, self.backfill, others.backfill),
        )


class Origin(StrEnum):
    """Where a setting in force comes from; the first that says something wins."""

    PROJECTION = "projection"
    DEFAULTS = "defaults"
    ENVIRONMENT = "environment"
    BUILT_IN = "built in"


class Policies:
    """A projection's settings in force: its own, those of the deployment, and Refold's.

    Args:
        name: The projection, for messages.
        own: What the projection itself says.
    """

    def __init__(self, name: str, own: Defaults) -> None:
        self._name = name
        self._levels: dict[Origin, Defaults] = {Origin.PROJECTION: own}
        self._in_force = own

    @property
    def own(self) -> Defaults:
        """What the projection itself says."""
        return self._levels[Origin.PROJECTION]

    def set_own(self, **settings: Any) -> None:
        """Replaces settings of the projection's own."""
        self._levels[Origin.PROJECTION] = self.own.model_copy(update=settings)
        self._settle()

    def take(self, defaults: Defaults, environment: Defaults) -> None:
        """Puts the deployment's defaults behind the projection's own settings.

        Args:
            defaults: Of a module.
            environment: Of REFOLD_… variables: these come last.

        Raises:
            InvalidProjection: They contradict what the projection says.
        """
        self._levels |= {Origin.DEFAULTS: defaults, Origin.ENVIRONMENT: environment}
        self._settle()

    def _settle(self) -> None:
        in_force = self.own
        for origin, level in list(self._levels.items())[1:]:
            try:
                in_force = in_force.over(level)
            except (ValidationError, InvalidProjection) as error:
                raise InvalidProjection(
                    f"{self._name}: its settings contradict those of the {origin}: "
                    f"{_words(error)}: give the projection both"
                ) from None
        self._in_force = in_force

    @property
    def checkpoints(self) -> Checkpoints:
        """How its checkpoint is kept."""
        return self._in_force.checkpoints

    @property
    def snapshots(self) -> Snapshots:
        """When it makes snapshots by itself."""
        return self._in_force.snapshots or Snapshots.none()

    @property
    def backfill(self) -> BackfillPolicy:
        """How it is backfilled and rebuilt."""
        return self._in_force.backfill

    def in_force(self) -> Iterator[tuple[str, Any, Origin]]:
        """Each setting by its name, such as ``backfill.batch_size``: its value, and from where."""
        for part in ("checkpoints", "backfill"):
            policy = getattr(self, part)
            for field, value in policy.model_dump(mode="json").items():
                yield f"{part}.{field}", value, self._origin(part, field)
        yield "snapshots", self.snapshots.model_dump(mode="json"), self._origin("snapshots")

    def _origin(self, part: str, field: str | None = None) -> Origin:
        for origin, level in self._levels.items():
            policy = getattr(level, part)
            if policy is not None and (field is None or field in policy.model_fields_set):
                return origin
        return Origin.BUILT_IN


def _merged(kind: type[P], first: P, second: P) -> P:
    given = _said(second)
    if (
        first.model_fields_set & _CRITERIA
    ):  # "from this date" and "the last 30 days" are no criteria together
        given = {name: value for name, value in given.items() if name not in _CRITERIA}
    if _said(first).get("storage") == SAME_DATABASE:
        given.pop("store", None)  # of the others' storage
    return kind(**{**given, **_said(first)})


def _said(policy: BaseModel) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in policy.model_fields_set}


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(str(one["msg"]) for one in error.errors())
    return str(error)
