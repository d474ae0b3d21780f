// What a rebuild changes: the new table against the live one.

import { box, h, table } from "./dom.js";
import { count, moment, words } from "./format.js";

const NAMES = { rows_live: "live rows", rows_shadow: "new rows" };
const COLOURS = { added: "good", removed: "bad", changed: "ask", wrong: "bad" };

const side = (text, style) =>
  text === null ? h("span", { class: "none" }, "no row") : h("span", { class: `mono ${style}` }, text);

function sample(row) {
  const rows = row.columns.map(([column, left, right]) => [
    column, side(left, right === null ? "was" : ""), side(right, left === right ? "" : "new"),
  ]);
  return h("div", { class: "sample" },
    h("p", { class: "row" }, h("span", { class: `chip ${COLOURS[row.kind]}` }, row.kind),
      h("b", { class: "mono" }, row.key)),
    rows.length > 0 && table(["column", ...row.heads], rows, ["nowrap", "value", "value"]));
}

export function diff(found, ended) {
  if (!found) return null;
  const numbers = Object.entries(found.counts).map(([name, n]) =>
    h("div", null, h("b", null, count(n)), h("span", null, NAMES[name] ?? words(name))));
  return box(ended ? "What the latest rebuild changed" : "What the rebuild changes",
    h("p", null, h("b", null, found.headline)),
    h("p", { class: "facts" }, `${found.sides}; compared ${moment(found.compared_at)}`),
    h("div", { class: "numbers" }, numbers),
    h("p", { class: found.is_wrong ? "trouble" : "facts" }, found.oracle),
    found.note && h("p", { class: "facts" }, found.note),
    found.schema.length > 0 && table(["column is", ""], found.schema),
    found.columns.length > 0 && table(["column", "rows that differ"],
      found.columns.map(([name, n]) => [name, count(n)]), ["", "number"]),
    found.rows.length > 0 && h("div", { class: "samples" }, found.rows.map(sample)),
    found.rows_hidden > 0 && h("p", { class: "facts" },
      `${count(found.rows_hidden)} rows are not shown: `, h("code", null, "refold web --control"), " shows them"));
}
