// All proteins, or those in a localization: pictures, names, localizations, a page at a time.

import { ApiError, get, status, table } from "./api.js";
import { shot } from "./channels.js";
import { choice, count, h, later, plural, put } from "./dom.js";
import { membersOf } from "./map_colours.js";
import { failure, goTo, imageLink, places, proteinLink, proteinShot, shortId } from "./parts.js";

const PAGE = 60;

/** Show the view. */
export async function render(root, at, { signal }) {
  const localization = at.parameters.get("localization") ?? "";
  const q = at.parameters.get("q") ?? "";
  const offset = Math.max(0, Number.parseInt(at.parameters.get("offset") ?? "0", 10) || 0);
  const atlas = await status();
  if (!atlas.proteins) return images(root, at, atlas, { localization, offset, signal });
  const found = await get("proteins", { q, localization, limit: PAGE, offset }, signal);
  const filter = h("input", {
    type: "search", value: q, placeholder: "part of a name", "aria-label": "Only proteins with this in their name",
    on: { input: later(() => goTo(at, { q: filter.value.trim(), offset: null }), 250) },
  });
  put(root,
    h("div", { class: "head" },
      h("h1", { text: localization || "Proteins" }),
      h("p", { class: "told", text: summary(atlas, found.total, localization || q) })),
    h("div", { class: "bar-of-choices" }, h("label", { class: "choice" }, h("span", { text: "name" }), filter), localizations(at, atlas, localization)),
    found.proteins.length ? h("ul", { class: "cards" }, found.proteins.map(card)) : h("p", { class: "told", text: "No protein fits." }),
    pages(at, offset, found.total));
  if (q && document.activeElement === document.body) {
    filter.focus();
    filter.setSelectionRange(q.length, q.length);
  }
  return undefined;
}

/** In place of proteins the images on the map: an atlas without names of proteins has them all the same. */
async function images(root, at, atlas, { localization, offset, signal }) {
  const level = atlas.stored.maps.find((m) => m.level !== "protein")?.level ?? atlas.levels.find((l) => l.vectors)?.level;
  const head = h("div", { class: "head" }, h("h1", { text: localization || "Images" }),
    h("p", { class: "told", text: `${summary(atlas, 0, "")}. The images have no protein names.` }));
  if (!level) {
    put(root, head, h("p", { class: "told", text: "No vectors yet: locatlas embed --encoder NAME makes them." }));
    return;
  }
  let points;
  try {
    points = await table("points", { level }, signal);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    put(root, head, h("p", { class: "told", text: "They are listed by the map, which is not there yet." }), failure(error));
    return;
  }
  const [ids, known] = [points.getChild("id"), points.getChild("localizations")];
  const rows = Array.from({ length: points.numRows }, (_, i) => i).filter((i) => !localization || membersOf(known.at(i)).includes(localization));
  put(root, head, localizations(at, atlas, localization),
    h("ul", { class: "cards" }, rows.slice(offset, offset + PAGE).map((i) => h("li", { class: "card" },
      h("a", { class: "picture", href: imageLink(ids.at(i)), "aria-label": ids.at(i) }, h("span", { class: "frame" }, shot(ids.at(i), { size: 160 }))),
      shortId(ids.at(i)), places(membersOf(known.at(i)))))),
    pages(at, offset, rows.length));
}

function localizations(at, atlas, value) {
  const names = Object.entries(atlas.localizations).sort((a, b) => b[1] - a[1]);
  return h("div", { class: "bar-of-choices" }, choice("localization", [["", "any"], ...names.map(([name, n]) => [name, `${name} (${count(n)})`])], value,
    (chosen) => goTo(at, { localization: chosen, offset: null })));
}

function summary(atlas, total, narrowed) {
  const images = atlas.levels.filter((l) => l.images).map((l) => plural(l.images, l.level === "fov" ? "field of view" : "cell", l.level === "fov" ? "fields of view" : "cells"));
  const all = `${[atlas.proteins > 0 && plural(atlas.proteins, "protein"), ...images].filter(Boolean).join(", ")} of ${atlas.datasets.map((d) => d.name).join(", ")}`;
  return narrowed ? `${count(total)} of ${all}` : all;
}

function card(protein) {
  return h("li", { class: "card" },
    h("a", { class: "picture", href: proteinLink(protein.protein), tabindex: "-1", "aria-hidden": "true" }, proteinShot(protein.protein)),
    h("div", { class: "line" }, h("a", { class: "name", href: proteinLink(protein.protein), text: protein.protein }),
      h("span", { class: "number", title: "fields of view and cells", text: protein.n_cells ? `${count(protein.n_fovs)} · ${count(protein.n_cells)}` : count(protein.n_fovs) })),
    places(protein.localizations));
}

function pages(at, offset, total) {
  if (total <= PAGE) return null;
  const turn = (to, text) => h("button", {
    type: "button", text, disabled: to < 0 || to >= total, on: { click: () => goTo(at, { offset: to || null }) },
  });
  return h("nav", { class: "pages", "aria-label": "Pages" }, turn(offset - PAGE, "Before"),
    h("span", { text: `${count(offset + 1)} – ${count(Math.min(offset + PAGE, total))} of ${count(total)}` }), turn(offset + PAGE, "Next"));
}
