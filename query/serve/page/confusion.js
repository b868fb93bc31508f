// A confusion matrix as a table: annotated along the rows, predicted along the columns, shares of each row as shades.

import { count, h } from "./dom.js";
import { shade } from "./palette.js";

/** classes: names. matrix: counts, rows annotated; a last column more than there are classes is "no vote". */
export function confusion(classes, matrix, caption) {
  const columns = matrix[0].length > classes.length ? [...classes, "no vote"] : classes;
  const sums = matrix.map((row) => row.reduce((a, b) => a + b, 0));
  const rows = classes.map((name, i) => [name, i]).filter(([, i]) => sums[i] > 0);
  const kept = columns.map((name, j) => [name, j]).filter(([, j]) => sums[j] > 0 || matrix.some((row) => row[j] > 0));
  return h("div", { class: "scroll" }, h("table", { class: "confusion" },
    h("caption", { text: caption }),
    h("thead", {}, h("tr", {}, h("td", { class: "corner", text: "annotated ↓ predicted →" }),
      kept.map(([name]) => h("th", { scope: "col" }, h("span", { text: name }))), h("th", { scope: "col" }, h("span", { text: "n" })))),
    h("tbody", {}, rows.map(([name, i]) => h("tr", {}, h("th", { scope: "row", text: name }),
      kept.map(([, j]) => cell(matrix[i][j], sums[i], i === j)), h("td", { class: "n", text: count(sums[i]) }))))));
}

function cell(n, sum, hit) {
  if (!n) return h("td", { class: hit ? "cell hit" : "cell" });
  const colour = shade(n / sum);
  // black on the light half of the scale, white on the dark one
  const dark = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2] < 120;
  return h("td", { class: hit ? "cell hit" : "cell", style: { background: `rgb(${colour.join(",")})`, color: dark ? "#fff" : "#000" }, title: `${Math.round((100 * n) / sum)} %`, text: count(n) });
}
