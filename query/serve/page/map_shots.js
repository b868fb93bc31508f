// Pictures on the map: one of the points in each square of a grid that stays where it is while one moves.

import { shot } from "./channels.js";
import { h } from "./dom.js";

const SIDE = 56;

/** A layer of pictures over the canvas. rowsIn: () -> rows shown. x, y: columns. idOf(row) -> id to show, or null. */
export class Shots {
  constructor(layer, cloud, { x, y, idOf }) {
    Object.assign(this, { layer, cloud, x, y, idOf, on: false, rows: [], held: new Map() });
  }

  /** Switch the pictures on or off. */
  show(on) {
    this.on = on;
    this.update();
  }

  /** Put the pictures where the map is now. */
  update() {
    if (!this.on) {
      this.layer.replaceChildren();
      this.held.clear();
      return;
    }
    const { width, height } = this.cloud.canvas.getBoundingClientRect();
    const side = SIDE / this.cloud.camera.scale;
    const squares = new Map();
    for (const row of this.rows) {
      const [px, py] = this.cloud.toScreen(this.x[row], this.y[row]);
      if (px < 0 || py < 0 || px > width || py > height) continue;
      const [column, line] = [Math.floor(this.x[row] / side), Math.floor(this.y[row] / side)];
      const key = `${column},${line}`;
      const off = Math.hypot(this.x[row] / side - column - 0.5, this.y[row] / side - line - 0.5);
      const best = squares.get(key);
      if (!best || off < best.off) squares.set(key, { row, off, column, line });
    }
    const wanted = new Map();
    for (const { row, column, line } of squares.values()) {
      const image = this.held.get(row) ?? this.#make(row);
      if (!image) continue;
      const [px, py] = this.cloud.toScreen((column + 0.5) * side, (line + 0.5) * side);
      image.style.setProperty("transform", `translate(${px - SIDE / 2 + 1}px, ${py - SIDE / 2 + 1}px)`);
      wanted.set(row, image);
    }
    for (const [row, image] of this.held) if (!wanted.has(row)) image.remove();
    for (const image of wanted.values()) if (!image.isConnected) this.layer.append(image);
    this.held = wanted;
  }

  #make(row) {
    const id = this.idOf(row);
    return id === null ? null : h("span", { class: "on-map" }, shot(id, { size: 64 }));
  }
}
