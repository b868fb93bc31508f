// All proteins, or those in a localization: pictures, names, localizations, a page at a time.

import { get, status } from "./api.js";
import { choice, count, h, later, plural, put } from "./dom.js";
import { goTo, places, proteinLink, proteinShot } from "./parts.js";

const PAGE = 60;

/** Show the view. */
export async function render(root, at, { signal }) {
  const localization = at.parameters.get("localization") ?? "";
  const q = at.parameters.get("q") ?? "";
  const offset = Math.max(0, Number.parseInt(at.parameters.get("offset") ?? "0", 10) || 0);
  const [atlas, found] = await Promise.all([
    status(), get("proteins", { q, localization, limit: PAGE, offset }, signal),
  ]);
  const names = Object.entries(atlas.localizations).sort((a, b) => b[1] - a[1]);
  const filter = h("input", {
    type: "search", value: q, placeholder: "part of a name", "aria-label": "Only proteins with this in their name",
    on: { input: later(() => goTo(at, { q: filter.value.trim(), offset: null }), 250) },
  });
  put(root,
    h("div", { class: "head" },
      h("h1", { text: localization || "Proteins" }),
      h("p", { class: "told", text: summary(atlas, found.total, localization || q) })),
    h("div", { class: "bar-of-choices" }, h("label", { class: "choice" }, h("span", { text: "name" }), filter),
      choice("localization", [["", "any"], ...names.map(([name, n]) => [name, `${name} (${count(n)})`])], localization,
        (value) => goTo(at, { localization: value, offset: null }))),
    found.proteins.length
      ? h("ul", { class: "cards" }, found.proteins.map(card))
      : h("p", { class: "told", text: atlas.proteins ? "No protein fits." : "The images of this atlas have no protein names: the map and the search by image id show them." }),
    pages(at, offset, found.total));
  if (q && document.activeElement === document.body) {
    filter.focus();
    filter.setSelectionRange(q.length, q.length);
  }
}

function summary(atlas, total, narrowed) {
  const images = atlas.levels.filter((l) => l.images).map((l) => plural(l.images, l.level === "fov" ? "field of view" : "cell", l.level === "fov" ? "fields of view" : "cells"));
  const all = `${plural(atlas.proteins, "protein")}, ${images.join(", ")} of ${atlas.datasets.map((d) => d.name).join(", ")}`;
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
