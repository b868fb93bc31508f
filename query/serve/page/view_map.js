// The map: every field of view, cell or protein as a point among those that look like it.

import KDBush from "./vendor/kdbush.js";

import { ApiError, status, table } from "./api.js";
import { picture } from "./channels.js";
import { announce, choice, count, h, later, plural, put, s } from "./dom.js";
import { byClass, byShare, classStyle, coded, inside, looksOf, membersCounted, SEVERAL } from "./map_colours.js";
import { PointCloud } from "./map_gl.js";
import { hand } from "./map_hand.js";
import { legend, scale, selected, tip } from "./map_panel.js";
import { Shots } from "./map_shots.js";
import { current, encoderChoice, encodersOf, failure, goTo, imageLink, levels, notes, proteinLink } from "./parts.js";
import { isDark } from "./theme.js";

const COLOUR_BY = { localization: "localization", dataset: "data set", confidence: "vote confidence", predicted: "predicted localization" };

/** Show the view. */
export async function render(root, at, { signal, leaving }) {
  const atlas = await status();
  const askable = levels(atlas);
  if (!askable.length) {
    put(root, h("h1", { text: "Map" }), h("p", { class: "told", text: "No vectors yet: locatlas embed --encoder NAME makes them." }));
    return;
  }
  const wanted = at.parameters.get("level");
  const mapped = atlas.stored.maps.map((m) => m.level);
  const level = askable.includes(wanted) ? wanted : askable.find((l) => mapped.includes(l)) ?? askable.at(-1);
  const encoder = at.parameters.get("encoder");
  const colour = Object.hasOwn(COLOUR_BY, at.parameters.get("colour") ?? "") ? at.parameters.get("colour") : "localization";
  const fingerprint = encodersOf(atlas, level).find((e) => [e.fingerprint, e.name].includes(encoder))?.fingerprint ?? current(atlas, level)?.fingerprint;
  // the one that was made last comes first, as with the server
  const stored = atlas.stored.maps.filter((m) => m.level === level && m.fingerprint === fingerprint).toSorted((a, b) => (a.at < b.at ? 1 : -1));
  const methods = [...new Set(stored.map((m) => m.method))];
  const head = h("div", { class: "bar-of-choices" }, h("h1", { text: "Map" }),
    choice("points", askable.map((l) => [l, { protein: "proteins", fov: "fields of view", cell: "cells" }[l]]), level,
      (value) => goTo(at, { level: value, encoder: null, method: null })),
    encoderChoice(atlas, level, encoder, (value) => goTo(at, { encoder: value, method: null })),
    methods.length > 1 && choice("method", methods.map((m) => [m, m]), at.parameters.get("method") ?? methods[0],
      (value) => goTo(at, { method: value })),
    choice("colour", Object.entries(COLOUR_BY), colour, (value) => goTo(at, { colour: value })));
  put(root, head, h("p", { class: "told waiting", text: "Loading the map …" }));
  const by = { level, encoder };
  const needed = colour === "confidence" || colour === "predicted";
  let [points, votes, arrived] = [null, null, 0];
  try {
    points = await table("points", { ...by, method: at.parameters.get("method") }, signal);
    arrived = performance.now();
    votes = needed ? await table("points/confidence", by, signal) : null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    put(root, head, failure(error));
    return;
  }
  const data = columnsOf(points, votes);
  const stage = build(root, head, data, { level, colour, atlas });
  leaving(stage.end);
  // for measurements: from the arrival of the data to the first picture
  requestAnimationFrame(() => requestAnimationFrame(() => {
    root.dataset.usable = String(Math.round(performance.now() - arrived));
  }));
}

/** Columns by row of the points; votes are joined by id. */
function columnsOf(points, votes) {
  const column = (name) => points.getChild(name);
  const [first, numbers] = [column("localization"), column("n_localizations")];
  const data = {
    n: points.numRows, id: column("id"), protein: coded(column("protein"), ""), x: Float32Array.from(column("x").toArray()), y: Float32Array.from(column("y").toArray()),
    localization: coded({ length: points.numRows, at: (i) => (numbers.at(i) > 1 ? SEVERAL : first.at(i)) }), sets: coded(column("localizations"), ""), dataset: coded(column("dataset"), "no data set"), placed: column("placed"),
    metadata: Object.fromEntries(points.schema.metadata ?? []), confidence: null, predicted: null, vote: null,
  };
  if (votes) {
    data.vote = JSON.parse(Object.fromEntries(votes.schema.metadata ?? []).locatlas);
    const found = new Map();
    const [ids, shares, names] = ["id", "confidence", "predicted"].map((name) => votes.getChild(name));
    for (let i = 0; i < votes.numRows; i += 1) found.set(ids.at(i), i);
    data.confidence = new Float32Array(data.n).fill(Number.NaN);
    const predicted = new Array(data.n).fill(null);
    for (let i = 0; i < data.n; i += 1) {
      const row = found.get(data.id.at(i));
      if (row === undefined) continue;
      data.confidence[i] = shares.at(row) ?? Number.NaN;
      predicted[i] = names.at(row);
    }
    data.predicted = coded(predicted, "no vote");
  }
  return data;
}

