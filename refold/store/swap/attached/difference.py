"""What a table must be given, and lose, to be like the live one: a comparison of three sides.

What somebody has changed by hand is what differs between the live table and how it was built. The
same is done to the table that takes its place; all else stays as that one declares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from refold.store.swap.attached.definitions import (
    CONSTRAINT,
    DEFAULT,
    INDEX,
    ITSELF,
    KEY,
    NOT_NULL,
    TYPE,
    Definitions,
    Thing,
)
from refold.store.tables.read_models import quoted

_NAMED = (KEY, CONSTRAINT, INDEX)
_OF_COLUMNS = (DEFAULT, NOT_NULL)


@dataclass(frozen=True)
class Side:
    """One of the two tables.

    Attributes:
        found: What it has now.
        built: What it was built with; all else was done by hand, or by a preparation.
    """

    found: Definitions
    built: Definitions


def by_hand(live: Side, *, same_version: bool) -> dict[Thing, str | None]:
    """What somebody has done to the live table that moves: definitions, None for taken away.

    Args:
        live: The live table.
        same_version: Whether the table in its place is of the same version; otherwise defaults and
            NOT NULL are those of the other version.
    """
    kinds = (*_NAMED, *_OF_COLUMNS) if same_version else _NAMED
    found, built = live.found, live.built
    things = [thing for thing in {**built, **found} if thing.kind in kinds]
    if _key(found) != _key(built):
        # Refold needs the key that is declared, and the key needs its columns' NOT NULL.
        gone = (KEY, NOT_NULL)
        things = [t for t in things if t.kind not in gone or (t.kind == NOT_NULL and t in found)]
    return {t: found.get(t) for t in sorted(things) if found.get(t) != built.get(t)}


def in_words(changed: Mapping[Thing, str | None]) -> list[str]:
    """What was done by hand, for people."""
    return [
        f"{thing}{' (taken away by hand)' if definition is None else ''}"
        for thing, definition in changed.items()
    ]


def retyped(live: Side, target: Definitions | None) -> list[str]:
    """What to do about columns whose type somebody has changed by hand.

    Args:
        live: The live table.
        target: The table in its place, as it is; None when it is not there yet, and is declared as
            the live one was.
    """
    expected = live.built if target is None else target
    return [
        f"column {quoted(thing.name)} was made {now} by hand, it is {expected[thing]} in the "
        "projection's table: declare it so and bump the version, or change it back"
        for thing, now in live.found.items()
        if thing.kind == TYPE
        and now != live.built.get(thing, now)
        and now != expected.get(thing, now)
    ]


def statements(
    place: tuple[str, str],
    target: Side,
    live: Side,
    changed: Mapping[Thing, str | None],
    *,
    same_version: bool,
) -> list[str]:
    """The statements that make the target like the live table, in order.

    Args:
        place: The target's schema and name.
        target: The table that is to go live.
        live: The live table.
        changed: What `by_hand` found.
        same_version: Whether both are of one version.
    """
    kinds = (*_NAMED, *_OF_COLUMNS) if same_version else _NAMED
    have = {t: said for t, said in target.found.items() if t.kind in kinds}
    wanted = {t: said for t, said in target.built.items() if t.kind in kinds}
    for thing, definition in changed.items():
        if wanted.get(thing) != live.built.get(thing):
            continue  # another version declares it anew
        if definition is None:
            del wanted[thing]
        elif thing.kind != DEFAULT or _type(target.found, thing) == _type(live.found, thing):
            wanted[thing] = definition
    lost = {t: said for t, said in have.items() if t not in wanted}
    new = {t: said for t, said in wanted.items() if t not in have}
    renamed: dict[Thing, Thing] = {}
    for old, said in lost.items():
        same = [t for t in new if t.kind == old.kind and new[t] == said and t.kind in _NAMED]
        if same and same[0] not in renamed.values():
            renamed[old] = same[0]
    other = [t for t in wanted if t in have and have[t] != wanted[t]]
    # A new default replaces the old one; all else is dropped first.
    dropped = [*(t for t in lost if t not in renamed), *(t for t in other if t.kind != DEFAULT)]
    made = [*other, *(t for t in new if t not in renamed.values())]
    return [
        *(_drop(place, t) for t in sorted(dropped, key=lambda t: _rank(t, have[t]), reverse=True)),
        *(_rename(place, old, to) for old, to in renamed.items()),
        *(_make(place, t, wanted[t]) for t in sorted(made, key=lambda t: _rank(t, wanted[t]))),
    ]


def _key(side: Definitions) -> str | None:
    return next((said for thing, said in side.items() if thing.kind == KEY), None)


def _type(side: Definitions, column: Thing) -> str | None:
    return side.get(Thing(TYPE, column.name))


def _rank(thing: Thing, definition: str) -> tuple[int, str]:
    """Foreign keys last: they may need a unique index of the table itself."""
    last = thing.kind == CONSTRAINT and definition.startswith("FOREIGN KEY")
    order = (KEY, NOT_NULL, DEFAULT, CONSTRAINT, INDEX).index(thing.kind)
    return (len(_NAMED) + len(_OF_COLUMNS) if last else order, thing.name)


def _drop(place: tuple[str, str], thing: Thing) -> str:
    if thing.kind == INDEX:
        return f"DROP INDEX {quoted(place[0], thing.name)}"
    if thing.kind in (CONSTRAINT, KEY):
        return f"ALTER TABLE {quoted(*place)} DROP CONSTRAINT {quoted(thing.name)}"
    return f"ALTER TABLE {quoted(*place)} ALTER {quoted(thing.name)} DROP {thing.kind.upper()}"


def _rename(place: tuple[str, str], old: Thing, new: Thing) -> str:
    if old.kind == INDEX:
        return f"ALTER INDEX {quoted(place[0], old.name)} RENAME TO {quoted(new.name)}"
    names = f"{quoted(old.name)} TO {quoted(new.name)}"
    return f"ALTER TABLE {quoted(*place)} RENAME CONSTRAINT {names}"


def _make(place: tuple[str, str], thing: Thing, definition: str) -> str:
    table, name = quoted(*place), quoted(thing.name)
    if thing.kind == INDEX:
        unique = "UNIQUE " if definition.startswith("UNIQUE ") else ""
        return f"CREATE {unique}INDEX {name} ON {table} USING {definition.removeprefix(unique)}"
    if thing.kind == DEFAULT:
        return f"ALTER TABLE {table} ALTER {name} SET DEFAULT {definition}"
    if thing.kind == NOT_NULL and not definition:
        return f"ALTER TABLE {table} ALTER {name} SET NOT NULL"
    if thing.kind == NOT_NULL:
        return f"ALTER TABLE {table} ADD CONSTRAINT {definition}"
    return f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition.replace(ITSELF, table)}"
