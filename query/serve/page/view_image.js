// One field of view or cell: its picture at full size, what is known of it, its neighbors and their vote.

import { ApiError, get, part, status } from "./api.js";
import { controls, origin, shot } from "./channels.js";
import { choice, h, put } from "./dom.js";
import { site } from "./source.js";
import { encoderChoice, encodersOf, failure, fillIn, goTo, hitCards, imageLink, notes, numberChoice, places, proteinLink, vocabularyChoice, voters, votes } from "./parts.js";

/** Show the view. */
export async function render(root, at, { signal }) {
  const [atlas, image] = await Promise.all([status(), get(`images/${part(at.name)}`, {}, signal)]);
  const k = at.parameters.get("k") ?? "";
  const encoder = at.parameters.get("encoder");
  const exclude = at.parameters.get("exclude") ?? "protein";
  const mapLabels = at.parameters.get("map_labels");
  const answers = h("div", { class: "waiting told", text: "Looking for neighbors …" });
  const vote = h("div", { class: "waiting told", text: "Asking the neighbors …" });
  put(root,
    h("div", { class: "head" },
      h("h1", {}, image.protein ? [h("a", { href: proteinLink(image.protein), text: image.protein }), " "] : null,
        h("span", { class: "thin", text: image.id }))),
    h("div", { class: "split" },
      h("figure", { class: "large" }, controls(image.channels), origin(image.id, image.channels),
        shot(image.id, { names: image.channels, size: image.level === "fov" ? 768 : 384, alt: `${image.channels.join(", ")} of ${image.id}`, className: "shot big" })),
      h("div", {}, h("h2", { text: "Known" }), known(image),
        h("h2", { text: "Predicted by the nearest neighbors" }),
        vocabularyChoice(atlas, mapLabels, (value) => goTo(at, { map_labels: value })), vote)),
    h("section", { "aria-labelledby": "near" }, h("h2", { id: "near", text: "Looks like" }),
      h("div", { class: "bar-of-choices" },
        numberChoice(atlas, image.level, k, (value) => goTo(at, { k: value })),
        !site && choice("leave out", [["protein", "the same protein"], ["fov", "the same field"], ["self", "the image itself"]], exclude,
          (value) => goTo(at, { exclude: value })),
        encoderChoice(atlas, image.level, encoder, (value) => goTo(at, { encoder: value }))),
      answers));
  const ask = { id: image.id, level: image.level, encoder };
  const leftOut = image.protein ? "its own protein left out" : "only its own field left out: it has no protein name, and other images of its protein may vote";
  if (!encodersOf(atlas, image.level).length) {
    const none = new ApiError(`no vectors at level ${image.level}: locatlas embed --level ${image.level} --encoder NAME makes them`, 404);
    for (const place of [vote, answers]) put(place, failure(none));
    return;
  }
  await Promise.all([
    fillIn(vote, async () => {
      // whatever is left out of the neighbors below: what a protein's own images vote is no evidence
      const found = await get("classify", { ...ask, exclude: "protein", map_labels: mapLabels }, signal);
      return [notes(found.notes), found.items.map((item) => [votes(item), voters(item, found.level, `${found.weights} weights, ${leftOut}`)])];
    }),
    fillIn(answers, async () => {
      const found = await get("neighbors", { ...ask, exclude, k, map_labels: mapLabels }, signal);
      return [notes(found.notes), hitCards(found.hits, found.level)];
    }),
  ]);
}

function known(image) {
  const size = image.height && image.width ? `${image.height} × ${image.width} px` : null;
  const rows = [
    ["localization", places(image.localizations)],
    image.annotated && ["of this cell", places(image.annotated)],
    image.fov_id && ["field", h("a", { href: imageLink(image.fov_id), text: image.fov_id })],
    image.box && ["box", `${image.box.join(", ")} (top, left, bottom, right)`],
    size && ["size", size],
    image.pixel_size_um && ["pixel", `${image.pixel_size_um} µm`],
    ...["dataset", "ensembl_id", "cell_line", "antibody", "plate", "well"].map((name) => image[name] && [name.replace("_", " "), image[name]]),
    image.qc.length > 0 && ["flags", image.qc.join(", ")],
    ...Object.entries(image.metadata),
  ].filter(Boolean);
  return h("dl", { class: "known" }, rows.map(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]));
}
