// What the pointer and the keys do on the map: move, zoom, hover, draw a lasso, open.

import { s } from "./dom.js";

const STEP = 60;
const NEAR = 14;

/** Listen on the canvas.

    cloud: a PointCloud. overlay: an SVG over it. act: {near(x, y, radius) -> row or -1, hover(row, px, py), open(row),
    lasso(polygon in map units), lassoing() -> bool}. Returns how to stop. */
export function hand(cloud, overlay, act) {
  const { canvas } = cloud;
  const pointers = new Map();
  let moved = 0;
  let path = null;
  let pinch = 0;
  const place = (e) => {
    const box = canvas.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  const nearest = (px, py) => {
    const [x, y] = cloud.toMap(px, py);
    return act.near(x, y, Math.max(NEAR, cloud.pointSize()) / cloud.camera.scale);
  };
  const down = (e) => {
    if (e.button > 0) return;
    canvas.setPointerCapture(e.pointerId);
    pointers.set(e.pointerId, place(e));
    moved = 0;
    pinch = 0;
    if (pointers.size === 1 && (e.shiftKey || act.lassoing())) path = [place(e)];
    else if (pointers.size > 1) path = null;
    line();
  };
  const move = (e) => {
    const [px, py] = place(e);
    const before = pointers.get(e.pointerId);
    if (!before) {
      act.hover(nearest(px, py), px, py);
      return;
    }
    const step = Math.hypot(px - before[0], py - before[1]);
    moved += step;
    pointers.set(e.pointerId, [px, py]);
    if (path) {
      path.push([px, py]);
      line();
    } else if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch > 0) cloud.zoom(apart / pinch, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      pinch = apart;
    } else if (moved > 3) {
      act.hover(-1);
      cloud.pan(px - before[0], py - before[1]);
    }
  };
  const up = (e) => {
    if (!pointers.delete(e.pointerId)) return;
    pinch = 0;
    if (path) {
      const drawn = path;
      path = null;
      line();
      if (drawn.length > 2 && moved > 8) act.lasso(drawn.map(([px, py]) => cloud.toMap(px, py)));
    } else if (moved <= 3 && e.type === "pointerup") {
      const row = nearest(...place(e));
      // a finger has no hover: its first tap shows, its second opens
      if (row >= 0 && (e.pointerType !== "touch" || act.hovered() === row)) act.open(row);
      else act.hover(row, ...place(e));
    }
  };
  const line = () => {
    if (!path || path.length < 2) overlay.replaceChildren();
    else overlay.replaceChildren(s("polygon", { points: path.map((p) => p.join(",")).join(" "), class: "lasso" }));
  };
  const wheel = (e) => {
    e.preventDefault();
    const pixels = e.deltaMode === 1 ? e.deltaY * 20 : e.deltaY;
    cloud.zoom(Math.exp(-Math.max(-200, Math.min(200, pixels)) * 0.0025), ...place(e));
    act.hover(-1);
  };
  const key = (e) => {
    const { width, height } = canvas.getBoundingClientRect();
    const pans = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (pans[e.key]) cloud.pan(...pans[e.key]);
    else if (e.key === "+" || e.key === "=") cloud.zoom(1.4, width / 2, height / 2);
    else if (e.key === "-") cloud.zoom(1 / 1.4, width / 2, height / 2);
    else if (e.key === "0") cloud.fit();
    else if (e.key === "Escape") {
      path = null;
      line();
      act.clear();
      return e.preventDefault();
    } else if (e.key === "Enter") {
      if (act.hovered() >= 0) act.open(act.hovered());
      return e.preventDefault();
    } else return undefined;
    e.preventDefault();
    // the keyboard's pointer is the middle of the map
    const [x, y] = cloud.toMap(width / 2, height / 2);
    act.hover(act.near(x, y, Math.hypot(width, height) / 2 / cloud.camera.scale), null, null, { said: true });
    return undefined;
  };
  const gone = () => act.hover(-1);
  const listeners = [
    ["pointerdown", down], ["pointermove", move], ["pointerup", up], ["pointercancel", up], ["pointerleave", gone],
    ["wheel", wheel, { passive: false }], ["keydown", key], ["blur", gone],
  ];
  for (const [name, listener, how] of listeners) canvas.addEventListener(name, listener, how);
  return () => {
    for (const [name, listener] of listeners) canvas.removeEventListener(name, listener);
  };
}
