// Colours that people with colour-blindness tell apart, as data.

/** Okabe and Ito's colours without black and grey; with four marks they name 28 classes. */
export const CLASSES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00"],
  dark: ["#4ea3e0", "#f0833a", "#2fc79a", "#e39bc4", "#f2b632", "#8fd0f5", "#f0e442"],
};

export const NEUTRAL = { light: "#9a9fa6", dark: "#6b727b" };

/** Marks of a point, as the shader numbers them. */
export const MARKS = ["circle", "square", "triangle", "diamond"];

/** Cividis (Nuñez, Anderton and Renslow 2018), nine steps from low to high. */
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838"];

/** Colours of channels. Blue, yellow and magenta stay apart in every common colour-blindness. */
export const CHANNEL_SETS = {
  safe: { nucleus: "#3a6bff", protein: "#ffd23e", microtubules: "#ff4fa3", er: "#00c9b1", membrane: "#00c9b1" },
  hpa: { nucleus: "#0000ff", protein: "#00ff00", microtubules: "#ff0000", er: "#ffff00", membrane: "#ff00ff" },
  grey: { nucleus: "#3a6bff", protein: "#ffffff", microtubules: "#ff4fa3", er: "#00c9b1", membrane: "#00c9b1" },
};

export const SET_NAMES = { safe: "colour-blind safe", hpa: "as the HPA", grey: "protein in grey" };

const OTHER_CHANNELS = ["#ff8a3d", "#b07cff", "#8fe388"];

/** Colour of a channel in a set; channels of other names have colours of their own, by name. */
export function channelColour(set, name) {
  const known = CHANNEL_SETS[set][name];
  if (known) return known;
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 9973;
  return OTHER_CHANNELS[sum % OTHER_CHANNELS.length];
}

/** "#rrggbb" as [r, g, b] in 0..255. */
export function rgb(hex) {
  const n = Number.parseInt(hex.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

/** Part of cividis that is used: its darkest blue cannot be seen on a dark ground. */
const FROM = { light: 0, dark: 0.24 };

/** Colour [r, g, b] of a share in 0..1, interpolated in cividis. */
export function shade(share, dark = false) {
  const from = FROM[dark ? "dark" : "light"];
  const at = (from + Math.min(Math.max(share, 0), 1) * (1 - from)) * (CIVIDIS.length - 1);
  const low = Math.floor(at);
  const [a, b] = [rgb(CIVIDIS[low]), rgb(CIVIDIS[Math.min(low + 1, CIVIDIS.length - 1)])];
  return a.map((v, i) => Math.round(v + (b[i] - v) * (at - low)));
}
