// The rows of a read model, and the life of one: every event of its key with what it changed.

import { box, h, table } from "./dom.js";
import { moment } from "./format.js";

function rowsTable(found) {
  if (!found.rows.length) return h("p", { class: "none" }, "no row");
  return [
    h("div", { class: "scroll" }, h("table", null,
      h("thead", null, h("tr", null, h("th"), found.columns.map((name) => h("th", null, name)))),
      h("tbody", null, found.rows.map((row, i) => h("tr", { class: "pick", "data-do": "life", "data-row": i },
        h("td", null, h("button", { class: "small", "data-do": "life", "data-row": i }, "why?")),
        row.map((value) => h("td", { class: "value mono" }, value))))))),
    found.more && h("p", { class: "facts" }, "and more: name a key"),
  ];
}

const change = ([name, before, after]) =>
  h("p", { class: "mono" }, `${name} `, before !== null && [h("span", { class: "was" }, before), " → "],
    h("span", { class: "new" }, after));

function step(one) {
  const told = one.error ? h("p", { class: "trouble" }, one.error)
    : one.disappears ? h("p", { class: "was" }, "the row is gone")
    : one.changes.length ? one.changes.map(change)
    : h("p", { class: "none" }, one.appears ? "the row appears" : "no change");
  return h("div", { class: "step" },
    h("p", null, h("b", null, one.type), h("span", { class: "facts" },
      ` ${one.position}, ${one.stream} ${one.version}, ${moment(one.at)}`)), told);
}

function lifeOf(life) {
  const key = life.key.map(([name, value]) => `${name} ${value}`).join(", ");
  return [
    h("p", null, h("b", null, `${key}, version ${life.version}`)),
    life.steps.length ? life.steps.map(step) : h("p", { class: "none" }, "no event"),
    life.more_after && h("button", { "data-do": "more" }, "More events"),
    h("p", { class: life.is_right === false ? "trouble" : "facts" }, life.seen),
    life.letters.map((one) => h("p", { class: "trouble" }, one)),
  ];
}

export function rowsAndLife(store) {
  const { details, some, life } = store;
  const versions = details.versions.length > 1 && h("label", null, "version",
    h("select", { name: "version" }, [...details.versions].reverse().map((n) => h("option", null, n))));
  return box("Rows, and why they are so",
    h("form", { id: "key", class: "row", "data-key": details.projection },
      details.key.map((name) => h("label", null, name,
        h("input", { name: "key", autocomplete: "off", required: true }))),
      versions, h("button", { class: "main" }, "Why is it so?"),
      h("button", { type: "button", "data-do": "rows" }, "First rows")),
    life && lifeOf(life), some && rowsTable(some));
}
