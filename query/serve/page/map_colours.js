// Which colour and mark a point has, and which it is shown at all: pure functions of columns and choices.

import { LOOK } from "./map_gl.js";
import { CLASSES, MARKS, NEUTRAL, rgb, shade } from "./palette.js";

/** What a point with more than one localization is shown as, as in the figures of `locatlas map`. */
export const SEVERAL = "several localizations";

/** A column of names as codes: {names: string[], codes: Uint32Array, counts: number[]}, the most frequent first;
    SEVERAL comes after all names, `none` at the end. */
export function coded(column, none = "no localization") {
  const first = new Map();
  const raw = new Uint32Array(column.length);
  const counts = [];
  for (let i = 0; i < raw.length; i += 1) {
    const name = column.at(i) ?? none;
    let code = first.get(name);
    if (code === undefined) {
      code = first.size;
      first.set(name, code);
      counts.push(0);
    }
    raw[i] = code;
    counts[code] += 1;
  }
  const names = [...first.keys()];
  // what is not known comes last, whatever its number
  const rank = names.map((name) => (name === none ? 2 : name === SEVERAL ? 1 : 0));
  const order = names.map((_, i) => i).sort((a, b) => rank[a] - rank[b] || counts[b] - counts[a] || (names[a] < names[b] ? -1 : 1));
  const place = new Uint32Array(names.length);
  order.forEach((old, now) => (place[old] = now));
  const codes = new Uint32Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) codes[i] = place[raw[i]];
  return { names: order.map((i) => names[i]), counts: order.map((i) => counts[i]), codes, none };
}

/** Localizations of a set as the server joins it; "" or null is the empty one. */
export const membersOf = (set) => (set ? set.split(";") : []);

/** Points by localization, each point counted in all of its own: [[name, number], ...], the most frequent first. */
export function membersCounted(sets) {
  const found = new Map();
  sets.names.forEach((set, i) => membersOf(set).forEach((name) => found.set(name, (found.get(name) ?? 0) + sets.counts[i])));
  return [...found].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/** Colour and mark of each class: seven colours, then again with another mark; past 28 classes, neutral. Points with
    several localizations are neutral squares. */
export function classStyle(classes, dark) {
  const colours = CLASSES[dark ? "dark" : "light"];
  const neutral = NEUTRAL[dark ? "dark" : "light"];
  return classes.names.map((name, i) => {
    const mark = Math.floor(i / colours.length);
    if (name === SEVERAL) return { colour: neutral, mark: 1 };
    if (name === classes.none || mark >= MARKS.length) return { colour: neutral, mark: 0 };
    return { colour: colours[i % colours.length], mark };
  });
}

/** Colours (4 n) and marks (n) of points by class. */
export function byClass(classes, style, opacity = 0.85) {
  const n = classes.codes.length;
  const colours = new Uint8Array(4 * n);
  const marks = new Uint8Array(n);
  const paints = style.map((one) => [...rgb(one.colour), Math.round(255 * opacity)]);
  for (let i = 0; i < n; i += 1) {
    colours.set(paints[classes.codes[i]], 4 * i);
    marks[i] = style[classes.codes[i]].mark;
  }
  return { colours, marks };
}

/** Colours and marks by a share; NaN is neutral. */
export function byShare(values, dark, opacity = 0.85) {
  const n = values.length;
  const colours = new Uint8Array(4 * n);
  const alpha = Math.round(255 * opacity);
  const steps = Array.from({ length: 101 }, (_, i) => [...shade(i / 100, dark), alpha]);
  const neutral = [...rgb(NEUTRAL[dark ? "dark" : "light"]), alpha];
  for (let i = 0; i < n; i += 1) colours.set(Number.isNaN(values[i]) ? neutral : steps[Math.round(100 * Math.min(Math.max(values[i], 0), 1))], 4 * i);
  return { colours, marks: new Uint8Array(n) };
}

/** Looks (n) of points, and the rows of those that are shown.

    columns: localization, sets (joined by ";"), dataset and protein as `coded`, confidence Float32Array or null.
    filter: {hidden: Set of codes, place: a localization that the set has or "", dataset: code or -1, text,
    above: least confidence}. chosen: Set of rows. */
export function looksOf(columns, filter, chosen) {
  const n = columns.localization.codes.length;
  const looks = new Uint8Array(n);
  const rows = [];
  const text = filter.text.toLowerCase();
  const named = text ? columns.protein.names.map((name) => name.toLowerCase().includes(text)) : null;
  const there = filter.place ? columns.sets.names.map((set) => membersOf(set).includes(filter.place)) : null;
  for (let i = 0; i < n; i += 1) {
    const shown = !filter.hidden.has(columns.localization.codes[i])
      && (filter.dataset < 0 || columns.dataset.codes[i] === filter.dataset)
      && (!there || there[columns.sets.codes[i]])
      && (!named || named[columns.protein.codes[i]])
      && (!columns.confidence || filter.above <= 0 || columns.confidence[i] >= filter.above);
    if (!shown) continue;
    looks[i] = !chosen.size ? LOOK.plain : chosen.has(i) ? LOOK.chosen : LOOK.dim;
    rows.push(i);
  }
  return { looks, rows: Uint32Array.from(rows) };
}

/** Whether a point lies in a polygon [[x, y], ...], by crossings. */
export function inside(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}
