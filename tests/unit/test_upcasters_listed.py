"""What `refold projections` says of upcasters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from refold.cli.main import app
from refold.projection.reading.upcasting import UPCASTERS

MODULE = """
from sqlalchemy import Column, MetaData, Table, Text

from refold import Projection, upcast

prices = Projection(
    "prices",
    table=Table("prices", MetaData(), Column("id", Text, primary_key=True)),
    key="stream_id",
)
prices.on("Priced")(lambda row, event: row)
upcast("PriceSet", from_version=1, to_type="Priced")(lambda event: event.data)
upcast("PriceSet", from_version=2, to_type="Priced")(lambda event: event.data)
upcast("Other", from_version=1)(lambda event: event.data)
"""


def test_projections_say_which_old_versions_are_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "upcast_prices.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("REFOLD_PROJECTIONS", "upcast_prices")
    with UPCASTERS.set_apart():
        listed = CliRunner().invoke(app, ["projections", "--json"])
        shown = CliRunner().invoke(app, ["projections"])
    (found,) = json.loads(listed.stdout)
    assert found["event_types"] == ["PriceSet", "Priced"]
    assert found["upcast"] == {"PriceSet": [1, 2]}
    assert "prices: PriceSet is upcast from versions 1, 2" in shown.stdout
