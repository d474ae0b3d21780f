"""What handlers see of enumerations: the label, which is its member, too."""

from __future__ import annotations

import copy
import enum
import pickle
from typing import Any

import orjson
import pytest
from sqlalchemy import Column, Enum

from refold.projection.columns import WrongValue, kind_of, settle_for


class Plain(enum.Enum):
    GOOD = "fine"
    BAD = 2


class Textual(enum.StrEnum):
    GOOD = "fine"
    BAD = "poor"


class Number(enum.IntEnum):
    GOOD = 1
    BAD = 2


@pytest.mark.parametrize("members", [Plain, Textual, Number])
def test_a_label_is_its_text_and_its_member(members: Any) -> None:
    kind = kind_of(Column("c", Enum(members, native_enum=False)))
    good, bad = kind.settle(members.GOOD), kind.settle("BAD")
    for one in (good, pickle.loads(pickle.dumps(good)), copy.deepcopy(good), kind.settle(good)):
        assert type(one) is type(good)
        for other in ("GOOD", members.GOOD, good):
            assert one == other
            assert other == one
        assert one in [members.BAD, members.GOOD]
        assert (one != members.BAD, one != "BAD", one != bad) == (True, True, True)
        assert (one.name, one.value) == ("GOOD", members.GOOD.value)
        assert (kind.bind(one), type(kind.bind(one))) == ("GOOD", str)
        assert kind.thaw(orjson.loads(orjson.dumps(kind.freeze(one)))) == members.GOOD
        match one:
            case members.GOOD:
                pass
            case _:
                raise AssertionError


def test_a_member_that_is_text_is_found_by_it() -> None:
    good = settle_for(Column("c", Enum(Textual)))(Textual.GOOD)
    assert good == "fine"
    assert {Textual.GOOD: 1}[good] == 1


@pytest.mark.parametrize("value", ["UGLY", "fine", 2, None, Textual.GOOD])
def test_what_is_no_label_is_refused(value: Any) -> None:
    with pytest.raises(WrongValue, match="column 'c': expected one of 'GOOD', 'BAD', got"):
        settle_for(Column("c", Enum(Plain), nullable=False))(value)
