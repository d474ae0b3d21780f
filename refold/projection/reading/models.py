"""Classes for events: pydantic models and dataclasses that an event's data are validated by."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator

from refold.errors import InvalidProjection
from refold.errors.words import described, printable, raised
from refold.projection.columns.exact_json import dumped
from refold.projection.reading.does_not_fit import EventDoesNotFit

# Of the errors of an event so many are told, and so many characters of a name.
_TOLD, _NAME = 3, 60


class Model:
    """A class that events of one type are instances of.

    Args:
        cls: A pydantic model, or a dataclass. Its ``event_type``, a ``ClassVar[str]``, is the type
            of its events; without one it is the class's name.

    Attributes:
        type: The event type.

    Raises:
        InvalidProjection: It is another class, one that pydantic cannot validate by, or its
            ``event_type`` is none.
    """

    def __init__(self, cls: type[Any]) -> None:
        self.type = _type_of(cls)
        self._name = cls.__name__
        self._renamed = _renamed(cls)
        # What people call strict takes texts for times and numbers of JSON only.
        config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None)
        self._is_strict = bool((config or {}).get("strict"))
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(cls)
            adapter.rebuild()
            validator = adapter.validator
        except (PydanticUserError, NameError, TypeError) as error:
            raise InvalidProjection(
                f"{self._name}: expected a class that pydantic can validate by "
                f"({raised(error).splitlines()[0]}): its fields' types must be known to pydantic, "
                "and defined before it is used"
            ) from None
        assert isinstance(validator, SchemaValidator) or hasattr(validator, "validate_python")
        self._validate, self._validate_json = validator.validate_python, validator.validate_json

    def of(self, data: Any) -> Any:
        """The instance for an event's data.

        Raises:
            EventDoesNotFit: They do not validate; the message has the paths of their fields.
        """
        if not self._is_strict:
            try:
                return self._validate(data)
            except ValidationError:
                pass  # a strict field may take it as JSON
        try:
            return self._validate_json(dumped(data))
        except ValidationError as wrong:
            raise EventDoesNotFit(self._said(wrong)) from None

    def _said(self, wrong: ValidationError) -> str:
        found = wrong.errors(include_url=False)
        told = "; ".join(_told(error) for error in found[:_TOLD])
        more = f"; and {len(found) - _TOLD:,} more" if len(found) > _TOLD else ""
        return f"expected data of {self._name}: {told}{more}"

    def require_stored(self, path: str) -> None:
        """Refuses a path of a key that names a field as Python does, and not as events do.

        Raises:
            InvalidProjection: The class reads this field from another name.
        """
        root, _, rest = path.partition(".")
        name, *below = rest.split(".")
        alias = self._renamed.get(name) if root == "data" else None
        if alias is not None:
            right = ".".join([root, alias, *below])
            raise InvalidProjection(
                f"key {path!r}: {self._name} reads {name!r} from {alias!r}, and a key looks at "
                f"events as they are stored: write {right!r}"
            )


def _type_of(cls: type[Any]) -> str:
    is_model = isinstance(cls, type) and issubclass(cls, BaseModel)
    if not is_model and not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise InvalidProjection(
            "expected event types as texts, pydantic models or dataclasses, got "
            f"{cls!r:.200}: pass the class, or the name of the type"
        )
    fields = cls.model_fields if is_model else [field.name for field in dataclasses.fields(cls)]
    declared: object = None if "event_type" in fields else getattr(cls, "event_type", None)
    if declared is None:
        return cls.__name__
    if not isinstance(declared, str) or not declared:
        raise InvalidProjection(
            f"{cls.__name__}.event_type: expected an event type, a text, got {declared!r:.200}"
        )
    return declared


def _renamed(cls: type[Any]) -> dict[str, str]:
    """Fields that are read from another name alone: that name, by the field's."""
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return {}
    fields = getattr(cls, "__pydantic_fields__", {})
    aliases = {name: field.validation_alias for name, field in fields.items()}
    names = {alias for alias in aliases.values() if isinstance(alias, str)} | {
        name for name, alias in aliases.items() if alias is None
    }
    return {
        name: alias
        for name, alias in aliases.items()
        if isinstance(alias, str) and alias != name and name not in names
    }


def _told(error: ErrorDetails) -> str:
    path = ".".join(["data", *(_part(part) for part in error["loc"])])
    kind, expected = error["type"], error["msg"]
    if kind == "union_tag_invalid":  # its message has the value
        expected = f"expected one of the tags {error.get('ctx', {}).get('expected_tags')}"
    if kind == "missing":
        return f"{path}: {expected}"
    return f"{path}: {expected}, got {described(error['input'])}"


def _part(part: int | str) -> str:
    text = printable(str(part))
    return text if len(text) <= _NAME else f"{text[:_NAME]}…"
