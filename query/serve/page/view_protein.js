// One protein: where it is and why, its images, and the proteins that look like it.

import { get, part, status } from "./api.js";
import { controls, origin, shot } from "./channels.js";
import { choice, h, plural, put } from "./dom.js";
import { encoderChoice, fillIn, goTo, hitCards, imageLink, levels, notes, numberChoice, places, shortId, vocabularyChoice, voters, votes } from "./parts.js";

/** Images shown at once; the others on demand. */
const SHOWN = { fov: 9, cell: 24 };

/** Show the view. */
export async function render(root, at, { signal }) {
  const [atlas, protein] = await Promise.all([status(), get(`proteins/${part(at.name)}`, { limit: 500 }, signal)]);
  const askable = levels(atlas);
  const level = askable.includes(at.parameters.get("level")) ? at.parameters.get("level") : askable[0];
  const k = at.parameters.get("k") ?? "";
  const encoder = at.parameters.get("encoder");
  const mapLabels = at.parameters.get("map_labels");
  const channels = [...new Set(protein.images.flatMap((image) => image.channels))];
  const predicted = h("div", { class: "waiting told", text: "Asking the neighbors …" });
  const near = h("div", { class: "waiting told", text: "Looking for neighbors …" });
  put(root,
    h("div", { class: "head" }, h("h1", { text: protein.protein }), facts(protein), links(protein.links)),
    h("div", { class: "split" },
      h("section", { "aria-label": "Images" }, channels.length > 0 && controls(channels),
        protein.images.length > 0 && origin(protein.images[0].id, protein.images[0].channels), gallery(protein)),
      h("section", { "aria-label": "Localization" },
        h("h2", { text: "Annotated" }), annotated(protein),
        h("h2", { text: "Predicted by the nearest neighbors" }),
        vocabularyChoice(atlas, mapLabels, (value) => goTo(at, { map_labels: value })), predicted)),
    askable.length > 0 && h("section", { "aria-labelledby": "near" },
      h("h2", { id: "near", text: "Looks like" }),
      h("div", { class: "bar-of-choices" },
        choice("nearest", askable.map((l) => [l, { protein: "proteins", fov: "fields of view", cell: "cells" }[l]]), level,
          (value) => goTo(at, { level: value, encoder: null, k: null })),
        numberChoice(atlas, level, k, (value) => goTo(at, { k: value })),
        encoderChoice(atlas, level, encoder, (value) => goTo(at, { encoder: value }))),
      near));
  if (!askable.length) {
    put(predicted, h("p", { class: "told", text: "No vectors yet: locatlas embed --encoder NAME makes them." }));
    return;
  }
  const ask = { protein: protein.protein, level, encoder };
  await Promise.all([
    // one answer for the protein, whatever the neighbors below are: by the mean vector of its fields or cells
    fillIn(predicted, async () => prediction(await get("classify", { ...ask, level: "protein", of: level === "protein" ? null : level, map_labels: mapLabels }, signal))),
    fillIn(near, async () => neighbors(await get("neighbors", { ...ask, k, map_labels: mapLabels }, signal))),
  ]);
}

function facts(protein) {
  const said = [
    ...protein.ensembl,
    protein.aliases.length > 0 && `also ${protein.aliases.join(", ")}`,
    protein.n_fovs > 0 && plural(protein.n_fovs, "field of view", "fields of view"),
    protein.n_cells > 0 && plural(protein.n_cells, "cell"),
    protein.datasets.join(", "),
  ].filter(Boolean);
  return h("p", { class: "facts" }, said.map((text) => h("span", { text })));
}

/** Pages elsewhere are opened by a click only, and are not told where it came from. */
export function links(known) {
  const titles = { opencell: "OpenCell", hpa: "Human Protein Atlas" };
  const given = Object.entries(known).filter(([, address]) => address?.startsWith("https://"));
  return given.length > 0 && h("p", { class: "links" }, given.map(([name, address]) =>
    h("a", { href: address, rel: "noreferrer noopener", target: "_blank", text: `${titles[name] ?? name} ↗` })));
}

/** What the sources say, by data set, with grades where they give them. */
function annotated(protein) {
  const rows = new Map();
  for (const image of protein.images) {
    const grades = new Map(image.graded.map((g) => [g.localization, g.grade]));
    for (const name of image.localizations) {
      const key = `${image.dataset}\n${name}`;
      const row = rows.get(key) ?? { name, dataset: image.dataset, images: 0, grade: null };
      row.images += 1;
      row.grade = Math.max(row.grade ?? 0, grades.get(name) ?? 0) || null;
      rows.set(key, row);
    }
  }
  if (!rows.size) return h("p", { class: "faint", text: "no localization known" });
  const sorted = [...rows.values()].sort((a, b) => (b.grade ?? 0) - (a.grade ?? 0) || b.images - a.images);
  return h("table", { class: "annotated" },
    h("thead", {}, h("tr", {}, ["localization", "grade", "images", "source"].map((text) => h("th", { scope: "col", text })))),
    h("tbody", {}, sorted.map((row) => h("tr", {}, h("td", {}, places([row.name])), h("td", {}, grade(row.grade)),
      h("td", { class: "n", text: row.images }), h("td", { text: row.dataset })))));
}

const GRADES = { 3: "very prominent", 2: "less prominent", 1: "weak" };

function grade(value) {
  if (value === null) return h("span", { class: "faint", text: "–" });
  return h("span", { class: "grade", title: GRADES[value] },
    h("span", { "aria-hidden": "true", text: "●".repeat(value) + "○".repeat(Math.max(0, 3 - value)) }),
    h("span", { class: "unseen", text: `grade ${value}, ${GRADES[value] ?? ""}` }));
}

function prediction(found) {
  const item = found.items[0];
  if (!item?.neighbors.length) return [notes(found.notes), h("p", { class: "faint", text: "no labelled neighbor voted" })];
  return [notes(found.notes), votes(item), voters(item, found.level, `${found.weights} weights, the protein itself left out`)];
}

function gallery(protein) {
  const parts = [];
  for (const level of ["fov", "cell"]) {
    const images = protein.images.filter((image) => image.level === level);
    if (!images.length) continue;
    const all = level === "fov" ? protein.n_fovs : protein.n_cells;
    const list = h("ul", { class: `gallery ${level}` }, images.slice(0, SHOWN[level]).map(tile));
    parts.push(h("h3", { text: level === "fov" ? plural(all, "field of view", "fields of view") : plural(all, "cell") }), list);
    if (images.length > SHOWN[level]) {
      const more = h("button", { type: "button", text: `Show ${images.length - SHOWN[level]} more`, on: { click: () => {
        list.append(...images.slice(SHOWN[level]).map(tile));
        more.remove();
      } } });
      parts.push(more);
    }
    if (images.length < all) parts.push(h("p", { class: "told", text: `The first ${images.length} of ${all} are shown.` }));
  }
  return h("div", {}, parts);
}

function tile(image) {
  const said = [image.dataset, image.cell_line, image.antibody].filter(Boolean).join(" · ");
  return h("li", {}, h("a", { href: imageLink(image.id), title: image.id },
    shot(image.id, { names: image.channels, size: image.level === "fov" ? 320 : 160, alt: image.id }),
    image.level === "fov" && h("span", { class: "under" }, shortId(image.id), h("span", { class: "faint", text: said }))));
}

function neighbors(found) {
  return [
    found.similarity_context && h("p", { class: "told", text: found.similarity_context.said }),
    notes(found.notes),
    found.hits.length ? hitCards(found.hits, found.level) : h("p", { class: "faint", text: "nothing to compare with" }),
  ];
}
