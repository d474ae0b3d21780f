// The lag of a projection over time as a small line.

import { h, s } from "./dom.js";
import { count, length } from "./format.js";

const WINDOW = 600;
const WIDTH = 300;
const HEIGHT = 60;

export function line(points, { large = false } = {}) {
  const now = points.length ? points[points.length - 1][0] : 0;
  const seen = points.filter(([at]) => at >= now - WINDOW);
  const first = seen.length ? Math.min(seen[0][0], now - 30) : 0;
  const most = Math.max(1, ...seen.map(([, lag]) => lag));
  const x = (at) => (((at - first) / (now - first || 1)) * WIDTH).toFixed(1);
  const y = (lag) => (HEIGHT - 2 - (lag / most) * (HEIGHT - 6)).toFixed(1);
  const path = seen.map(([at, lag], i) => `${i ? "L" : "M"}${x(at)} ${y(lag)}`).join("");
  const picture = s("svg", {
    class: large ? "line large" : "line", viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none", role: "img", "aria-label": `lag over time, at most ${count(most)}`,
  },
    seen.length > 1 && s("path", {
      class: "area", d: `${path}L${WIDTH} ${HEIGHT}L${x(seen[0][0])} ${HEIGHT}Z` }),
    seen.length > 1 && s("path", { class: "stroke", d: path }));
  if (!large) return picture;
  return h("div", null, picture, h("p", { class: "axis" },
    h("span", null, `${length(now - first)} ago`),
    h("span", null, `at most ${count(Math.max(0, ...seen.map(([, lag]) => lag)))} events`),
    h("span", null, "now")));
}

// A bar by SVG, as styles in attributes are not allowed here.
export const bar = (percent, done = false) =>
  h("div", { class: done ? "bar done" : "bar", role: "progressbar", "aria-valuemin": 0,
    "aria-valuemax": 100, "aria-valuenow": Math.round(percent) },
    s("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none" },
      s("rect", { width: Math.max(0, Math.min(100, percent)).toFixed(1), height: 1 })));
