"""Projections and their settings: one function for each call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from alembic.migration import MigrationContext
from pydantic import BaseModel
from sqlalchemy import (
    Column,
    Date,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    cast,
    func,
    select,
)

from refold import (
    BackfillPolicy,
    Checkpoints,
    Criteria,
    Defaults,
    Event,
    OnPoison,
    Projection,
    ProjectionBackfillCompleted,
    ProjectionFailed,
    Row,
    Snapshots,
    SqlProjection,
    SystemEventContext,
    TypedEvent,
    backfill_from,
    backfill_from_beginning,
    day,
    include_object,
    lower,
    month,
    on_system_event,
    predicate,
    split,
    upcast,
    week,
    year,
)


def _revenue(backfill: BackfillPolicy | None = None) -> Projection:
    table = Table(
        "revenue",
        MetaData(),
        Column("sku", Text, primary_key=True),
        Column("total", Numeric(14, 2), nullable=False),
    )
    return Projection("revenue", table=table, key="data.sku", backfill=backfill)


def projection() -> None:
    """A read model: a table, its key, its settings."""
    table = Table(
        "customer_revenue",
        MetaData(),
        Column("customer_id", Text, primary_key=True),
        Column("total", Numeric(14, 2), nullable=False),
    )
    customer_revenue = Projection(
        "customer-revenue",
        version=2,
        table=table,
        key="metadata.customer_id",
        backfill=BackfillPolicy(auto_start=True, rollback_on_failure=True),
        snapshots=Snapshots.automatic(every_n_events=1000, keep_last=5),
    )
    print(customer_revenue.event_types)


def sql_projection() -> None:
    """A read model that is a select over events."""
    table = Table(
        "sales",
        MetaData(),
        Column("sku", Text, primary_key=True),
        Column("sold", Integer, nullable=False),
    )
    sales = SqlProjection(
        "sales",
        table=table,
        select=lambda events: (
            select(
                events.c.data["sku"].astext,
                func.sum(cast(events.c.data["quantity"].astext, Integer)),
            )
            .where(events.c.type == "ItemSold")
            .group_by(events.c.data["sku"].astext)
        ),
        merge={"sold": "sum"},
    )
    print(sales.event_types)


def projection_on() -> None:
    """A handler: the row so far and the event in, the row after in return."""
    revenue = _revenue()

    @revenue.on("ItemAdded")
    def added(row: Row | None, event: Event) -> Row:
        before = row["total"] if row else Decimal(0)
        return {"total": before + Decimal(event.data["price"])}

    @revenue.on("ItemDiscontinued", key="stream_id")
    def gone(row: Row | None, event: Event) -> None:
        return None


def projection_fold_key() -> None:
    """Many events of a key at once, in place of handlers."""
    revenue = _revenue()

    @revenue.fold_key("ItemAdded")
    def added(row: Row | None, events: Sequence[Event]) -> Row:
        total = row["total"] if row else Decimal(0)
        return {"total": total + sum(Decimal(event.data["price"]) for event in events)}


def typed_event() -> None:
    """A handler of a class: the event's data are an instance."""

    class ItemAdded(BaseModel):
        sku: str
        price: Decimal

    revenue = _revenue()

    @revenue.on(ItemAdded)
    def added(row: Row | None, event: TypedEvent[ItemAdded]) -> Row:
        before = row["total"] if row else Decimal(0)
        return {"total": before + event.data.price}


def upcast_events() -> None:
    """Events of two older versions, one of them under an older name."""

    @upcast("ArticleAdded", from_version=1, to_type="ItemAdded", to_version=2)
    def renamed(event: Event) -> dict[str, Any]:
        return {"sku": event.data["article"], "cents": event.data["cents"]}

    @upcast("ItemAdded", from_version=2)
    def in_units(event: Event) -> dict[str, Any]:
        return {"sku": event.data["sku"], "price": str(Decimal(event.data["cents"]) / 100)}


