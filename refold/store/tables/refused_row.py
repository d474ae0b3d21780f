"""What PostgreSQL says when it refuses a row."""

from __future__ import annotations

from dataclasses import dataclass

from refold.projection.declaration import Projection
from refold.runtime.database import server_error
from refold.runtime.judgement import is_refused_row, own_words

# Another row has the value, or the row that it refers to is not there: it may be later.
_TAKEN = ("23505", "23P01")
_OTHERS = ("23503", *_TAKEN)

_MOST = 300


@dataclass(frozen=True)
class RefusedRow:
    """Why PostgreSQL refuses a row.

    Attributes:
        sqlstate: The error's code.
        constraint: The constraint or index, as far as PostgreSQL names it.
        said: Its own words, without the values of the row.
    """

    sqlstate: str
    constraint: str | None
    said: str

    @property
    def others(self) -> bool:
        """Whether it depends on other rows: taken, or referred to."""
        return self.sqlstate in _OTHERS

    @property
    def taken(self) -> bool:
        """Whether another row has what only one can have."""
        return self.sqlstate in _TAKEN

    def reason(self, projection: Projection, *, by_hand: bool = False) -> str:
        """In a sentence, for people.

        Args:
            projection: Whose table it is.
            by_hand: Whether the projection's table does not declare the constraint.
        """
        whose = f"; it was added by hand, {projection.name!r} does not declare it"
        return (
            f"PostgreSQL refuses its row in table {projection.table.fullname!r}: {self.said} "
            f"({self.sqlstate}){whose if by_hand else ''}"
        )


def refused_row(error: BaseException) -> RefusedRow | None:
    """The refused row that an error of a writing statement tells of; None for any other error."""
    found = server_error(error)
    if found is None or not is_refused_row(found, written=True):
        return None
    # The error's detail has the row's values, which must not get into a log.
    said = own_words(found).splitlines()[0].rstrip(".")[:_MOST]
    constraint = getattr(found, "constraint_name", None)
    return RefusedRow(found.sqlstate or "", constraint or _index_in(said), said)


def is_same_row(error: BaseException) -> bool:
    """Whether PostgreSQL takes two keys of one statement for the same row.

    It does where the column was given a type by hand that ignores spaces at the end, or case.
    """
    found = server_error(error)
    return found is not None and found.sqlstate == "21000"


def _index_in(said: str) -> str | None:
    """The index that a message about an entry's size names."""
    _, found, rest = said.partition('for index "')
    return rest.partition('"')[0] if found else None
