// Points drawn by WebGL 2: positions and looks live in buffers, a frame is one call. No GPU is needed for it.

const VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec2 at;
layout(location = 1) in vec4 colour;
layout(location = 2) in vec2 look;      // mark; 0 hidden, 1 dim, 2 plain, 3 chosen
uniform vec4 camera;                    // centre, scale to clip space
uniform vec2 size;                      // in pixels: plain, chosen
uniform float pass;                     // draws the points of one look, so that chosen ones lie on top
out vec4 paint;
flat out float mark;
void main() {
  bool drawn = abs(look.y - pass) < 0.5;
  gl_Position = drawn ? vec4((at - camera.xy) * camera.zw, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
  gl_PointSize = look.y > 2.5 ? size.y : size.x;
  paint = look.y < 1.5 ? vec4(colour.rgb, 0.16) : colour;
  mark = look.x;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 paint;
flat in float mark;
uniform float soft;                     // width of an edge, as a share of the mark
out vec4 drawn;
void main() {
  vec2 p = gl_PointCoord * 2.0 - 1.0;
  float d = length(p) - 0.9;                                                  // circle
  if (mark > 2.5) d = (abs(p.x) + abs(p.y)) - 1.0;                            // diamond
  else if (mark > 1.5) d = max(abs(p.x) * 0.87 + (-p.y) * 0.5, p.y) - 0.55;   // triangle
  else if (mark > 0.5) d = max(abs(p.x), abs(p.y)) - 0.78;                    // square
  float cover = 1.0 - smoothstep(-soft, 0.0, d);
  if (cover <= 0.0) discard;
  drawn = vec4(paint.rgb, 1.0) * paint.a * cover;                             // premultiplied
}`;

const LOOKS = [1, 2, 3];

/** Looks of a point. */
export const LOOK = { hidden: 0, dim: 1, plain: 2, chosen: 3 };

/** Points that are drawn while the map moves: a random part of many, as without a GPU all would make it jerk. */
const MOVING = 40_000;
const REST_MS = 160;

/** A random order, the same each time: no class lies on top of another, and the first k are a fair part of all. */
function shuffled(n) {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let state = 1;
  for (let i = n - 1; i > 0; i -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** A cloud of points on a canvas. Throws where the browser has no WebGL 2. */
export class PointCloud {
  constructor(canvas) {
    this.canvas = canvas;
    this.n = 0;
    this.camera = { x: 0, y: 0, scale: 1 };  // scale: pixels of the page per unit of the map
    this.used = new Set([LOOK.plain]);
    this.frames = 0;
    this.#start();
    canvas.addEventListener("webglcontextlost", (e) => e.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.#start();
      if (this.kept) this.setPoints(this.kept.x, this.kept.y);
      if (this.styled) this.setStyle(this.styled);
    });
  }

  #start() {
    const gl = this.canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: true, powerPreference: "low-power" });
    if (!gl) throw new Error("this browser has no WebGL 2, which the map is drawn with");
    this.gl = gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.uniforms = Object.fromEntries(["camera", "size", "pass", "soft"].map((name) => [name, gl.getUniformLocation(program, name)]));
    gl.bindVertexArray(gl.createVertexArray());
    this.buffers = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
    const layout = [[2, gl.FLOAT, false], [4, gl.UNSIGNED_BYTE, true], [2, gl.UNSIGNED_BYTE, false]];
    layout.forEach(([width, kind, share], i) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i]);
      gl.enableVertexAttribArray(i);
      gl.vertexAttribPointer(i, width, kind, share, 0, 0);
    });
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  #upload(slot, data) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[slot]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  }

  /** Coordinates, Float32Array each. */
  setPoints(x, y) {
    this.kept = { x, y };
    this.n = x.length;
    this.order = shuffled(this.n);
    const at = new Float32Array(2 * this.n);
    for (let i = 0; i < this.n; i += 1) {
      at[2 * i] = x[this.order[i]];
      at[2 * i + 1] = y[this.order[i]];
    }
    this.#upload(0, at);
    this.draw();
  }

  /** colours: Uint8Array (4 n); marks and looks: Uint8Array (n). */
  setStyle({ colours, marks, looks }) {
    this.styled = { colours, marks, looks };
    const both = new Uint8Array(2 * this.n);
    const paints = new Uint8Array(4 * this.n);
    this.used = new Set();
    for (let i = 0; i < this.n; i += 1) {
      const row = this.order[i];
      both[2 * i] = marks[row];
      both[2 * i + 1] = looks[row];
      for (let c = 0; c < 4; c += 1) paints[4 * i + c] = colours[4 * row + c];
      this.used.add(looks[row]);
    }
    this.#upload(1, paints);
    this.#upload(2, both);
    this.draw();
  }

  /** Draw while the map moves, and all points when it rests. */
  #moved() {
    this.moving = this.n > MOVING;
    clearTimeout(this.resting);
    if (this.moving) this.resting = setTimeout(() => {
      this.moving = false;
      this.draw();
    }, REST_MS);
    this.draw();
  }

  /** Draw in the next frame. */
  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#frame();
    });
  }

  /** Size of a plain point in pixels of the page: smaller the more there are, larger the closer one looks. */
  pointSize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const crowd = Math.sqrt((width * height) / Math.max(this.n, 1));
    const zoom = Math.max(1, this.camera.scale / (this.whole ?? this.camera.scale));
    return Math.min(14, Math.max(2.2, Math.min(11, 0.52 * crowd) * zoom ** 0.45));
  }

  #frame() {
    const { gl, canvas, camera } = this;
    const { width, height } = canvas.getBoundingClientRect();
    if (!width || !height || gl.isContextLost()) return;
    // many points are drawn at the page's own pixels: without a GPU each pixel is work of the processor
    const ratio = this.n > 50_000 ? 1 : Math.min(devicePixelRatio || 1, 2);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const size = this.pointSize() * ratio;
    gl.uniform4f(this.uniforms.camera, camera.x, camera.y, (2 * camera.scale) / width, (2 * camera.scale) / height);
    gl.uniform2f(this.uniforms.size, size, size * 1.5 + 2);
    gl.uniform1f(this.uniforms.soft, Math.min(1, 3 / size));
    for (const look of LOOKS) {
      if (!this.used.has(look)) continue;
      gl.uniform1f(this.uniforms.pass, look);
      gl.drawArrays(gl.POINTS, 0, this.moving ? MOVING : this.n);
    }
    this.frames += 1;
    this.drawn?.();
  }

  /** A place of the map in pixels of the canvas. */
  toScreen(x, y) {
    const { width, height } = this.canvas.getBoundingClientRect();
    const { camera } = this;
    return [width / 2 + (x - camera.x) * camera.scale, height / 2 - (y - camera.y) * camera.scale];
  }

  /** The reverse. */
  toMap(px, py) {
    const { width, height } = this.canvas.getBoundingClientRect();
    const { camera } = this;
    return [camera.x + (px - width / 2) / camera.scale, camera.y - (py - height / 2) / camera.scale];
  }

  /** Look at everything. */
  fit() {
    const { x, y } = this.kept ?? { x: [], y: [] };
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < x.length; i += 1) {
      if (x[i] < left) left = x[i];
      if (x[i] > right) right = x[i];
      if (y[i] < low) low = y[i];
      if (y[i] > high) high = y[i];
    }
    if (!(right >= left)) return;
    const { width, height } = this.canvas.getBoundingClientRect();
    const span = Math.max((right - left) / (width || 1), (high - low) / (height || 1)) || 1e-6;
    this.camera = { x: (left + right) / 2, y: (low + high) / 2, scale: 0.9 / span };
    this.whole = this.camera.scale;
    this.draw();
  }

  /** Zoom by a factor about a point of the canvas. */
  zoom(factor, px, py) {
    const [x, y] = this.toMap(px, py);
    const whole = this.whole ?? this.camera.scale;
    this.camera.scale = Math.min(Math.max(this.camera.scale * factor, whole * 0.5), whole * 2000);
    const [nowX, nowY] = this.toMap(px, py);
    this.camera.x += x - nowX;
    this.camera.y += y - nowY;
    this.#moved();
  }

  /** Move by pixels of the page. */
  pan(dx, dy) {
    this.camera.x -= dx / this.camera.scale;
    this.camera.y += dy / this.camera.scale;
    this.#moved();
  }

  /** Free what the graphics hold. */
  end() {
    cancelAnimationFrame(this.waiting);
    clearTimeout(this.resting);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
