// Elements without HTML strings: names from outside only ever become text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties: class, text, on {event: listener}, style {property: value}, everything else an attribute. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    // one property at a time through the object model: a style attribute would be inline style to the browser
    else if (name === "style") for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
    else if (name === "text") element.textContent = value;
    else if (name === "value" || name === "checked" || name === "selected" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** Put new children in place of all there are. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** A labelled choice. Options: [[value, text], ...]. */
export function choice(label, options, value, onchange) {
  const select = h("select", { on: { change: () => onchange(select.value) } });
  for (const [key, text] of options) select.append(h("option", { value: key, text, selected: String(key) === String(value) }));
  return h("label", { class: "choice" }, h("span", { text: label }), select);
}

/** A number of whole units with thousands marked. */
export const count = (n) => n.toLocaleString("en");

/** "1 image", "2 images". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A share or similarity with two decimals. */
export const two = (x) => (x === null || x === undefined ? "–" : x.toFixed(2));

/** A message for people who do not see the page change. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Call at most once in a while, the last call counts. */
export function later(work, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/** Give the user a file made here. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
