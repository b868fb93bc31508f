// Beside the map: legend, scale of confidence, selection with its export, and the card of the point under the pointer.

import { shot } from "./channels.js";
import { count, download, h, later, plural, put, s, two } from "./dom.js";
import { membersOf } from "./map_colours.js";
import { proteinShot } from "./parts.js";
import { shade } from "./palette.js";
import { site } from "./source.js";
import { isDark } from "./theme.js";

const SHAPES = [
  { tag: "circle", cx: 6, cy: 6, r: 4.6 },
  { tag: "rect", x: 1.8, y: 1.8, width: 8.4, height: 8.4 },
  { tag: "path", d: "M6 1 L11 10.4 L1 10.4 Z" },
  { tag: "path", d: "M6 0.6 L11.4 6 L6 11.4 L0.6 6 Z" },
];

function glyph({ colour, mark }) {
  const { tag, ...shape } = SHAPES[mark];
  return s("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" }, s(tag, { ...shape, fill: colour }));
}

/** Classes with mark and number; each is a switch. hidden: Set of codes, changed in place. */
export function legend(classes, style, hidden, { title, changed }) {
  const buttons = classes.names.map((name, i) => h("button", {
    type: "button", "data-class": name, title: "click: show or hide; double click or Shift and click: this one alone",
    on: { click: (e) => (e.shiftKey ? alone(i) : flip(i)), dblclick: () => alone(i) },
  }, glyph(style[i]), h("span", { class: "name", text: name }), h("span", { class: "n", text: count(classes.counts[i]) })));
  const tell = () => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(!hidden.has(i))));
    changed();
  };
  const flip = (i) => {
    if (!hidden.delete(i)) hidden.add(i);
    tell();
  };
  const alone = (i) => {
    classes.names.forEach((_, j) => (j === i ? hidden.delete(j) : hidden.add(j)));
    tell();
  };
  const all = (shown) => h("button", { type: "button", class: "quiet", text: shown ? "all" : "none", "aria-label": shown ? "show all" : "show none", on: { click: () => {
    classes.names.forEach((_, i) => (shown ? hidden.delete(i) : hidden.add(i)));
    tell();
  } } });
  buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(!hidden.has(i))));
  return h("section", {}, h("div", { class: "title" }, h("h2", { text: title }), all(true), all(false)),
    h("ul", { class: "legend" }, buttons.map((button) => h("li", {}, button))));
}

/** The scale of confidence, with a bound below which points are hidden. */
export function scale(data, above, onchange) {
  const told = h("output", { text: two(above) });
  const soon = later((v) => onchange(v), 80);
  const input = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: above, "aria-label": "least confidence", on: { input: () => {
    told.textContent = two(Number(input.value));
    soon(Number(input.value));
  } } });
  return h("section", {}, h("h2", { text: "vote confidence" }),
    h("div", { class: "ramp" }, Array.from({ length: 24 }, (_, i) => h("i", { style: { background: `rgb(${shade(i / 23, isDark()).join(",")})` } }))),
    h("div", { class: "ends" }, h("span", { text: "0" }), h("span", { text: "1" })),
    h("label", { class: "range" }, h("span", { text: "at least" }), input, told),
    h("p", { class: "told", text: voted(data) }));
}

/** What the shares are of, by what the server says was asked and left out. */
function voted({ confidence, protein, vote }) {
  let [known, nameless] = [0, 0];
  confidence.forEach((share, row) => {
    if (Number.isNaN(share)) return;
    known += 1;
    nameless += !protein.names[protein.codes[row]];
  });
  if (!known) return vote.n_without_protein ? "No point has a vote: of points without a protein name, others of their protein could not be left out." : "No point has a vote.";
  const byProtein = vote.exclude === "protein";
  const others = byProtein ? (nameless < known ? " of other proteins" : "") : `, ${vote.exclude} left out`;
  const beside = byProtein && nameless > 0
    ? ` Without a protein name: ${nameless === known ? "all" : count(nameless)} of these. There only the point's own field was left out: others of its protein or sample may have voted.` : "";
  return `Share of the votes (${vote.weights} weights) for the top localization among the ${vote.k} nearest labelled ones${others}, or as many as there are; ${plural(known, "point")} with a vote, the others grey.${beside}`;
}

