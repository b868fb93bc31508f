// Ask with an image of one's own: files, the names of their channels, neighbors and localization. Nothing is kept.

import { ApiError, post, status } from "./api.js";
import { announce, choice, h, plural, put } from "./dom.js";
import { failure, hitCards, levels, notes, numberChoice, voters, votes } from "./parts.js";

/** Words in names of files that tell a channel, HPA's colours among them. */
const WORDS = {
  nucleus: ["nucleus", "nuclei", "nuc", "dapi", "hoechst", "blue"],
  protein: ["protein", "gfp", "green"],
  microtubules: ["microtubules", "microtubule", "tubulin", "red"],
  er: ["er", "yellow"],
};
const HOW = "One file with all channels, or one file for each.";
const USUAL = ["nucleus", "protein", "microtubules", "er", "membrane", "brightfield"];

/** The channel that a file's name tells, null where it tells none. */
function guessed(name, known) {
  const words = name.toLowerCase().split(/[^a-z0-9]+/);
  return known.find((one) => words.some((word) => word === one.toLowerCase() || (WORDS[one] ?? []).includes(word))) ?? null;
}

/** Show the view. */
export async function render(root, at, { signal }) {
  const atlas = await status();
  const askable = levels(atlas, { protein: false });
  const known = [...new Set([...atlas.datasets.flatMap((d) => d.channels.flat()), ...USUAL])];
  // those that most images of the atlas have
  const largest = atlas.datasets.toSorted((a, b) => b.fovs + b.cells - a.fovs - a.cells)[0];
  const usual = largest?.channels[0] ?? ["nucleus", "protein"];
  const state = { level: askable[0], k: "", files: [], each: null };
  const picked = h("ul", { class: "files" });
  const told = h("p", { class: "told", text: HOW });
  const channels = h("input", { id: "channels", type: "text", value: usual.join(", "),
    autocomplete: "off", spellcheck: "false", required: true });
  const inOrder = h("div", { class: "field" }, h("label", { for: "channels", text: "Channels" }), channels,
    h("span", { class: "quick" }, "add ", known.slice(0, 8).map((name) => h("button", { type: "button", class: "quiet", text: name, on: { click: () => {
      const names = channels.value.split(",").map((n) => n.trim()).filter(Boolean);
      channels.value = (names.includes(name) ? names.filter((n) => n !== name) : [...names, name]).join(", ");
    } } }))));
  const pixel = h("input", { id: "pixel", type: "number", min: "0", step: "any", placeholder: "not known" });
  const place = h("input", { id: "place", type: "text", placeholder: "the whole image is one cell", pattern: "\\s*[0-9.]+\\s*,\\s*[0-9.]+\\s*", title: "row, column in pixels, e.g. 120, 340" });
  const cellPlace = h("div", { class: "field", hidden: askable[0] !== "cell" }, h("label", { for: "place", text: "Cell at y, x in px" }), place);
  const file = h("input", { id: "files", type: "file", multiple: true, accept: ".tif,.tiff,.png,image/tiff,image/png", on: { change: () => take([...file.files]) } });
  const numberOf = () => numberChoice(atlas, state.level, state.k, (value) => (state.k = value));
  const numbers = h("span", {}, numberOf());
  const send = h("button", { type: "submit", class: "main", text: "Find what looks like it", disabled: true });
  const result = h("div", { class: "result" });
  const drop = h("div", { class: "drop" }, h("label", { for: "files", text: "TIFF or PNG files" }), file, picked, told);
  const take = (files) => {
    state.files = files;
    // one file for each channel: each is given its own, so that no order has to be right
    const several = files.length > 1;
    const names = files.map((one) => guessed(one.name, known));
    const left = known.filter((name) => !names.includes(name));
    state.each = several ? names.map((name) => name ?? left.shift() ?? known[0]) : null;
    inOrder.hidden = several;
    channels.required = !several;
    told.textContent = HOW;
    put(picked, files.map((one, i) => h("li", {}, h("span", { text: `${one.name} (${(one.size / 2 ** 20).toFixed(1)} MiB)` }),
      several && choice("is", known.map((name) => [name, name]), state.each[i], (value) => (state.each[i] = value)))));
    send.disabled = !files.length;
    const most = atlas.limits;
    const bytes = files.reduce((sum, one) => sum + one.size, 0);
    if (files.length > most.upload_files) told.textContent = `At most ${most.upload_files} files can be sent at once.`;
    else if (bytes > most.upload_bytes) told.textContent = `Together at most ${Math.floor(most.upload_bytes / 2 ** 20)} MiB can be sent.`;
    else return;
    send.disabled = true;
  };
  for (const name of ["dragover", "drop", "dragleave"]) drop.addEventListener(name, (e) => {
    e.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") take([...e.dataTransfer.files]);
  });
  const form = h("form", { class: "query", on: { submit: (e) => {
    e.preventDefault();
    ask();
  } } }, drop,
    inOrder,
    h("div", { class: "field" }, h("label", { for: "pixel", text: "Pixel size, µm" }), pixel),
    cellPlace,
    h("div", { class: "bar-of-choices" },
      choice("compare with", askable.map((l) => [l, l === "fov" ? "fields of view" : "cells"]), state.level, (value) => {
        state.level = value;
        state.k = "";
        cellPlace.hidden = value !== "cell";
        put(numbers, numberOf());
      }),
      numbers, send));
  put(root, h("div", { class: "head" }, h("h1", { text: "Query by image" }),
    h("p", { class: "told", text: "Proteins that look like an image of your own. It is sent to this server only, and not kept there." })),
  askable.length ? form : h("p", { class: "told", text: "No vectors yet: locatlas embed --encoder NAME makes them." }), result);

  async function ask() {
    const body = new FormData();
    for (const one of state.files) body.append("files", one, one.name);
    body.append("channels", (state.each ?? channels.value.split(",").map((n) => n.trim()).filter(Boolean)).join(","));
    if (pixel.value) body.append("pixel_size_um", pixel.value);
    if (state.level === "cell" && place.value.trim()) body.append("at", place.value.trim());
    body.append("level", state.level);
    if (state.k) body.append("k", state.k);
    send.disabled = true;
    put(result, h("p", { class: "told waiting", text: "Embedding the image …" }));
    try {
      show(await post("query", body, signal));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      put(result, failure(error));
    } finally {
      send.disabled = !state.files.length;
    }
  }

  function show({ neighbors, classification }) {
    const item = classification?.items[0];
    put(result,
      h("section", {}, h("h2", { text: "Predicted localization" }), classification && notes(classification.notes),
        item ? h("div", { class: "columns" }, votes(item), voters(item, classification.level, `${classification.weights} weights; its protein is left out only where this very file is in the atlas: of another, nobody knows it`)) : h("p", { class: "faint", text: "No image of this atlas has a localization." })),
      h("section", {}, h("h2", { text: "Looks like" }), notes(neighbors.notes), hitCards(neighbors.hits, neighbors.level)));
    announce(`${plural(neighbors.hits.length, "neighbor")} found`);
  }
}
