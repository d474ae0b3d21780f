"""The five roles of an installation, by their names."""

from __future__ import annotations

from dataclasses import dataclass

from refold.errors import InvalidRequest

PREFIX = "refold_"
"""What their names begin with, unless somebody says otherwise."""

_MIGRATOR = "migrator"
# PostgreSQL cuts longer names off.
_LONGEST_PREFIX = 63 - len(_MIGRATOR)


@dataclass(frozen=True)
class Roles:
    """The names of the roles.

    Attributes:
        prefix: What all of them begin with; several installations on one server may differ in it.
    """

    prefix: str = PREFIX

    def __post_init__(self) -> None:
        """Checks the prefix.

        Raises:
            InvalidRequest: It is too long, or has a character that no name may have.
        """
        is_long = len(self.prefix.encode()) > _LONGEST_PREFIX
        if is_long or not self.prefix.isprintable() or self.prefix.startswith("pg_"):
            raise InvalidRequest(
                f"prefix: expected up to {_LONGEST_PREFIX} bytes of printable characters that do "
                f"not begin with pg_, got {self.prefix!r}"
            )

    @classmethod
    def of_owner(cls, owner: str) -> Roles | None:
        """The roles, by who owns the schema of Refold; None if that is no migrator."""
        return cls(owner.removesuffix(_MIGRATOR)) if owner.endswith(_MIGRATOR) else None

    @property
    def migrator(self) -> str:
        """Owns the schema of Refold."""
        return f"{self.prefix}{_MIGRATOR}"

    @property
    def worker(self) -> str:
        """Owns read models."""
        return f"{self.prefix}worker"

    @property
    def operator(self) -> str:
        """Looks at everything, and asks for things."""
        return f"{self.prefix}operator"

    @property
    def reader(self) -> str:
        """Reads read models."""
        return f"{self.prefix}reader"

    @property
    def appender(self) -> str:
        """Appends events to Refold's own table."""
        return f"{self.prefix}appender"

    @property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (self.migrator, self.worker, self.operator, self.reader, self.appender)
