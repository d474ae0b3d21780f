// Numbers and times for people.

export const count = (number) =>
  number === null || number === undefined ? "none" : Number(number).toLocaleString("en-US");

export function length(seconds) {
  for (const [unit, size] of [["days", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  return seconds >= 10 ? `${Math.round(seconds)} s` : `${Math.max(0, seconds).toFixed(1)} s`;
}

export const ago = (time, now) => `${length((Date.parse(now) - Date.parse(time)) / 1000)} ago`;

export const moment = (time) =>
  time ? new Date(time).toLocaleString("sv-SE", { timeZoneName: "short" }) : "never";

// To the minute, for tables.
export const minute = (time) =>
  time ? new Date(time).toLocaleString("sv-SE", { dateStyle: "short", timeStyle: "short" }) : "never";

export const words = (name) => String(name).replaceAll("_", " ");

const KINDS = {
  good: ["live", "completed", "rolled_back"],
  busy: ["running", "pending", "rolling_back", "catching_up", "starting"],
  ask: ["awaiting_approval", "paused", "pausing", "cancelling"],
  bad: ["failed", "needs_rebuild"],
};

export const kind = (state) =>
  Object.keys(KINDS).find((name) => KINDS[name].includes(state)) ?? "idle";

export function lag(row) {
  if (row.events_behind === null) return "nothing built yet";
  if (row.events_behind === 0) return "no lag";
  const age = row.lag_seconds ? `, ${length(row.lag_seconds)}` : "";
  return `${count(row.events_behind)} event${row.events_behind === 1 ? "" : "s"} behind${age}`;
}
