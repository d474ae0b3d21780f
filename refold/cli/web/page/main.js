// The page: what it knows, what it shows of it, and what is pressed.

import { ask, askToken, back, say, sure } from "./ask.js";
import { show } from "./dom.js";
import { cards, mirrors, summary } from "./list.js";
import { panel, signature } from "./panel.js";
import { get, of, setToken, stream, takeToken } from "./wire.js";

const [main, list, place, problem, pulse, mode] =
  ["main", "list", "panel", "problem", "pulse", "mode"].map((id) => document.getElementById(id));
const POINTS = 600;
const DETAILS_AGAIN = 15_000;
const store = {
  board: [], mirrors: [], at: new Date().toISOString(), lags: {}, control: false,
  open: null, details: null, some: null, life: null, key: null, asked: null, asked_at: 0,
};

function render() {
  const row = store.board.find(({ projection }) => projection === store.open);
  main.className = row ? "both" : "alone";
  place.hidden = !row;
  show(list, summary(store.board), cards(store), mirrors(store.mirrors));
  document.title = row ? `${row.projection} · Refold` : "Refold";
  if (!row) return;
  show(place, panel(row, store));
  look(row);
}

async function look(row) {
  const now = signature(row);
  if (now === store.asked && Date.now() - store.asked_at < DETAILS_AGAIN) return;
  store.asked = now;
  store.asked_at = Date.now();
  try {
    const found = await get(of(row.projection));
    if (store.open !== row.projection) return;
    store.details = found;
    render();
  } catch (error) {
    store.asked_at = Date.now() - DETAILS_AGAIN + 3000;
    if (error.status !== 401) say(error.message, true);
  }
}

function named(hash) {
  try {
    return decodeURIComponent(hash.replace(/^#\/?/, "")) || null;
  } catch {
    return null; // typed by hand
  }
}

function route() {
  takeToken();
  const name = named(location.hash);
  if (name === store.open) return;
  Object.assign(store, { open: name, details: null, some: null, life: null, asked: null });
  render();
  scrollTo(0, 0);
}

function took(board) {
  Object.assign(store, { board: board.projections, mirrors: board.mirrors, at: board.at, control: board.control });
  for (const { projection, events_behind } of store.board) {
    if (events_behind === null) continue;
    const points = (store.lags[projection] ??= []);
    points.push([Date.parse(board.at) / 1000, events_behind]);
    if (points.length > POINTS) points.shift();
  }
  mode.hidden = false;
  mode.textContent = board.control ? "control" : "read-only";
  const nobody = board.has_workers === false
    ? "No worker has shown itself for a minute: start one with `refold worker`, or look at its log." : null;
  problem.textContent = board.problem ?? nobody ?? "";
  problem.hidden = !problem.textContent;
  render();
}

function beat(state, text) {
  pulse.className = `pulse ${state}`;
  pulse.textContent = text;
}

async function watch() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 10_000)) {
    try {
      for await (const { name, data } of stream("/api/stream")) {
        wait = 500;
        if (name === "lags") store.lags = data;
        if (name === "board") took(data);
        beat("on", "live");
      }
    } catch (error) {
      if (error.status === 401) {
        beat("off", "needs a token");
        askToken(error.message, (token) => { setToken(token); watch(); });
        return;
      }
      if (error.status) { problem.textContent = error.message; problem.hidden = false; }
    }
    beat("off", "connecting again");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function life(key, after = null) {
  const asked = new URLSearchParams(key.map((value) => ["key", value]));
  const version = document.querySelector("#key select")?.value;
  if (version) asked.set("version", version);
  if (after !== null) asked.set("after", after);
  try {
    const found = await get(`${of(store.open)}/life?${asked}`);
    if (after !== null) found.steps = [...store.life.steps, ...found.steps];
    Object.assign(store, { life: found, key });
    render();
  } catch (error) {
    say(error.message, true);
  }
}

async function rows() {
  try {
    store.some = await get(`${of(store.open)}/rows`);
    render();
  } catch (error) {
    say(error.message, true);
  }
}

function pick(index) {
  const key = store.some.keys[index];
  document.querySelectorAll("#key input").forEach((field, i) => (field.value = key[i]));
  life(key);
  document.getElementById("key").scrollIntoView({ block: "start", behavior: "smooth" });
}

const DOES = {
  ask: (data) => ask(data), back, sure, rows,
  life: ({ row }) => pick(Number(row)),
  more: () => life(store.key, store.life.more_after),
};

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-do]");
  if (!pressed) return;
  event.preventDefault();
  DOES[pressed.dataset.do](pressed.dataset);
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.id === "key")
    life([...event.target.querySelectorAll("input")].map(({ value }) => value));
});
addEventListener("hashchange", route);
route();
watch();
