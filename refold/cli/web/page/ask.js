// Buttons: what each of them does is said, and asked, before it is done.

import { h } from "./dom.js";
import { words } from "./format.js";
import { of, post } from "./wire.js";

const TOLD = {
  approve: ["The new table goes live. Readers see it from then on; a rollback brings the old one back.", "main"],
  reject: ["The new table is removed. Readers keep the one they have.", "risky"],
  pause: ["The run stands still once the batches in hand are done.", ""],
  resume: ["The run goes on where it stands.", "main"],
  cancel: ["The run stops and cleans up. Readers keep what they have.", "risky"],
  rebuild: ["A new table is built aside from all events, and takes the place of the live one.", ""],
  rollback: ["The generation goes live again, with all events since.", "risky"],
};
const WITH_REASON = ["reject", "cancel"];

export const button = (action, name, { to = null, label = null, small = false } = {}) =>
  h("button", {
    class: `${TOLD[action][1]}${small ? " small" : ""}`, "data-do": "ask", "data-action": action,
    "data-name": name, "data-to": to,
  }, label ?? words(action).replace(/^./, (c) => c.toUpperCase()));

const dialog = document.getElementById("ask");
const said = document.getElementById("said");
let hiding;

export function say(text, wrong = false) {
  said.textContent = text;
  said.className = wrong ? "wrong" : "";
  said.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (said.hidden = true), wrong ? 12000 : 5000);
}

export function ask({ action, name, to }) {
  const field = WITH_REASON.includes(action)
    ? h("label", null, "why, for the record", h("input", { name: "reason", maxlength: 500 }))
    : action === "rebuild" && h("label", null, "who lets it go live",
      h("select", { name: "approval" },
        h("option", { value: "" }, "as the projection declares"),
        h("option", { value: "manual" }, "a person, who sees the diff first"),
        h("option", { value: "auto" }, "nobody is asked")));
  const where = to ? ` to generation ${to}` : "";
  dialog.replaceChildren(h("div", { class: "content" },
    h("h2", null, `${words(action).replace(/^./, (c) => c.toUpperCase())} ${name}${where}?`),
    h("p", null, TOLD[action][0]), field,
    h("div", { class: "row" },
      h("button", { class: TOLD[action][1] || "main", "data-do": "sure" }, `Yes, ${action}`),
      h("button", { "data-do": "back" }, "Back"))));
  dialog.dataset.action = action;
  dialog.dataset.name = name;
  dialog.dataset.to = to ?? "";
  dialog.showModal();
}

export const back = () => dialog.close();

export async function sure() {
  const { action, name, to } = dialog.dataset;
  const body = {};
  for (const field of dialog.querySelectorAll("input, select"))
    if (field.value) body[field.name] = field.value;
  if (action === "rollback" && to) body.to_generation = Number(to);
  dialog.close();
  try {
    const run = await post(`${of(name)}/${action}`, body);
    const started = action === "rebuild" || action === "rollback";
    say(started ? `started ${run.workflow_id}` : `asked ${run.workflow_id} to ${action}`);
  } catch (error) {
    say(error.message, true);
  }
}

// Asks for the token; `then` is called with what was typed.
export function askToken(message, then) {
  if (dialog.open) return;
  const field = h("input", { type: "password", autocomplete: "off", required: true, name: "token" });
  const form = h("form", { class: "content" },
    h("h2", null, "Token"), h("p", null, message), field, h("button", { class: "main" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
    then(field.value.trim());
  });
  dialog.replaceChildren(form);
  dialog.showModal();
}
