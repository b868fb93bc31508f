import { h, put } from "./dom.js";
export async function render(root) { put(root, h("h1", { text: "Compare" })); }
