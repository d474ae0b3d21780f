"""Product sales: one row an article, over all orders and returns."""

from decimal import Decimal

from sqlalchemy import Column, Integer, MetaData, Numeric, Table, Text

from refold import Event, Projection, Row

product_sales = Projection(
    "product-sales",
    version=1,
    table=Table(
        "product_sales",
        MetaData(),
        Column("sku", Text, primary_key=True),
        Column("units", Integer, nullable=False),
        Column("revenue", Numeric(14, 2), nullable=False),
        Column("returned_units", Integer, nullable=False),
        Column("returns", Numeric(14, 2), nullable=False),
    ),
    key="data.sku",
)

_NOTHING_SOLD: Row = {
    "units": 0,
    "revenue": Decimal(0),
    "returned_units": 0,
    "returns": Decimal(0),
}


@product_sales.on("ItemAdded")
def sold(row: Row | None, event: Event) -> Row:
    """Units leave the shop."""
    row = row or _NOTHING_SOLD
    units, price = event.data["quantity"], Decimal(event.data["unit_price"])
    return {**row, "units": row["units"] + units, "revenue": row["revenue"] + units * price}


@product_sales.on("ItemReturned")
def returned(row: Row | None, event: Event) -> Row:
    """Units come back."""
    row = row or _NOTHING_SOLD
    units, price = event.data["quantity"], Decimal(event.data["unit_price"])
    return {
        **row,
        "returned_units": row["returned_units"] + units,
        "returns": row["returns"] + units * price,
    }
