// Pieces that several views show: localizations, cards of neighbors, choices of level and encoder.

import { ApiError, get, part } from "./api.js";
import { shot } from "./channels.js";
import { choice, h, put, two } from "./dom.js";
import { site } from "./source.js";

/** Names of localizations as links to the proteins there. */
export function places(names, none = "no localization known") {
  if (!names.length) return h("span", { class: "faint", text: none });
  return h("span", { class: "places" }, names.map((name, i) => [i > 0 && ", ",
    h("a", { class: "place", href: `#/?localization=${encodeURIComponent(name)}`, text: name })]));
}

/** Address of a protein's view. */
export const proteinLink = (name) => `#/protein/${encodeURIComponent(name)}`;

/** Address of an image's view. */
export const imageLink = (id) => `#/image/${part(id)}`;

/** An error in its place on the page. */
export function failure(error) {
  return h("p", { class: "failure", role: "alert", text: error.message });
}

/** Put what an answer gives into a place, or why there is none. */
export async function fillIn(place, make) {
  try {
    put(place, await make());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    put(place, failure(error));
  }
  place.className = "";
}

/** A share from 0 to 1 as a bar with its number. */
export function bar(share, label = null) {
  const width = `${Math.round(Math.min(Math.max(share, 0), 1) * 100)}%`;
  return h("span", { class: "bar", title: label }, h("i", { style: { width } }), h("b", { text: two(share) }));
}

/** An id as people read it: without the data set, and of a cell its field and number. The whole one is its title. */
export function shortId(id) {
  const parts = id.split("/");
  const text = parts.length > 2 ? `${parts[1]} · ${parts.at(-1)}` : parts.slice(-1)[0];
  return h("span", { class: "id", title: id, text });
}

const examples = new Map();

/** Id of one image of a protein, null where it has none; asked once. */
function example(protein) {
  if (!examples.has(protein)) {
    const asked = get(`proteins/${part(protein)}`, { limit: 1 }).then((p) => p.images[0] ?? null);
    asked.catch(() => examples.delete(protein));
    examples.set(protein, asked);
  }
  return examples.get(protein);
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    entry.target.dispatchEvent(new Event("seen"));
  }
}, { rootMargin: "200px" });

/** A picture of a protein: its first image, asked for when it comes into sight. */
export function proteinShot(protein, size = 160) {
  const frame = h("span", { class: "frame" });
  frame.addEventListener("seen", async () => {
    try {
      const found = await example(protein);
      if (found) frame.append(shot(found.id, { names: found.channels, size }));
    } catch (error) {
      if (error.status === undefined) throw error;  // without a picture the card says the same
      frame.classList.add("missing");
    }
  }, { once: true });
  watcher.observe(frame);
  return frame;
}

/** A neighbor: picture, name, similarity, localizations. */
export function hitCard(hit, level) {
  const protein = level === "protein";
  const href = protein ? proteinLink(hit.id) : imageLink(hit.id);
  const name = hit.protein ?? hit.id;
  return h("li", { class: "card" },
    h("a", { class: "picture", href, "aria-label": `${name}, similarity ${two(hit.similarity)}`, "data-hit": hit.id },
      protein ? proteinShot(hit.id) : h("span", { class: "frame" }, shot(hit.id, { size: 160 }))),
    h("div", { class: "line" },
      hit.protein ? h("a", { class: "name", href: proteinLink(hit.protein), text: hit.protein }) : h("span", { class: "name", text: hit.id, title: hit.id }),
      h("span", { class: "number", title: "cosine similarity", text: two(hit.similarity) })),
    !protein && hit.protein && shortId(hit.id),
    places(hit.localizations));
}

/** Neighbors in order. */
export const hitCards = (hits, level) => h("ol", { class: "cards" }, hits.map((hit) => hitCard(hit, level)));

/** A localization of a vote: name, bar, and whether it is predicted. */
export function votes(item, limit = 6) {
  const predicted = new Set(item.predicted.map((p) => p.localization));
  return h("table", { class: "votes" },
    h("thead", { class: "unseen" }, h("tr", {}, ["localization", "share of the votes"].map((text) => h("th", { scope: "col", text })))),
    h("tbody", {}, item.scores.slice(0, limit).map((one) =>
      h("tr", { class: predicted.has(one.localization) ? "predicted" : "" },
        h("th", { scope: "row", text: one.localization }), h("td", {}, bar(one.score))))));
}

