// How well the vectors tell localizations: what was stored by grids, or a sweep of the vectors as they are now.

import { ApiError, get, status } from "./api.js";
import { lines } from "./chart.js";
import { confusion } from "./confusion.js";
import { announce, choice, count, h, plural, put, two } from "./dom.js";
import { encoderChoice, failure, goTo, levels, notes } from "./parts.js";

const SCORES = { macro_f1: "macro F1", micro_f1: "micro F1", accuracy: "accuracy", balanced_accuracy: "balanced accuracy" };

/** Curves in a chart at first, the best; more are told apart by nobody. */
const CURVES = 7;

/** Show the view. */
export async function render(root, at, { signal }) {
  const [atlas, stored] = await Promise.all([status(), get("sweeps", {}, signal)]);
  const score = Object.hasOwn(SCORES, at.parameters.get("score") ?? "") ? at.parameters.get("score") : "macro_f1";
  const now = h("div");
  put(root,
    h("div", { class: "head" }, h("h1", { text: "Benchmarks" }),
      h("p", { class: "told", text: "How often the vote of the nearest neighbors names the annotated localization, by the number of neighbors k. The query's own group never votes." })),
    h("div", { class: "bar-of-choices" }, choice("score", Object.entries(SCORES), score, (value) => goTo(at, { score: value }))),
    kept(stored, score, at, signal),
    sweepNow(atlas, score, at, signal, now));
}

/** Curves under one protocol on equally many rows, groups and classes stand in one chart.

    The digest of the data would not do: it covers the vectors, so that no two encoders have the same. */
function kept({ curves, definitions }, score, at, signal) {
  const box = h("section", {}, h("h2", { text: "Stored runs" }));
  if (!curves.length) {
    box.append(h("p", { class: "told", text: "None yet: locatlas benchmark measures a grid of encoders and keeps every cell of it." }));
    return box;
  }
  const groups = Map.groupBy(curves, (c) => [c.level, c.labels, c.protocol, c.n, c.n_groups, c.n_classes].join("\n"));
  const names = [...groups].map(([key, [one]], i) => [String(i), `${one.level}, ${one.labels}-label, ${one.protocol}; ${count(one.n)} rows, ${plural(one.n_groups, "group")}, ${plural(one.n_classes, "class", "classes")}`, key]);
  const chosen = Math.min(Number(at.parameters.get("run") ?? 0) || 0, names.length - 1);
  const all = groups.get(names[chosen][2]);
  const shown = at.parameters.get("all") ? all : all.slice(0, CURVES);
  const labels = titles(shown);
  const series = shown.map((curve, i) => ({ name: labels[i], points: curve.points.map((p) => ({ x: p.k, y: p[score],
    low: score === "macro_f1" && p.macro_f1_sd !== null ? p[score] - p.macro_f1_sd : null,
    high: score === "macro_f1" && p.macro_f1_sd !== null ? p[score] + p.macro_f1_sd : null })) }));
  const cells = shown.flatMap((curve, i) => curve.points.map((p) => [p.cells[0], `${labels[i]}, k = ${p.k}`, p[score]]));
  const best = cells.toSorted((a, b) => b[2] - a[2])[0][0];
  const matrix = h("div");
  const show = async (cell) => {
    put(matrix, h("p", { class: "told waiting", text: "Loading …" }));
    try {
      put(matrix, measured(await get(`benchmarks/${cell}`, {}, signal)));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      put(matrix, failure(error));
    }
  };
  put(box, h("h2", { text: "Stored runs" }),
    h("div", { class: "bar-of-choices" }, choice("measured on", names, String(chosen), (value) => goTo(at, { run: value, all: null })),
      all.length > CURVES && h("button", { type: "button", "aria-pressed": String(shown === all), text: `all ${all.length} curves`,
        on: { click: () => goTo(at, { all: shown === all ? null : "1" }) } })),
    shown !== all && all.length > CURVES && h("p", { class: "told", text: `The ${CURVES} with the best macro F1 of ${all.length}.` }),
    lines(series, { x: "neighbors k", y: SCORES[score], label: `${SCORES[score]} by number of neighbors, ${plural(series.length, "curve")}` }),
    h("p", { class: "told", text: `${definitions[score] ?? ""}${series.some((one) => one.points.some((p) => p.low !== null)) ? "; shaded: standard deviation over seeds" : ""}` }),
    h("h2", { text: "Confusion" }), choice("of", cells.map(([id, text]) => [id, text]), best, show), matrix);
  show(best).catch((error) => { if (error.name !== "AbortError") throw error; });
  return box;
}