function build(root, head, data, { level, colour, atlas }) {
  const canvas = h("canvas", { class: "cloud", tabindex: "0", role: "application", "aria-label": "Map of the points", "aria-describedby": "map-keys" });
  const overlay = s("svg", { class: "overlay", "aria-hidden": "true" });
  const layer = h("div", { class: "shots", "aria-hidden": "true" });
  const ring = h("i", { class: "ring", hidden: true });
  const card = h("div", { class: "tip", hidden: true });
  const frame = h("div", { class: "map" }, canvas, layer, overlay, ring, card);
  const side = h("aside", { class: "panel", "aria-label": "Legend and selection" });
  const told = h("p", { class: "told map-told" });
  const lasso = h("button", { type: "button", text: "Lasso", "aria-pressed": "false", title: "or hold Shift while drawing", on: { click: () => {
    state.lassoing = !state.lassoing;
    lasso.setAttribute("aria-pressed", String(state.lassoing));
    canvas.classList.toggle("drawing", state.lassoing);
  } } });
  const pictures = h("button", { type: "button", text: "Pictures", "aria-pressed": "false", on: { click: () => {
    pictures.setAttribute("aria-pressed", String(!shots.on));
    shots.show(!shots.on);
  } } });
  const inView = h("button", { type: "button", text: "Select what is in view", on: { click: () => choose(rowsInView()) } });
  const whole = h("button", { type: "button", text: "Whole map", on: { click: () => cloud.fit() } });
  const search = h("input", { type: "search", placeholder: "part of a name", "aria-label": "Only proteins with this in their name", on: {
    input: later(() => { state.filter.text = search.value.trim(); apply(); }, 120) } });
  const sets = choice("data set", [["-1", "all"], ...data.dataset.names.map((name, i) => [String(i), name])], "-1", (value) => {
    state.filter.dataset = Number(value);
    apply();
  });
  // where no point has several, the legend does the same
  const places = data.localization.names.includes(SEVERAL)
    && choice("in", [["", "any localization"], ...membersCounted(data.sets).map(([name, n]) => [name, `${name} (${count(n)})`])], "", (value) => {
      state.filter.place = value;
      apply();
    });
  // of the map and of the votes: what is to be known of either
  const known = new Set([...JSON.parse(data.metadata.notes ?? "[]"), ...(data.vote?.notes ?? [])]);
  put(root, head,
    h("div", { class: "bar-of-choices" }, h("label", { class: "choice" }, h("span", { text: "protein" }), search), places,
      data.dataset.names.length > 1 && sets, lasso, inView, whole, pictures),
    notes([...known]), h("div", { class: "stage" }, frame, side), told,
    h("p", { class: "told", id: "map-keys", text: "Drag or arrow keys move, wheel or + and − zoom, 0 shows everything, Enter opens the marked point, Escape drops the selection." }));

  const classes = { localization: data.localization, dataset: data.dataset, predicted: data.predicted }[colour] ?? null;
  // the legend hides what it shows; by share there are no classes to hide
  const columns = { ...data, localization: classes ?? data.localization };
  const state = { lassoing: false, hovered: -1, chosen: new Set(), rows: new Uint32Array(), tree: null,
    filter: { hidden: new Set(), place: "", dataset: -1, text: "", above: 0 } };
  const cloud = new PointCloud(canvas);
  const shots = new Shots(layer, cloud, { x: data.x, y: data.y, idOf: (row) => (level === "protein" || picture(data.id.at(row)) === null ? null : data.id.at(row)) });
  pictures.hidden = level === "protein";
  cloud.drawn = () => {
    shots.update();
    mark();
  };
  cloud.setPoints(data.x, data.y);

  function paint() {
    const dark = isDark();
    const opacity = data.n > 20_000 ? 0.6 : 0.85;
    state.style = classes ? classStyle(classes, dark) : null;
    state.paints = classes ? byClass(classes, state.style, opacity) : byShare(data.confidence, dark, opacity);
  }
  function apply({ panel = true } = {}) {
    const { looks, rows } = looksOf(columns, state.filter, state.chosen);
    state.rows = rows;
    shots.rows = rows;
    cloud.setStyle({ ...state.paints, looks });
    // only points that are shown can be found under the pointer
    state.tree = new KDBush(rows.length, 64, Float32Array);
    for (const row of rows) state.tree.add(data.x[row], data.y[row]);
    state.tree.finish();
    hover(-1);
    if (panel) side.replaceChildren(...panels());
    told.textContent = summary();
  }
  function panels() {
    const chosen = selected(data, state.chosen, { level, open: address, clear: () => choose([]) });
    const first = classes
      ? legend(classes, state.style, state.filter.hidden, { title: COLOUR_BY[colour], changed: () => apply({ panel: false }) })
      : scale(data, state.filter.above, (value) => { state.filter.above = value; apply({ panel: false }); });
    return [chosen, first];
  }
  function summary() {
    const { method, fingerprint } = data.metadata;
    const encoder = atlas.encoders.find((e) => e.fingerprint === fingerprint)?.name ?? fingerprint?.slice(0, 12);
    const shown = state.rows.length === data.n ? plural(data.n, "point") : `${count(state.rows.length)} of ${plural(data.n, "point")}`;
    return `${shown}; ${[method, encoder].filter(Boolean).join(" of ")}. Near points look alike; distances between far ones mean little.`;
  }
  function near(x, y, radius) {
    let [best, least] = [-1, Infinity];
    for (const i of state.tree.within(x, y, radius)) {
      const row = state.rows[i];
      const off = (data.x[row] - x) ** 2 + (data.y[row] - y) ** 2;
      if (off < least) [best, least] = [row, off];
    }
    return best;
  }
  function mark() {
    ring.hidden = state.hovered < 0;
    if (state.hovered < 0) return;
    const [px, py] = cloud.toScreen(data.x[state.hovered], data.y[state.hovered]);
    ring.style.setProperty("transform", `translate(${px - 9}px, ${py - 9}px)`);
  }
  function hover(row, px = null, py = null, { said = false } = {}) {
    if (row !== state.hovered) {
      state.hovered = row;
      frame.dataset.hovered = row < 0 ? "" : data.id.at(row);
      canvas.classList.toggle("over", row >= 0);
      if (row < 0) card.hidden = true;
      else tip(card, data, row, level);
      if (said && row >= 0) announce(card.textContent);
    }
    mark();
    if (row < 0) return;
    const { width, height } = canvas.getBoundingClientRect();
    const [x, y] = px === null ? cloud.toScreen(data.x[row], data.y[row]) : [px, py];
    card.style.setProperty("transform", `translate(${x > width - 230 ? x - 214 : x + 16}px, ${Math.max(4, Math.min(y - 20, height - 270))}px)`);
  }
  function rowsInView() {
    const { width, height } = canvas.getBoundingClientRect();
    const [left, top] = cloud.toMap(0, 0);
    const [right, bottom] = cloud.toMap(width, height);
    return Array.from(state.tree.range(left, bottom, right, top), (i) => state.rows[i]);
  }
  function choose(rows) {
    state.chosen = new Set(rows);
    apply();
    announce(`${plural(state.chosen.size, "point")} selected`);
  }
  const address = (row) => (level === "protein" ? proteinLink(data.id.at(row)) : imageLink(data.id.at(row)));
  const stop = hand(cloud, overlay, {
    near, hover, hovered: () => state.hovered, lassoing: () => state.lassoing,
    open: (row) => { location.hash = address(row); },
    clear: () => choose([]),
    lasso: (polygon) => choose(state.rows.filter((row) => inside(polygon, data.x[row], data.y[row]))),
  });
  const resized = new ResizeObserver(() => cloud.draw());
  const themed = () => { paint(); apply(); };
  document.addEventListener("themechange", themed);
  cloud.fit();
  paint();
  apply();
  resized.observe(frame);
  return { end: () => {
    stop();
    resized.disconnect();
    document.removeEventListener("themechange", themed);
    cloud.end();
  } };
}
