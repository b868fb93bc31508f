// How images are shown: channels, their colours and the contrast. One choice for all pictures, kept in the browser.

import { choice, h, later } from "./dom.js";
import { CHANNEL_SETS, SET_NAMES, channelColour } from "./palette.js";
import * as source from "./source.js";

const KEY = "locatlas.channels";
const SHOWN_AT_FIRST = ["nucleus", "protein"];
const listeners = new Set();

function read() {
  const plain = { set: "safe", shown: null, colours: {}, low: 1, high: 99.8 };
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.hasOwn(CHANNEL_SETS, kept.set ?? "safe") ? { ...plain, ...kept } : plain;
  } catch (error) {
    if (error instanceof SyntaxError) return plain;
    throw error;
  }
}

const state = read();

/** Call when pictures are to be shown otherwise; returns how to stop. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  localStorage.setItem(KEY, JSON.stringify(state));
  for (const listener of listeners) listener();
}

const colourOf = (name) => state.colours[name] ?? channelColour(state.set, name);

/** Those of an image's channels that are shown; nucleus and protein at first, all where it has neither. */
export function shownOf(names) {
  const wanted = state.shown ?? SHOWN_AT_FIRST;
  const shown = names.filter((n) => wanted.includes(n));
  return shown.length ? shown : names;
}

const sets = new Map();

/** Learn which channels the images of a data set have in common. datasets: of the status. */
export function learn(datasets) {
  for (const { name, channels } of datasets) {
    sets.set(name, (channels[0] ?? []).filter((one) => channels.every((list) => list.includes(one))));
  }
}

/** Channels of an image by the data set its id begins with; null where they are not known. */
function channelsOf(id) {
  const found = sets.get(id.split("/")[0]);
  return found?.length ? found : null;
}

/** Address of a picture of an image in at most so many pixels, null where there is none. Where no channels are known the
    server chooses. */
export function picture(id, { names = channelsOf(id), size = 128 } = {}) {
  const query = new URLSearchParams();
  if (names) query.set("channels", shownOf(names).map((n) => `${n}:${colourOf(n).slice(1)}`).join(","));
  query.set("low", state.low);
  query.set("high", state.high);
  query.set("size", size);
  return source.picture(id, query);
}

/** A line that says why an image is shown as its stored thumbnail; empty, and hidden, where it is shown itself. */
export function origin(id, names) {
  const line = h("p", { class: "notes", hidden: true });
  source.replaced(picture(id, { names, size: 96 })).then((reason) => {
    if (reason === null) return;
    line.textContent = `Shown by stored thumbnails in colours of their own: ${reason}`;
    line.hidden = false;
  }, () => {});  // the picture itself shows that the server does not answer
  return line;
}

/** A picture that follows the choice of channels while it is in the document. */
export function shot(id, { names = undefined, size = 128, alt = "", className = "shot" } = {}) {
  const image = h("img", { class: className, alt, loading: "lazy", decoding: "async", "data-id": id });
  const lack = () => {
    image.classList.add("missing");
    image.alt = `no picture of ${id}`;
  };
  const show = () => {
    const src = picture(id, { names, size });
    if (src === null) lack();
    else if (image.getAttribute("src") !== src) image.src = src;
  };
  image.addEventListener("error", lack);
  image.addEventListener("load", () => image.classList.remove("missing"));
  show();
  const stop = onChange(() => (image.isConnected ? show() : stop()));
  return image;
}

/** Channels with their colours, of pictures that are files and stay as they are. */
function key(names) {
  const shown = source.site.look.filter(([name]) => names.includes(name));
  return h("p", { class: "channels" }, shown.map(([name, colour]) =>
    h("span", { class: "channel" }, h("i", { class: "dot", style: { background: colour } }), name)));
}

/** The controls: a switch and a colour for each channel, contrast, sets of colours. */
export function controls(names) {
  if (source.site) return key(names);
  const box = h("div", { class: "channels", role: "group", "aria-label": "Channels and contrast" });
  const build = () => {
    const shown = shownOf(names);
    const items = names.map((name) => {
      const on = shown.includes(name);
      return h("span", { class: "channel" },
        h("button", {
          type: "button", class: "toggle", "aria-pressed": String(on), "data-channel": name,
          on: { click: () => toggle(name) },
        }, h("i", { class: "dot", style: { background: on ? colourOf(name) : "transparent" } }), name),
        h("input", {
          type: "color", value: colourOf(name), "aria-label": `colour of ${name}`,
          on: { change: (e) => { state.colours[name] = e.target.value; build(); changed(); } },
        }));
    });
    const set = choice("colours", Object.entries(SET_NAMES), state.set, (value) => {
      state.set = value;
      state.colours = {};
      build();
      changed();
    });
    box.replaceChildren(...items, set,
      range("black at", state.low, 0, 50, 0.5, (v) => { state.low = Math.min(v, state.high - 1); changed(); }),
      range("white at", state.high, 51, 100, 0.1, (v) => { state.high = Math.max(v, state.low + 1); changed(); }));
  };
  const toggle = (name) => {
    const shown = shownOf(names);
    const now = shown.includes(name) ? shown.filter((n) => n !== name) : names.filter((n) => n === name || shown.includes(n));
    if (!now.length) return;  // one channel is always shown
    const others = (state.shown ?? SHOWN_AT_FIRST).filter((n) => !names.includes(n));
    state.shown = [...now, ...others];
    const held = document.activeElement?.dataset?.channel;
    build();
    box.querySelector(`[data-channel="${CSS.escape(held ?? name)}"]`)?.focus();
    changed();
  };
  build();
  return box;
}

function range(label, value, min, max, step, onchange) {
  const told = h("output", { text: `${value} %` });
  const soon = later((v) => onchange(v), 150);
  const input = h("input", { type: "range", min, max, step, value, "aria-label": `${label}, percentile`, on: { input: () => {
    told.textContent = `${input.value} %`;
    soon(Number(input.value));
  } } });
  return h("label", { class: "range" }, h("span", { text: label }), input, told);
}
