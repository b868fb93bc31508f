// The search box: completion of gene names, aliases, localizations and ids (the ARIA combobox pattern).

import { ApiError, get } from "./api.js";
import { announce, h, later, plural, put } from "./dom.js";

const KINDS = { protein: "protein", alias: "alias", localization: "localization", id: "image" };

/** Where a suggestion leads. */
export function target(suggestion) {
  if (suggestion.kind === "localization") return `#/?localization=${encodeURIComponent(suggestion.text)}`;
  if (suggestion.kind === "id") return `#/image/${suggestion.text.split("/").map(encodeURIComponent).join("/")}`;
  return `#/protein/${encodeURIComponent(suggestion.protein ?? suggestion.text)}`;
}

/** Build the box into an element. */
export function combobox(place) {
  const input = h("input", {
    id: "search-box", type: "text", role: "combobox", placeholder: "Gene, alias, localization or image id",
    "aria-label": "Search", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "search-list",
    autocomplete: "off", autocapitalize: "off", spellcheck: "false",
  });
  const list = h("ul", { id: "search-list", role: "listbox", "aria-label": "Suggestions", hidden: true });
  put(place, input, list);
  let shown = [];
  let active = -1;
  let asked = new AbortController();

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (to) => {
    active = to;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === to)));
    if (to < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[to].id);
      list.children[to].scrollIntoView({ block: "nearest" });
    }
  };
  const go = (suggestion) => {
    close();
    input.value = "";
    input.blur();
    location.hash = target(suggestion);
  };
  const ask = async () => {
    asked.abort();
    asked = new AbortController();
    const q = input.value.trim();
    if (!q) return close();
    try {
      shown = await get("suggest", { q, limit: 12 }, asked.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      shown = [];
      put(list, h("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false", text: error.message }));
      open();
      return;
    }
    put(list, shown.length
      ? shown.map((s, i) => option(s, i, q))
      : h("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false", text: `nothing named “${q}”` }));
    announce(plural(shown.length, "suggestion"));
    open();
  };
  const open = () => {
    list.hidden = false;
    active = -1;
    input.setAttribute("aria-expanded", "true");
    input.removeAttribute("aria-activedescendant");
  };
  const option = (suggestion, i, q) =>
    h("li", {
      id: `search-${i}`, role: "option", "aria-selected": "false",
      on: { mousedown: (e) => e.preventDefault(), click: () => go(suggestion), mousemove: () => active !== i && mark(i) },
    }, h("span", { class: "match" }, marked(suggestion.text, q)),
      suggestion.kind === "alias" && h("span", { class: "of", text: `→ ${suggestion.protein}` }),
      h("span", { class: "kind", text: KINDS[suggestion.kind] ?? suggestion.kind }));

  const soon = later(ask, 70);
  input.addEventListener("input", soon);
  input.addEventListener("blur", close);
  input.addEventListener("focus", () => input.value && ask());
  input.addEventListener("keydown", async (e) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step) {
      e.preventDefault();
      if (list.hidden) await ask();
      if (shown.length) mark((active + step + shown.length + (active < 0 && step < 0 ? 1 : 0)) % shown.length);
    } else if (e.key === "Enter") {
      e.preventDefault();
      if (list.hidden || active < 0) await ask();
      if (shown.length && input.value.trim()) go(shown[Math.max(active, 0)]);
    } else if (e.key === "Escape") {
      if (list.hidden) input.value = "";
      close();
    }
  });
  document.addEventListener("keydown", (e) => {
    if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea")) return;
    e.preventDefault();
    input.focus();
  });
}

function marked(text, q) {
  const at = text.toLowerCase().indexOf(q.toLowerCase());
  if (at < 0) return [text];
  return [text.slice(0, at), h("b", { text: text.slice(at, at + q.length) }), text.slice(at + q.length)];
}
