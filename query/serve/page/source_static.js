// Where answers and pictures come from in a folder that `locatlas export site` wrote: from its files, which hold what the
// server answered when they were written. They are scripts, since a page that is opened from a disk may load nothing else.

import { ApiError } from "./api_error.js";

const given = window.locatlas;

/** What the folder holds: made, limit, beyond, look, maps, status, map_labels. */
export const site = given.site;

const { proteins, ids, packs, without } = given.names;
const places = new Map(ids.map((id, i) => [id, i]));
const byName = new Map(proteins.map((one, i) => [one.protein, i]));
const unpictured = new Set(without);
const loading = new Map();

/** A file of the folder, by its name. */
function file(name) {
  if (!loading.has(name)) {
    loading.set(name, new Promise((resolve, reject) => {
      if (given[name] !== undefined) return resolve(given[name]);
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.addEventListener("load", () => resolve(given[name]));
      script.addEventListener("error", () => {
        loading.delete(name);
        reject(new ApiError(`data/${name}.js cannot be read: is the copy whole?`, 0));
      });
      document.head.append(script);
    }));
  }
  return loading.get(name);
}

/** What the server answered: a document, or its reason for none. */
function answer([status, document]) {
  if (status !== 200) throw new ApiError(document.error, status);
  return document;
}

const beyond = (what) => new ApiError(`${what} needs a server: this is a copy of an atlas, with the answers that were written into it`, 400);

/** Refuse what was asked otherwise than when the files were written. */
function plain(parameters, names) {
  for (const name of names) if (parameters[name]) throw beyond(`another choice of ${name}`);
}

/** Refuse another vocabulary than that in which the answers were written. */
function written(parameters) {
  if (parameters.map_labels && parameters.map_labels !== site.map_labels) throw beyond("another choice of map_labels");
}

async function ofProtein(name) {
  const at = byName.get(name);
  if (at === undefined) throw new ApiError(`unknown protein '${name}'`, 404);
  return file(`pack_${at}`);
}

async function ofImage(id) {
  const at = packs[places.get(id)];
  if (at === undefined) throw new ApiError(`this copy has no page of ${id}: it has those of the first ${site.limit} images of a level of a protein`, 404);
  return (await file(`pack_${at}`)).images[id];
}

const folded = (text) => text.normalize("NFC").toLowerCase();

/** As the server suggests names, of images those that have a page here. */
function suggest(q, limit) {
  const wanted = folded(q.trim());
  if (!wanted) return [];
  const named = proteins.flatMap((one) => [
    { rank: 0, kind: "protein", text: one.protein, protein: one.protein },
    ...[...one.aliases, ...one.ensembl].map((text) => ({ rank: 1, kind: "alias", text, protein: one.protein }))]);
  named.push(...Object.keys(site.status.localizations).map((text) => ({ rank: 2, kind: "localization", text, protein: null })));
  named.push(...ids.slice(0, packs.length).map((text) => ({ rank: 3, kind: "id", text, protein: null })));
  const late = (one) => !folded(one.text).startsWith(wanted);
  const byLength = (a, b) => a.text.length - b.text.length || (a.text < b.text ? -1 : Number(a.text > b.text));
  // ids come in the order of the atlas, fields before cells
  return named.filter((one) => folded(one.text).includes(wanted))
    .sort((a, b) => late(a) - late(b) || a.rank - b.rank || (a.rank === 3 ? 0 : byLength(a, b)))
    .slice(0, limit).map(({ kind, text, protein }) => ({ kind, text, protein }));
}

function page({ q, localization, limit, offset }) {
  const wanted = folded(q);
  const found = proteins.filter((one) => (!localization || one.localizations.includes(localization))
    && [one.protein, ...one.aliases, ...one.ensembl].some((name) => folded(name).includes(wanted)));
  return { total: found.length, offset, proteins: found.slice(offset, offset + limit).map(({ example, ...one }) => one) };
}

async function protein(name, limit) {
  if (limit > 1 || !byName.has(name)) return answer((await ofProtein(name)).protein);
  const { example, ...one } = proteins[byName.get(name)];
  return { ...one, images: example ? [example] : [] };
}

/** The JSON document of an address. */
export async function json(path, parameters) {
  const [first, ...rest] = path.split("/");
  const name = rest.map(decodeURIComponent).join("/");
  if (path === "status") return site.status;
  if (path === "suggest") return suggest(parameters.q, parameters.limit);
  if (path === "proteins") return page(parameters);
  if (path === "sweeps") return answer(await file("sweeps"));
  if (first === "proteins") return protein(name, parameters.limit);
  if (first === "images") return answer((await ofImage(name)).image);
  if (first === "benchmarks") return answer((await file(`measured_${name.slice(0, 2)}`))[name]);
  if (path === "classify") {
    plain(parameters, ["encoder"]);
    written(parameters);
    if (parameters.id) return answer((await ofImage(parameters.id)).classify);
    return answer((await ofProtein(parameters.protein)).classify[parameters.of ?? "protein"]);
  }
  if (path === "neighbors") {
    plain(parameters, ["encoder", "k"]);
    written(parameters);
    if (parameters.exclude && parameters.exclude !== "protein") throw beyond("leaving out less");
    if (parameters.id) return answer((await ofImage(parameters.id)).neighbors);
    return answer((await ofProtein(parameters.protein)).neighbors[parameters.level]);
  }
  throw beyond(first.split("?")[0]);
}

/** The bytes of an Arrow stream. */
export async function bytes(path, { level, method, encoder }) {
  plain({ encoder }, ["encoder"]);
  const chosen = method ?? site.maps[level]?.[0];
  if (!site.maps[level]?.includes(chosen)) throw new ApiError(`this copy has no map of level ${level}`, 404);
  const text = await file(path === "points" ? `points_${level}_${chosen}` : `votes_${level}`);
  if (typeof text !== "string") return answer(text);
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export async function send() {
  throw beyond("an image of your own");
}

/** Address of a picture; null where the folder has none. It has each in one size and look. */
export function picture(id) {
  const at = places.get(id);
  return at === undefined || unpictured.has(at) ? null : `pictures/${Math.floor(at / 1000)}/${at}.webp`;
}

/** Why pictures are the stored thumbnails, null where they were drawn from the images. */
export const replaced = async () => null;
