// Two encoders on the same selection: the neighbors of each side by side, with what both have.

import { ApiError, get, status } from "./api.js";
import { shot } from "./channels.js";
import { announce, choice, h, plural, put, two } from "./dom.js";
import { encoderChoice, encodersOf, encoderTitle, failure, goTo, hitCard, imageLink, levels, notes, numberChoice, proteinLink, proteinShot } from "./parts.js";

const MOST = 12;

/** Show the view. */
export async function render(root, at, { signal }) {
  const atlas = await status();
  const askable = levels(atlas);
  const head = h("div", { class: "head" }, h("h1", { text: "Compare encoders" }),
    h("p", { class: "told", text: "The same protein or images, asked by two encoders. Neighbors that both have are marked." }));
  if (!askable.length) {
    put(root, head, h("p", { class: "told", text: "No vectors yet: locatlas embed --encoder NAME makes them." }));
    return;
  }
  const asked = at.parameters.get("level");
  const level = askable.includes(asked) ? asked : askable.find((l) => encodersOf(atlas, l).length > 1) ?? askable[0];
  const encoders = encodersOf(atlas, level);
  const a = at.parameters.get("a") ?? encoders[0]?.fingerprint;
  const b = at.parameters.get("b") ?? (encoders.find((e) => e.fingerprint !== a) ?? encoders[0])?.fingerprint;
  const k = at.parameters.get("k") ?? "";
  const ids = at.parameters.getAll("ids");
  const protein = at.parameters.get("protein") ?? "";
  const result = h("div");
  const name = h("input", { type: "text", id: "compared", value: ids.length ? ids.join(", ") : protein, autocomplete: "off", spellcheck: "false", required: true, placeholder: "protein, or image ids" });
  put(root, head,
    h("form", { class: "bar-of-choices", on: { submit: (e) => {
      e.preventDefault();
      choose(at, name.value);
    } } }, h("label", { class: "choice", for: "compared" }, h("span", { text: "of" }), name), h("button", { type: "submit", class: "main", text: "Compare" }),
      choice("nearest", askable.map((l) => [l, { protein: "proteins", fov: "fields of view", cell: "cells" }[l]]), level,
        (value) => goTo(at, { level: value, a: null, b: null, k: null })),
      numberChoice(atlas, level, k, (value) => goTo(at, { k: value }))),
    h("div", { class: "bar-of-choices" },
      encoderChoice(atlas, level, a, (value) => goTo(at, { a: value }), "left"),
      encoderChoice(atlas, level, b, (value) => goTo(at, { b: value }), "right")),
    encoders.length < 2 && h("p", { class: "told", text: "This level has the vectors of one encoder; locatlas embed --encoder NAME adds another beside it." }),
    result);
  if (!protein && !ids.length) {
    put(result, h("p", { class: "told", text: "Name a protein or images, or select points on the map." }));
    return;
  }
  put(result, h("p", { class: "told waiting", text: "Asking both …" }));
  try {
    const all = level === "protein" ? atlas.proteins : atlas.levels.find((l) => l.level === level).images;
    const ask = new URLSearchParams({ a, b, level, k: k || String(Math.min(10, all)) });
    if (ids.length) ids.slice(0, MOST).forEach((id) => ask.append("ids", id));
    else ask.set("protein", protein);
    put(result, compared(await get(`compare?${ask}`, {}, signal), atlas, level, ids.length));
    announce("Compared");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    put(result, failure(error));
  }
}

/** Ids hold a slash, gene symbols none. */
function choose(at, text) {
  const parts = text.split(",").map((one) => one.trim()).filter(Boolean);
  const parameters = new URLSearchParams(at.parameters);
  parameters.delete("ids");
  parameters.delete("protein");
  if (parts.length > 1 || parts[0]?.includes("/")) parts.forEach((id) => parameters.append("ids", id));
  else if (parts.length) parameters.set("protein", parts[0]);
  location.hash = `#/compare?${parameters}`;
}

function compared(found, atlas, level, asked) {
  const title = (one) => {
    const known = atlas.encoders.find((e) => e.fingerprint === one.fingerprint);
    return known ? encoderTitle(atlas, known) : one.name;
  };
  return [
    found.overlap !== null && h("p", { class: "overlap" }, h("b", { text: two(found.overlap) }),
      ` of the neighbors are the same${found.queries.length > 1 ? `, mean over ${plural(found.queries.length, "image")}` : ""}`),
    asked > MOST && h("p", { class: "told", text: `The first ${MOST} of ${asked} images.` }),
    found.queries.map((one) => {
      const shared = new Set(one.in_both);
      const name = one.query.protein ?? one.query.id;
      return h("section", { class: "compared" },
        h("div", { class: "asked" },
          h("span", { class: "frame" }, one.query.protein ? proteinShot(name, 96) : shot(name, { size: 96 })),
          h("div", {}, h("h2", {}, h("a", { href: one.query.protein ? proteinLink(name) : imageLink(name), text: name })),
            h("p", { class: "told", text: `${shared.size} of ${one.k} neighbors by both` }))),
        h("div", { class: "sides" }, ["a", "b"].map((side) => h("div", {},
          h("h3", { text: title(one[side].encoder) }), notes(one[side].notes),
          h("ol", { class: "cards", "data-side": side }, one[side].hits.map((hit) => {
            const card = hitCard(hit, level);
            if (shared.has(hit.id)) {
              card.classList.add("shared");
              card.append(h("span", { class: "badge", text: "by both" }));
            }
            return card;
          }))))));
    })];
}
