// One projection, with all that is known of it.

import { button } from "./ask.js";
import { bar, line } from "./chart.js";
import { diff } from "./diff.js";
import { box, h, table } from "./dom.js";
import { ago, count, lag, minute, moment, words } from "./format.js";
import { rowsAndLife } from "./life.js";
import { chip, next, progress, trouble, versions, waits } from "./list.js";

function head(row, store) {
  const facts = [
    lag(row), row.rows === null ? null : `about ${count(row.rows)} rows`, versions(row),
    row.generation === null ? null : `generation ${row.generation}`,
    row.position === null ? null : `at position ${count(row.position)} of ${count(row.head)}`,
    row.next_schedule && `next schedule ${moment(row.next_schedule)}`,
  ].filter(Boolean);
  return h("section", { class: "box" },
    h("a", { class: "back", href: "#/" }, "← all projections"),
    h("div", { class: "title" }, h("h2", null, row.projection), chip(row.state),
      row.since && h("span", { class: "facts" }, ago(row.since, store.at))),
    h("p", { class: "facts" }, facts.join(" · ")),
    waits(row), trouble(row), next(row),
    row.offers.length > 0 && h("div", { class: "row" },
      row.offers.map((action) => button(action, row.projection, { label: action === "rollback" ? "Roll back" : null }))));
}

function partition([events, total, done], i) {
  return h("div", null, bar(done ? 100 : total ? (100 * events) / total : 0, done),
    h("p", { class: "facts" }, `${i + 1}: ${done ? `${count(events)}, done` : `${count(events)} of ${count(total)}`}`));
}

function run(row) {
  const its = row.run;
  if (!its) return null;
  const ended = its.ended_at ? `, ended ${moment(its.ended_at)}` : "";
  const parts = its.progress?.partitions ?? [];
  return box(its.ended_at ? "Latest run" : "Run",
    h("p", { class: "row" }, h("b", null, its.kind), chip(its.status)),
    h("p", { class: "facts" }, `${its.workflow_id}, started ${moment(its.started_at)}${ended}`),
    progress(its), its.progress?.note && h("p", { class: "facts" }, its.progress.note),
    (its.obstacles ?? []).map((what) => h("p", { class: "trouble" }, `would stop the swap: ${what}`)),
    parts.length > 0 && h("div", { class: "parts" }, parts.map(partition)));
}

function generations(row, made) {
  const offered = row.offers.includes("rollback");
  const rows = made.map((one) => [
    one.generation, words(one.status === "active" ? "live" : one.status),
    offered && row.rollback_to.includes(one.generation)
      ? button("rollback", row.projection, { to: one.generation, label: "Roll back to it", small: true }) : "",
    one.version === 0 ? "before Refold" : one.version, count(one.position),
    one.rows === null ? "not counted" : count(one.rows), minute(one.created_at), minute(one.swapped_at),
  ]);
  if (!rows.length) return box("Generations", h("p", { class: "none" }, "nothing was built yet"));
  const classes = ["number", "nowrap", "nowrap", "number", "number", "number", "nowrap", "nowrap"];
  return box("Generations",
    table(["number", "status", "", "version", "position", "rows", "built", "swapped"], rows, classes));
}

function snapshots(made) {
  if (!made.length) return box("Snapshots", h("p", { class: "none" }, "none"));
  const rows = made.map((one) => [
    count(one.position), one.kept_as, one.version, one.rows === null ? "not counted" : count(one.rows),
    minute(one.created_at), one.trigger ?? "",
  ]);
  return box("Snapshots", table(["position", "kept as", "version", "rows", "made", "trigger"], rows,
    ["number", "", "number", "number", "nowrap", ""]));
}

function letters(row, found) {
  if (!found.length) return box("Dead letters", h("p", { class: "none" }, "none"));
  const open = "error" in found[0];
  const heads = ["position", "type", ...(open ? ["stream", "key", "error"] : []), "since"];
  const rows = found.map((one) => [
    count(one.position), one.type,
    ...(open ? [one.stream_id, one.key === null ? "none" : one.key.join(", "),
      one.trace ? h("details", null, h("summary", null, one.error), h("pre", null, one.trace)) : one.error] : []),
    minute(one.recorded_at),
  ]);
  return box("Dead letters", table(heads, rows,
    ["number", "nowrap", ...(open ? ["value", "value", "value"] : []), "nowrap"]),
    found.length < row.dead_letters && h("p", { class: "facts" }, `${count(row.dead_letters)} in all; the oldest are shown`));
}

export function panel(row, store) {
  const found = store.details;
  const here = found?.projection === row.projection;
  const changes = here ? diff(found.diff, !row.run || row.run.ended_at !== null) : null;
  const awaited = row.state === "awaiting_approval";
  return [
    head(row, store), awaited && changes, run(row), !awaited && changes,
    row.events_behind !== null && box("Lag", line(store.lags[row.projection] ?? [], { large: true })),
    ...(here ? [
      generations(row, found.generations), snapshots(found.snapshots),
      letters(row, found.dead_letters), store.control && rowsAndLife(store),
    ] : []),
  ];
}

// The details are asked for anew when this changes.
export const signature = (row) =>
  JSON.stringify([row.projection, row.state, row.generation, row.rollback_to, row.dead_letters,
    row.run?.run_id, row.run?.status, row.run?.phase]);
