// All projections, a card each.

import { bar, line } from "./chart.js";
import { box, h, table } from "./dom.js";
import { ago, count, kind, lag, length, words } from "./format.js";

export const chip = (state) => h("span", { class: `chip ${kind(state)}` }, words(state));

export function summary(rows) {
  const states = new Map();
  for (const { state } of rows) states.set(state, (states.get(state) ?? 0) + 1);
  return h("p", { class: "summary" },
    [...states].map(([state, n]) => h("span", { class: `chip ${kind(state)}` }, `${n} ${words(state)}`)));
}

export function progress(run) {
  const now = run?.progress;
  if (!now) return null;
  const keying = now.to_key > 0 && run.phase === "computing keys";
  const percent = keying ? (100 * now.keyed) / now.to_key : now.percent;
  const [done, all] = keying ? [now.keyed, now.to_key] : [now.events, now.total];
  const moves = ["running", "rolling_back"].includes(run.status);
  const pace = moves && now.per_second >= 1 ? `, ${count(Math.round(now.per_second))}/s` : "";
  const left = !moves || now.seconds_left === null ? "" : `, ${length(now.seconds_left)} left`;
  return [
    bar(percent),
    h("p", { class: "facts" }, h("b", null, words(run.phase ?? run.status)),
      ` ${Math.floor(percent)} %, ${count(done)} of ${count(all)} events${pace}${left}`),
  ];
}

export const waits = (row) =>
  row.waiting_for.map((who) =>
    h("p", { class: "waits" }, /^(waits for|no worker) /.test(who) ? who : `waits for ${who}`));

export const trouble = (row) => row.trouble.map((what) => h("p", { class: "trouble" }, what));

export const next = (row) => row.next_command &&
  h("p", { class: "next" }, "next ", h("code", null, row.next_command));

export function versions(row) {
  const built = row.generation_version;
  return built === null || built === row.version
    ? `version ${row.version}` : `version ${built}, newest ${row.version}`;
}

function card(row, store) {
  const open = store.open === row.projection;
  return h("a", {
    class: open ? "card open" : "card", href: `#/${encodeURIComponent(row.projection)}`,
    "data-key": row.projection, "aria-current": open && "true",
  },
    h("div", { class: "top" }, h("span", { class: "name" }, row.projection), chip(row.state)),
    h("div", { class: "figures" },
      h("p", { class: "facts" }, h("b", null, lag(row)), h("br"),
        row.rows === null ? "" : `about ${count(row.rows)} rows, `, versions(row),
        row.since && [h("br"), ago(row.since, store.at)]),
      row.events_behind !== null && line(store.lags[row.projection] ?? [])),
    progress(row.run), waits(row), trouble(row),
    row.dead_letters > 0 && h("p", { class: "trouble" }, `dead letters: ${count(row.dead_letters)}`),
    next(row));
}

export const cards = (store) =>
  h("div", { class: "cards" }, store.board.map((row) => card(row, store)));

export function mirrors(found) {
  if (!found.length) return null;
  const rows = found.map((one) => [
    one.mirror, chip(one.status), count(one.events),
    one.lag_seconds === null ? "none" : length(one.lag_seconds),
    [...one.waiting_for.map((who) => `waits for ${who}`), one.reason].filter(Boolean).join("; "),
  ]);
  return box("Mirrors", table(["mirror", "state", "events", "lag", "why"], rows,
    ["", "nowrap", "number", "nowrap", "value"]));
}
