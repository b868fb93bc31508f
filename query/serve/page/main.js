// Which view is shown: the part of the address after #, e.g. #/protein/LMNB1?level=cell.

import { ApiError, status } from "./api.js";
import { learn } from "./channels.js";
import { announce, h, put } from "./dom.js";
import { failure } from "./parts.js";
import { combobox } from "./search.js";
import { site } from "./source.js";
import { chosen, next } from "./theme.js";
import * as benchmarks from "./view_benchmarks.js";
import * as compare from "./view_compare.js";
import * as image from "./view_image.js";
import * as map from "./view_map.js";
import * as protein from "./view_protein.js";
import * as proteins from "./view_proteins.js";
import * as query from "./view_query.js";
import * as state from "./view_status.js";

/** Views that have something computed. */
const SERVED = ["query", "compare"];
const VIEWS = { "": proteins, protein, image, map, query, benchmarks, compare, status: state };
const main = document.getElementById("main");
let leave = () => {};

/** The address as {view, name, parameters}. */
export function route(hash = location.hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view, ...rest] = path.split("/");
  return { view, name: rest.map(decodeURIComponent).join("/"), parameters: new URLSearchParams(search) };
}

async function show({ first = false } = {}) {
  if (location.hash && !location.hash.startsWith("#/")) return;  // the skip link
  leave();
  const controller = new AbortController();
  const left = [];
  leave = () => {
    controller.abort();
    for (const work of left) work();
  };
  const at = route();
  for (const link of document.querySelectorAll("#views a")) {
    const here = link.getAttribute("href").replace(/^#\/?/, "") === at.view;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = site && SERVED.includes(at.view) ? null : VIEWS[at.view];
  if (!view) {
    put(main, h("h1", { text: view === null ? "Not in a copy" : "No such view" }), view === null && h("p", { class: "told", text: NOT_HERE }), h("p", {}, h("a", { href: "#/", text: "All proteins" })));
    return;
  }
  const root = h("div", { class: `view view-${at.view || "proteins"}` });
  put(main, root);
  put(root, h("p", { class: "told waiting", text: "Loading …" }));
  try {
    // what is to be done when the view is left is told through `leaving`; requests end by themselves
    await view.render(root, at, { signal: controller.signal, leaving: (work) => left.push(work) });
  } catch (error) {
    if (error.name === "AbortError" || controller.signal.aborted) return;
    const titles = { 404: "Not found", undefined: "This view failed" };
    put(root, h("h1", { text: titles[error.status] ?? "No answer" }), failure(error));
    if (!(error instanceof ApiError)) throw error;  // for the console: it is a fault of the page or the browser
  }
  const heading = root.querySelector("h1");
  document.title = `${heading?.textContent ?? "locatlas"} · locatlas`;
  announce(heading?.textContent ?? "");
  if (!first && !root.contains(document.activeElement)) main.focus({ preventScroll: true });
}

function themeButton() {
  const button = document.getElementById("theme");
  const say = () => {
    button.textContent = { system: "◐", light: "☀", dark: "☾" }[chosen()];
    button.setAttribute("aria-label", `Colours: ${chosen()}. Change`);
    button.title = `Colours: ${chosen()}`;
  };
  button.addEventListener("click", () => {
    next();
    say();
  });
  say();
}

const NOT_HERE = "What has to be computed is not here: queries by image, two encoders side by side, sweeps, other colours of pictures, other numbers of neighbors, other filters. A server has them: locatlas serve.";

/** Of a copy: what it is, and what it cannot do. */
function tellOfCopy() {
  for (const link of document.querySelectorAll("#views a")) {
    if (SERVED.includes(link.getAttribute("href").replace(/^#\/?/, ""))) link.remove();
  }
  const most = site.beyond ? ` Of each protein it has pages of the first ${site.limit} images of a level, and answers from all.` : "";
  const words = site.map_labels ? ` What is annotated is named as its source names it, in lists and choices of proteins too; votes, neighbors and maps name it by one vocabulary (${site.map_labels.replace("->", " → ")}).` : "";
  document.body.append(h("footer", { class: "copy told" },
    `A copy of an atlas, written ${site.made.slice(0, 10)} by locatlas ${site.status.locatlas}.${most}${words} ${NOT_HERE}`));
}

async function start() {
  themeButton();
  if (site) tellOfCopy();
  combobox(document.getElementById("search"));
  addEventListener("hashchange", () => {
    scrollTo(0, 0);
    show();
  });
  document.querySelector(".skip").addEventListener("click", (e) => {
    e.preventDefault();
    main.focus();
  });
  try {
    const atlas = await status();
    document.getElementById("atlas-name").textContent = atlas.name;
    learn(atlas.datasets);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;  // the view says it
  }
  await show({ first: true });
}

start();
