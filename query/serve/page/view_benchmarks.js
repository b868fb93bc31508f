// How well the vectors tell localizations: what was stored by grids, or a sweep of the vectors as they are now.

import { ApiError, get, status } from "./api.js";
import { lines } from "./chart.js";
import { confusion } from "./confusion.js";
import { announce, choice, count, h, plural, put, two } from "./dom.js";
import { encoderChoice, failure, goTo, levels, notes } from "./parts.js";
import { site } from "./source.js";

const SCORES = { macro_f1: "macro F1", micro_f1: "micro F1", accuracy: "accuracy", balanced_accuracy: "balanced accuracy" };

/** Curves in a chart at first, the best; more are told apart by nobody. */
const CURVES = 7;

/** Columns that are often groups; any other can be typed. */
const GROUPS = ["protein", "ensembl_id", "antibody", "cell_line", "plate", "well", "fov_id"];

/** The k whose confusion is shown first, or the nearest to it: fixed, since the best of many scores is too good. */
const FIRST_K = 10;

/** The one of ks that is nearest to FIRST_K, the smaller of two. */
const firstOf = (ks) => ks.toSorted((a, b) => Math.abs(a - FIRST_K) - Math.abs(b - FIRST_K) || a - b)[0];

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
    !site && sweepNow(atlas, score, at, signal, now));
}

/** Curves under one protocol stand in one chart where the same groups were scored, with as many rows of each class.

    The digest of the data would not do: it covers the vectors, so that no two encoders have the same. */
function kept({ curves, definitions }, score, at, signal) {
  const box = h("section", {}, h("h2", { text: "Stored runs" }));
  if (!curves.length) {
    box.append(h("p", { class: "told", text: "None yet: locatlas benchmark measures a grid of encoders and keeps every cell of it." }));
    return box;
  }
  const groups = Map.groupBy(curves, (c) => [c.level, c.labels, c.protocol, c.rows].join("\n"));
  const said = [...groups.values()].map(([one]) => `${one.level}, ${one.labels}-label, ${one.protocol}; ${count(one.n)} rows, ${plural(one.n_groups, "group")}, ${plural(one.n_classes, "class", "classes")}`);
  // as many, but of other groups or classes
  const names = [...groups].map(([key, [one]], i) => [String(i), said.indexOf(said[i]) === said.lastIndexOf(said[i]) ? said[i] : `${said[i]}, rows ${one.rows.slice(0, 6)}`, key]);
  const chosen = Math.min(Number(at.parameters.get("run") ?? 0) || 0, names.length - 1);
  const all = groups.get(names[chosen][2]);
  const shown = at.parameters.get("all") ? all : all.slice(0, CURVES);
  const labels = titles(shown);
  const series = shown.map((curve, i) => ({ name: labels[i], points: curve.points.map((p) => ({ x: p.k, y: p[score],
    low: score === "macro_f1" && p.macro_f1_sd !== null ? p[score] - p.macro_f1_sd : null,
    high: score === "macro_f1" && p.macro_f1_sd !== null ? p[score] + p.macro_f1_sd : null })) }));
  const cells = shown.flatMap((curve, i) => curve.points.map((p) => [p.cells[0], `${labels[i]}, k = ${p.k}`]));
  // curves come best first: by name no score decides which one is opened
  const opened = shown[labels.indexOf(labels.toSorted()[0])];
  const k = firstOf(opened.points.map((p) => p.k));
  const [first] = opened.points.find((p) => p.k === k).cells;
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
    shown !== all && all.length > CURVES && h("p", { class: "told", text: `The ${CURVES} with the best macro F1 of ${all.length}: chosen by the score that is shown, they look better than they are.` }),
    lines(series, { x: "neighbors k", y: SCORES[score], label: `${SCORES[score]} by number of neighbors, ${plural(series.length, "curve")}`, spread: "mean ± standard deviation over seeds" }),
    h("p", { class: "told", text: `${definitions[score] ?? ""}${series.some((one) => one.points.some((p) => p.low !== null)) ? "; shaded: mean ± standard deviation over seeds" : ""}` }),
    all.length > 1 && h("p", { class: "told", text: "Scored were the same groups, with as many rows of each class in each; whether they are the same images is not stored." }),
    h("h2", { text: "Confusion" }), opensAt(), choice("of", cells, first, show), matrix);
  show(first).catch((error) => { if (error.name !== "AbortError") throw error; });
  return box;
}

const opensAt = () => h("p", { class: "told", text: `Opened at k = ${FIRST_K}, or the nearest there is, whatever its score.` });

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
  const state = { level: askable[0], encoder: null, labels: "single", group: atlas.proteins ? "protein" : "", held_out: "" };
  const box = h("section");
  const group = h("input", { type: "text", value: state.group, list: "group-columns", placeholder: "a column", autocomplete: "off", spellcheck: "false",
    on: { input: () => (state.group = group.value.trim()) } });
  const start = h("button", { type: "button", class: "main", text: "Measure", on: { click: () => run() } });
  const build = () => put(box, h("h2", { text: "The vectors as they are now" }),
    h("div", { class: "bar-of-choices" },
      choice("level", askable.map((l) => [l, l === "fov" ? "fields of view" : "cells"]), state.level, (value) => { state.level = value; state.encoder = null; build(); }),
      encoderChoice(atlas, state.level, state.encoder, (value) => (state.encoder = value)),
      choice("labels", [["single", "one localization"], ["multi", "several localizations"]], state.labels, (value) => (state.labels = value)),
      h("label", { class: "choice" }, h("span", { text: "groups" }), group), h("datalist", { id: "group-columns" }, GROUPS.map((name) => h("option", { value: name }))),
      choice("score", [["", "all images"], ["true", "what the encoder was not trained on"]], state.held_out, (value) => (state.held_out = value)), start),
    !atlas.proteins && h("p", { class: "told", text: "The images have no protein names. Name another column whose images never vote on each other, such as plate; where it is not known, the answer lists those that are." }),
    place);
  async function run() {
    if (!state.group) {
      // left out, the server would take it for protein
      put(place, failure(new ApiError("name a column as groups: its images never vote on each other", 400)));
      return;
    }
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
  const k = firstOf(found.results.map((r) => r.k));
  const matrix = h("div");
  const show = (i) => {
    const one = found.results[i];
    put(matrix, one.confusion
      ? confusion(found.classes, one.confusion, "Annotated localizations along the rows; shade: share of the row.")
      : h("p", { class: "told", text: "Rows with several localizations have no confusion matrix." }));
  };
  const at = found.results.findIndex((r) => r.k === k);
  show(at);
  return [
    h("p", { class: "told", text: `${count(found.n)} rows, ${plural(found.n_groups, found.group)}, ${plural(found.classes.length, "class", "classes")}; ${found.protocol}` }),
    notes(found.notes),
    lines(series, { x: "neighbors k", y: SCORES[score], label: `${SCORES[score]} by number of neighbors`, spread: "95 % interval" }),
    h("p", { class: "told", text: `Shaded: 95 % interval. ${found.definitions[score] ?? ""}` }),
    h("h2", { text: "Confusion" }), opensAt(),
    choice("of", found.results.map((r, i) => [String(i), `${r.weights} votes, k = ${r.k}`]), String(at), (value) => show(Number(value))), matrix];
}