/** The images or proteins that voted, as small pictures; how: what is to be known of the vote. */
export function voters(item, level, how) {
  const ids = item.neighbors;
  return h("div", { class: "voters" },
    h("p", { class: "told", text: `${ids.length} neighbors voted (${how}), nearest first:` }),
    h("ol", { class: "strip" }, ids.map((id, i) => {
      const label = `${id}, similarity ${two(item.similarities[i])}`;
      const href = level === "protein" ? proteinLink(id) : imageLink(id);
      return h("li", {}, h("a", { href, title: label, "aria-label": label },
        level === "protein" ? proteinShot(id, 96) : shot(id, { size: 96 })));
    })));
}

/** Levels that can be asked, the protein's own where there is any. */
export function levels(status, { protein = true } = {}) {
  const found = status.levels.filter((l) => l.vectors).map((l) => l.level);
  return protein && found.length && status.proteins ? ["protein", ...found] : found;
}

/** A choice of how many neighbors are asked for; as many as there are at most. "" leaves it to the server: ten. */
export function numberChoice(status, level, value, onchange) {
  if (site) return null;  // ten were written
  const all = level === "protein" ? status.proteins : status.levels.find((l) => l.level === level)?.images ?? 0;
  const more = [20, 50, 100].filter((n) => n <= all);
  return choice("neighbors", [["", String(Math.min(10, all))], ...more.map((n) => [String(n), String(n)])], value, onchange);
}

/** The encoder in use at a level, null where there is none. */
export function current(status, level) {
  const wanted = level === "protein" ? status.levels.find((l) => l.vectors)?.level : level;
  const own = status.encoders.filter((e) => e.level === wanted);
  return own.find((e) => e.state === "current") ?? (site ? own[0] : null) ?? null;  // a copy has one, whatever its state
}

/** Encoders of a level that have all vectors. */
export function encodersOf(status, level) {
  const wanted = level === "protein" ? status.levels.find((l) => l.vectors)?.level : level;
  return status.encoders.filter((e) => e.level === wanted && e.state !== "building" && e.embedded > 0);
}

/** An encoder's name; with its channel plan where others of its level have the same name, and with its fingerprint
    where that is the same, too. */
export function encoderTitle(status, one) {
  const alike = status.encoders.filter((e) => e.level === one.level && e.name === one.name);
  if (alike.length < 2) return one.name;
  const plan = (e) => [e.channels, e.passes, e.stains.join("+")].filter(Boolean).join(" ");
  const same = alike.filter((e) => plan(e) === plan(one)).length > 1;
  return `${one.name}, ${plan(one)}${same ? `, ${one.fingerprint.slice(0, 6)}` : ""}`;
}

/** A choice among them; of a copy, which has the answers of one, its name. */
export function encoderChoice(status, level, value, onchange, label = "encoder") {
  if (site) return h("span", { class: "choice" }, h("span", { text: label }), current(status, level)?.name ?? "none");
  const names = encodersOf(status, level).map((e) => [e.fingerprint, `${encoderTitle(status, e)}${{ superseded: " (earlier)", beside: " (beside)" }[e.state] ?? ""}`]);
  return choice(label, names, value ?? current(status, level)?.fingerprint, onchange);
}

/** Whether votes and neighbors bring two vocabularies into one; of a copy, which has one of the two, whether it does.
    Nothing where the atlas has one. */
export function vocabularyChoice(status, value, onchange) {
  const said = (map) => `one vocabulary, ${map.replace("->", " → ")}`;
  if (site) return site.map_labels && h("p", { class: "told", text: `Localizations of votes and neighbors: ${said(site.map_labels)}.` });
  if (!status.label_map) return null;
  return h("div", { class: "bar-of-choices" }, choice("localizations", [["", "as the sources name them"], [status.label_map, said(status.label_map)]], value ?? "", onchange));
}

/** What a reader must know about an answer. */
export const notes = (lines) => lines.length > 0 && h("ul", { class: "notes" }, lines.map((text) => h("li", { text })));

/** Change parameters of the address without a new entry in the history, and show the view anew. */
export function goTo(at, changes) {
  const parameters = new URLSearchParams(at.parameters);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") parameters.delete(name);
    else parameters.set(name, value);
  }
  const text = parameters.toString();
  location.hash = `#/${at.view}${at.name ? `/${part(at.name)}` : ""}${text ? `?${text}` : ""}`;
}