/** What is selected: number, classes, the first of them, and the export. */
export function selected(data, chosen, { level, open, clear }) {
  if (!chosen.size) {
    return h("section", { class: "selection" }, h("h2", { text: "Selection" }),
      h("p", { class: "told", text: "Draw around points with the lasso, or select what is in view, to list and export them." }));
  }
  const rows = [...chosen];
  const counts = new Map();
  for (const row of rows) {
    const name = data.localization.names[data.localization.codes[row]];
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const top = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 5);
  return h("section", { class: "selection" },
    h("div", { class: "title" }, h("h2", { text: `${count(rows.length)} selected` }),
      h("button", { type: "button", class: "quiet", text: "drop", "aria-label": "drop the selection", on: { click: clear } })),
    h("p", { class: "exports" },
      h("button", { type: "button", text: "Export ids", on: { click: () => download(`${level}-ids.txt`, "text/plain", idsOf(data, rows)) } }),
      h("button", { type: "button", text: "Export CSV", on: { click: () => download(`${level}-selection.csv`, "text/csv", csvOf(data, rows)) } }),
      !site && level !== "protein" && rows.length <= 12 && h("a", { href: `#/compare?${new URLSearchParams([["level", level], ...rows.map((row) => ["ids", data.id.at(row)])])}`, text: "Compare encoders" })),
    h("ul", { class: "top" }, top.map(([name, n]) => h("li", {}, h("span", { text: name }), h("span", { class: "n", text: count(n) })))),
    h("ol", { class: "strip" }, rows.slice(0, 24).map((row) => {
      const id = data.id.at(row);
      return h("li", {}, h("a", { href: open(row), title: id, "aria-label": id }, level === "protein" ? proteinShot(id, 96) : shot(id, { size: 96 })));
    })),
    rows.length > 24 && h("p", { class: "told", text: `the first 24 of ${count(rows.length)}` }));
}

/** Ids, one a line. */
export const idsOf = (data, rows) => rows.map((row) => `${data.id.at(row)}\n`).join("");

function csvOf(data, rows) {
  // a cell that begins like a formula would be run by a spreadsheet
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const line = (cells) => `${cells.map(cell).join(",")}\n`;
  return line(["id", "protein", "dataset", "localizations", "x", "y"]) + rows.map((row) => line([
    data.id.at(row), data.protein.names[data.protein.codes[row]], data.dataset.names[data.dataset.codes[row]],
    data.sets.names[data.sets.codes[row]], data.x[row], data.y[row]])).join("");
}

const soonShot = later((place, image) => put(place, image), 40);

/** Fill the card of a point. */
export function tip(card, data, row, level) {
  const id = data.id.at(row);
  const picture = h("span", { class: "frame" });
  const protein = data.protein.names[data.protein.codes[row]];
  put(card, picture,
    h("b", { text: protein || id }), level !== "protein" && h("span", { class: "id", text: id }),
    h("span", { text: membersOf(data.sets.names[data.sets.codes[row]]).join(", ") || data.localization.none }),
    data.predicted && h("span", { text: `predicted ${data.predicted.names[data.predicted.codes[row]]}, ${Number.isNaN(data.confidence[row]) ? "no vote" : two(data.confidence[row])}` }),
    data.placed?.at(row) && h("span", { class: "faint", text: "placed later, without a new fit" }));
  card.hidden = false;
  card.dataset.id = id;
  soonShot(picture, level === "protein" ? proteinShot(id, 200) : shot(id, { size: 200 }));
}
