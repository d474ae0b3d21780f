"""Shows a plan, for `refold rebuild NAME --plan`."""

from __future__ import annotations

from rich.table import Table

from refold.cli.output import console
from refold.messages.run.preview import Foretold, Preview


def show_plan(plan: Preview) -> None:
    """Prints what a run would do."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _lines(plan):
        table.add_row(name, value)
    console.print(table)
    if plan.foretold is not None:
        _show_foretold(plan.foretold)
    _listed("moves with the table", plan.carried)
    _listed("stands in the way", plan.refused)
    if plan.swap:
        console.print("\nthe swap, in one transaction:")
        for statement in plan.swap:
            console.print(f"  {statement}{_end(statement)}", soft_wrap=True, markup=False)


def _end(statement: str) -> str:
    return "" if statement.startswith("--") else ";"


def _lines(plan: Preview) -> list[tuple[str, str]]:
    replaced = plan.replaces_version if plan.atomic else None
    replaces = "" if replaced is None else f", replaces version {replaced}"
    where = "built in a new table and swapped in" if plan.atomic else "in place"
    lines = [
        ("projection", f"{plan.projection} version {plan.version}{replaces}"),
        ("generation", f"{plan.generation}, {where}"),
        ("to fold", f"{plan.total_events:,} events up to position {plan.position:,}"),
        ("keys", "not known" if plan.keys is None else f"about {plan.keys:,}"),
        ("partitions", f"{plan.partitions}, {plan.max_concurrency} at a time"),
        ("batch size", f"{plan.batch_size:,} events"),
    ]
    if plan.selection is not None:
        lines.insert(2, ("selects", _selected(plan)))
    if plan.estimated_seconds is not None:
        lines.append(("time", f"about {plan.estimated_seconds:,.0f} s"))
    if plan.estimated_bytes is not None:
        lines.append(("disk", f"about {plan.estimated_bytes / 2**20:,.1f} MiB more"))
    if plan.backup is not None:
        lines.append(("way back", _way_back(plan)))
    if plan.lookups:
        lines.append(("depends on", f"{', '.join(plan.lookups)}, as it is when it is looked up"))
    if plan.note:
        lines.append(("note", plan.note))
    return lines


def _way_back(plan: Preview) -> str:
    kept = f"generation {plan.backup} holds what stands there"
    if plan.rollback_on_failure:
        kept += ", which comes back if the run fails or is cancelled"
    return kept + ("; it is kept" if plan.keep_backup else "")


def _listed(title: str, things: list[str]) -> None:
    if things:
        console.print(f"\n{title}:")
        for thing in things:
            console.print(f"  {thing}", soft_wrap=True, markup=False)


def _selected(plan: Preview) -> str:
    assert plan.selection is not None
    what = plan.selection
    bounds = f"positions {what.from_position:,} to {what.to_position:,}"
    if what.from_position > what.to_position:
        bounds = "no position"
    parts = [bounds]
    if what.from_date is not None:
        parts.append(f"recorded from {what.from_date:%Y-%m-%d %H:%M:%S %Z}")
    if what.to_date is not None:
        parts.append(f"before {what.to_date:%Y-%m-%d %H:%M:%S %Z}")
    if what.missing:
        parts.append("keys without a row")
    narrowed = [what.predicate, what.predicate_name, what.tenant and f"tenant {what.tenant}"]
    parts += [condition for condition in narrowed if condition]
    events, keys = plan.selected_events or 0, plan.selected_keys or 0
    return f"{events:,} events of {keys:,} keys ({what.criteria}: {'; '.join(parts)})"


def _show_foretold(foretold: Foretold) -> None:
    of = "all" if foretold.all_keys else f"{foretold.keys:,} of them, as a sample"
    console.print(
        f"\nfolded in memory ({of}): it would add {foretold.added:,} rows, remove "
        f"{foretold.removed:,} and change {foretold.changed:,}"
    )
    for sample in foretold.samples:
        key = ", ".join(str(value) for value in sample.key.values())
        console.print(
            f"  {sample.kind} {key}: {sample.live or 'no row'} → {sample.shadow or 'no row'}",
            soft_wrap=True,
            markup=False,
        )
    if foretold.note:
        console.print(f"  {foretold.note}", soft_wrap=True, markup=False)