/** What tells curves apart: those parts of a plan that are not the same for all of them. */
function titles(curves) {
  const parts = ["mapping", "passes", "stains", "objective", "votes", "fraction"];
  const differ = parts.filter((name) => new Set(curves.map((c) => String(c[name]))).size > 1);
  const found = curves.map((c) => [c.encoder, ...differ.map((name) => (name === "fraction" ? `${c.fraction * 100} % of the data` : String(c[name] ?? "imported")))].join(", "));
  // measured twice, e.g. before and after images were added
  return found.map((name, i) => (found.filter((other) => other === name).length > 1 ? `${name}, data ${curves[i].data_digest.slice(0, 6)}` : name));
}

function measured(found) {
  return [
    h("p", { class: "told", text: `macro F1 ${two(found.macro_f1)}, accuracy ${two(found.accuracy)}; ${count(found.n)} rows of ${plural(found.n_groups, "group")}` }),
    notes(found.notes),
    found.confusion
      ? confusion(found.classes, found.confusion, "Annotated localizations along the rows; shade: share of the row.")
      : h("p", { class: "told", text: "Rows with several localizations have no confusion matrix." }),
  ];
}

function sweepNow(atlas, score, at, signal, place) {
  const askable = levels(atlas, { protein: false });
  if (!askable.length) return null;
  const state = { level: askable[0], encoder: null, labels: "single" };
  const box = h("section");
  const start = h("button", { type: "button", class: "main", text: "Measure", on: { click: () => run() } });
  const build = () => put(box, h("h2", { text: "The vectors as they are now" }),
    h("div", { class: "bar-of-choices" },
      choice("level", askable.map((l) => [l, l === "fov" ? "fields of view" : "cells"]), state.level, (value) => { state.level = value; state.encoder = null; build(); }),
      encoderChoice(atlas, state.level, state.encoder, (value) => (state.encoder = value)),
      choice("labels", [["single", "one localization"], ["multi", "several localizations"]], state.labels, (value) => (state.labels = value)), start),
    place);
  async function run() {
    start.disabled = true;
    put(place, h("p", { class: "told waiting", text: "Searching the neighbors of every row …" }));
    try {
      const found = await get("sweep", state, signal);
      put(place, swept(found, score));
      announce("The sweep is done");
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      put(place, failure(error));
    } finally {
      start.disabled = false;
    }
  }
  build();
  return box;
}

function swept(found, score) {
  const rules = [...new Set(found.results.map((r) => r.weights))];
  const series = rules.map((weights) => ({ name: `${weights} votes`, points: found.results.filter((r) => r.weights === weights).map((r) => ({
    x: r.k, y: r[score], low: r.ci95[score]?.[0] ?? null, high: r.ci95[score]?.[1] ?? null })) }));
  const best = found.results.reduce((a, b) => ((b[score] ?? 0) > (a[score] ?? 0) ? b : a));
  const matrix = h("div");
  const show = (i) => {
    const one = found.results[i];
    put(matrix, one.confusion
      ? confusion(found.classes, one.confusion, "Annotated localizations along the rows; shade: share of the row.")
      : h("p", { class: "told", text: "Rows with several localizations have no confusion matrix." }));
  };
  const at = found.results.indexOf(best);
  show(at);
  return [
    h("p", { class: "told", text: `${count(found.n)} rows, ${plural(found.n_groups, found.group)}, ${plural(found.classes.length, "class", "classes")}; ${found.protocol}` }),
    lines(series, { x: "neighbors k", y: SCORES[score], label: `${SCORES[score]} by number of neighbors` }),
    h("p", { class: "told", text: `Shaded: 95 % interval. ${found.definitions[score] ?? ""}` }),
    h("h2", { text: "Confusion" }),
    choice("of", found.results.map((r, i) => [String(i), `${r.weights} votes, k = ${r.k}`]), String(at), (value) => show(Number(value))), matrix];
}
