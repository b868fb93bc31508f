// Lines with intervals as SVG, and the same numbers as a table.

import { h, s, two } from "./dom.js";
import { CLASSES } from "./palette.js";
import { isDark } from "./theme.js";

const HEIGHT = 300;
const PAD = { left: 44, right: 14, top: 12, bottom: 40 };
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

/** A chart of scores in 0..1 over k on a logarithmic scale.

    series: [{name, points: [{x, y, low, high}]}]; low and high may be null. spread: what they are, in words. */
export function lines(series, { x: xName, y: yName, label, spread }) {
  // in pixels of the page, so that letters keep their size on a phone
  const width = Math.min(640, Math.max(320, innerWidth - 24));
  const colours = CLASSES[isDark() ? "dark" : "light"];
  const xs = [...new Set(series.flatMap((one) => one.points.map((p) => p.x)))].sort((a, b) => a - b);
  const [low, high] = [Math.log(xs[0]), Math.log(xs.at(-1))];
  const px = (x) => PAD.left + ((Math.log(x) - low) / (high - low || 1)) * (width - PAD.left - PAD.right);
  const py = (y) => HEIGHT - PAD.bottom - y * (HEIGHT - PAD.top - PAD.bottom);
  const grid = [0, 0.2, 0.4, 0.6, 0.8, 1].map((y) => [
    s("line", { x1: PAD.left, x2: width - PAD.right, y1: py(y), y2: py(y), class: "grid" }),
    s("text", { x: PAD.left - 8, y: py(y) + 4, "text-anchor": "end", text: y.toFixed(1) })]);
  const ticks = spaced(xs, px).map((x) => [
    s("line", { x1: px(x), x2: px(x), y1: HEIGHT - PAD.bottom, y2: HEIGHT - PAD.bottom + 4, class: "axis" }),
    s("text", { x: px(x), y: HEIGHT - PAD.bottom + 17, "text-anchor": "middle", text: String(x) })]);
  const drawn = series.map((one, i) => {
    const colour = colours[i % colours.length];
    const dash = DASHES[Math.floor(i / colours.length) % DASHES.length] || null;
    const points = one.points.filter((p) => p.y !== null);
    const banded = points.filter((p) => p.low !== null && p.high !== null);
    const band = [...banded.map((p) => `${px(p.x)},${py(p.high)}`), ...banded.toReversed().map((p) => `${px(p.x)},${py(p.low)}`)];
    return s("g", { class: "series" },
      band.length > 3 && s("polygon", { points: band.join(" "), fill: colour, opacity: 0.13 }),
      s("polyline", { points: points.map((p) => `${px(p.x)},${py(p.y)}`).join(" "), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }),
      points.map((p) => s("circle", { cx: px(p.x), cy: py(p.y), r: 3.2, fill: colour },
        s("title", { text: `${one.name}: ${yName} ${two(p.y)} at ${xName} ${p.x}${p.low === null ? "" : ` (${spread}: ${two(p.low)} – ${two(p.high)})`}` }))));
  });
  const key = h("ul", { class: "key" }, series.map((one, i) => h("li", {},
    s("svg", { width: 26, height: 10, "aria-hidden": "true" }, s("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: colours[i % colours.length], "stroke-width": 2.5,
      "stroke-dasharray": DASHES[Math.floor(i / colours.length) % DASHES.length] || null })), h("span", { text: one.name }))));
  return h("figure", { class: "chart" },
    s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, grid, ticks, drawn,
      s("text", { x: (width + PAD.left) / 2, y: HEIGHT - 4, "text-anchor": "middle", class: "name", text: xName }),
      s("text", { x: 12, y: HEIGHT / 2 - 12, "text-anchor": "middle", transform: `rotate(-90 12 ${HEIGHT / 2 - 12})`, class: "name", text: yName })),
    key, h("details", {}, h("summary", { text: "numbers" }), numbers(series, xs, xName, spread)));
}

/** Ticks that leave room for their numbers. */
function spaced(xs, px) {
  const kept = [];
  for (const x of xs) if (!kept.length || px(x) - px(kept.at(-1)) > 26) kept.push(x);
  return kept;
}

function numbers(series, xs, xName, spread) {
  const spreads = series.some((one) => one.points.some((p) => p.low !== null));
  const cell = (p) => (p ? `${two(p.y)}${p.low === null ? "" : ` (${two(p.low)} – ${two(p.high)})`}` : "–");
  return h("div", { class: "scroll" }, h("table", { class: "numbers" }, spreads && h("caption", { text: `in brackets: ${spread}` }),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", text: xName }), series.map((one) => h("th", { scope: "col", text: one.name })))),
    h("tbody", {}, xs.map((x) => h("tr", {}, h("th", { scope: "row", text: String(x) }),
      series.map((one) => h("td", { text: cell(one.points.find((p) => p.x === x)) })))))));
}