def projection_fold() -> None:
    """The fold in plain Python, for tests."""
    revenue = _revenue()

    @revenue.on("ItemAdded")
    def added(row: Row | None, event: Event) -> Row:
        return {"total": Decimal(event.data["price"])}

    event = Event(
        position=1,
        stream_id="order-1",
        version=1,
        type="ItemAdded",
        data={"sku": "tea", "price": "4.50"},
        metadata={},
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert revenue.fold([event]) == {"tea": {"sku": "tea", "total": Decimal("4.50")}}


def _keyed(key: Any, kind: type[Text | Date] = Text) -> Projection:
    table = Table("counts", MetaData(), Column("key", kind, primary_key=True))
    counts = Projection("counts", table=table, key=key)
    counts.on("CustomerMoved")(lambda row, event: {})
    return counts


def _moved() -> Event:
    at = datetime(2026, 2, 11, 23, 30, tzinfo=UTC)
    return Event(1, "customer-EU-7", 1, "CustomerMoved", {"email": "Ann@Shop.EU"}, {}, at)


def lower_key() -> None:
    """One row for each address, however it is written."""
    by_email = _keyed(lower("data.email"))
    assert [*by_email.fold([_moved()])] == ["ann@shop.eu"]


def split_key() -> None:
    """One row for each region of streams such as customer-EU-7; one for each domain."""
    by_region = _keyed(split("stream_id", "-", 1))
    assert [*by_region.fold([_moved()])] == ["EU"]
    by_domain = _keyed(lower(split("data.email", "@", -1)))
    assert [*by_domain.fold([_moved()])] == ["shop.eu"]


def day_key() -> None:
    """One row for each day."""
    assert [*_keyed(day("recorded_at"), Date).fold([_moved()])] == [date(2026, 2, 11)]


def week_key() -> None:
    """One row for each week, by its Monday."""
    assert [*_keyed(week("recorded_at"), Date).fold([_moved()])] == [date(2026, 2, 9)]


def month_key() -> None:
    """One row for each month; as a part of a key, one for each customer and month."""
    assert [*_keyed(month("recorded_at"), Date).fold([_moved()])] == [date(2026, 2, 1)]
    customer, of_month = Column("id", Text, primary_key=True), Column("m", Date, primary_key=True)
    table = Table("customer_months", MetaData(), customer, of_month)
    Projection("customer-months", table=table, key=("stream_id", month("recorded_at")))


def year_key() -> None:
    """One row for each year."""
    assert [*_keyed(year("recorded_at"), Date).fold([_moved()])] == [date(2026, 1, 1)]


def event() -> None:
    """An event, as handlers get it."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    print(Event(1, "order-1", 1, "ItemAdded", {"sku": "tea"}, {"source": "web-api"}, at))


def projection_on_system_event() -> None:
    """As a decorator, or as a builder."""

    def alert(event: ProjectionFailed, context: SystemEventContext) -> None:
        print(event.code, event.message, event.is_transient)

    revenue = _revenue().on_system_event(ProjectionFailed, handler=alert)

    @revenue.on_system_event(ProjectionBackfillCompleted)
    async def note(event: ProjectionBackfillCompleted, context: SystemEventContext) -> None:
        print(event.result, context.correlation_id)


def projection_with_checkpoints() -> None:
    """How often the checkpoint is moved."""
    _revenue().with_checkpoints(every_n_events=100)


def projection_with_snapshots() -> None:
    """When snapshots are made."""
    _revenue().with_snapshots(every_n_events=1000, keep_last=5)
    _revenue().with_snapshots(Snapshots.none())


def projection_backfill_from_beginning() -> None:
    """It builds itself from all events."""
    _revenue().backfill_from_beginning(max_concurrency=2)


def projection_backfill_from() -> None:
    """It builds itself from the events since a date."""
    _revenue().backfill_from("2026-01-01", batch_size=500)


def backfill_policy() -> None:
    """What backfills of a projection do unless their request says otherwise."""
    policy = BackfillPolicy(
        criteria=Criteria.LAST_N_DAYS,
        last_n=30,
        on_poison=OnPoison.SET_ASIDE,
        create_backup=True,
        retained_generations=3,
    )
    print(_revenue(backfill=policy).backfill.kept_generations)


def backfill_from_policy() -> None:
    """A policy, from a date."""
    print(backfill_from("2026-01-01").start_from)


def backfill_from_beginning_policy() -> None:
    """A policy, from the beginning."""
    print(backfill_from_beginning(max_concurrency=8).auto_start)


def checkpoints() -> None:
    """At least once in a hundred events."""
    print(Checkpoints(every_n_events=100))


def snapshots() -> None:
    """Automatic, at certain events, or none."""
    print(Snapshots.automatic(every_n_events=1000, keep_last=5))
    print(Snapshots.manual(trigger_on="CustomerMilestoneReached"))
    print(Snapshots.none())


def defaults() -> None:
    """For all projections, as an object of their module."""
    print(Defaults(backfill=BackfillPolicy(batch_size=2000), snapshots=Snapshots.none()))


def named_predicate() -> None:
    """A predicate in Python, which requests name."""

    @predicate("web-orders")
    def web_orders(event: Event) -> bool:
        return event.type.startswith("Order") and event.metadata.get("source") == "web-api"

    print(web_orders)


def system_event_handler() -> None:
    """A handler for all projections; its type says which events it takes."""

    @on_system_event(ProjectionFailed, ProjectionBackfillCompleted)
    async def tell(
        event: ProjectionFailed | ProjectionBackfillCompleted, context: SystemEventContext
    ) -> None:
        print(event.projection, context.id, context.delivery_attempt)

    print(tell.name)


def include_object_of_alembic() -> None:
    """Alembic's migrations of an application leave read models to Refold."""
    settings = {"include_schemas": True, "include_object": include_object}
    # In env.py: context.configure(connection=…, target_metadata=…, **settings)
    MigrationContext.configure(dialect_name="postgresql", opts=settings)
