// What the atlas holds and whether anything is behind: levels, encoders with coverage, data sets, what is stored.

import { forget, status } from "./api.js";
import { count, h, put } from "./dom.js";
import { bar } from "./parts.js";
import { site } from "./source.js";

/** Show the view. */
export async function render(root) {
  forget();
  const atlas = await status();
  put(root,
    h("div", { class: "head" }, h("h1", { text: "Status" }),
      h("p", { class: "told", text: `${atlas.name}, locatlas ${atlas.locatlas}${atlas.being_written ? "; somebody writes to it now" : ""}` })),
    atlas.stale.length
      ? h("section", { class: "stale" }, h("h2", { text: "Behind the images" }), h("ul", {}, atlas.stale.map((text) => h("li", { text }))))
      : h("p", { class: "good", text: "Everything is up to date with the images." }),
    block("Encoders", ["name", "level", "state", "coverage", "images", "stale", "dimensions", "channels", "fingerprint"], atlas.encoders.map((e) => [
      e.lineage.length > 1 ? h("span", { title: e.lineage.join(" → "), text: e.name }) : e.name, e.level, e.state,
      e.coverage === null ? "–" : bar(e.coverage), `${count(e.embedded)} of ${count(e.images)}`, count(e.stale), e.dim,
      e.imported ? "made elsewhere" : [e.channels, e.passes, e.stains.join(", ")].filter(Boolean).join(", "), h("code", { text: e.fingerprint.slice(0, 12), title: e.fingerprint })])),
    block("Levels", ["level", "images", "with a localization", "can be asked"], atlas.levels.map((l) => [
      l.level === "fov" ? "fields of view" : "cells", count(l.images), count(l.labelled), l.vectors ? "yes" : "no vectors"])),
    block("Data sets", ["name", "fields of view", "cells", "channels", !site && "images"].filter(Boolean), atlas.datasets.map((d) => [
      d.name, count(d.fovs), count(d.cells), d.channels.map((c) => c.join(", ")).join("; "),
      ...(site ? [] : [!d.images ? "none: vectors made elsewhere" : d.images_at_hand ? "at hand" : "away: stored thumbnails are shown"])])),
    h("section", {}, h("h2", { text: "Images by localization" }), h("ul", { class: "tall" },
      Object.entries(atlas.localizations).sort((a, b) => b[1] - a[1]).map(([name, n]) => h("li", {},
        h("a", { href: `#/?localization=${encodeURIComponent(name)}`, text: name }), h("span", { class: "n", text: count(n) }))))),
    stored(atlas.stored));
}

function stored(kept) {
  const maps = kept.maps.map((m) => [m.level, m.method ?? "", m.encoder ?? "", h("code", { text: (m.fingerprint ?? "").slice(0, 12) })]);
  return [maps.length > 0 && block("Maps", ["level", "method", "encoder", "fingerprint"], maps),
    h("p", { class: "told", text: `${count(kept.benchmarks)} measured cells of benchmark grids are stored.` })];
}

function block(title, names, rows) {
  return h("section", {}, h("h2", { text: title }), h("div", { class: "scroll" }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, names.map((text) => h("th", { scope: "col", text })))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, value))))))));
}
