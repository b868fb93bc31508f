// Questions to the server that sent this page, and to no other.

import { tableFromIPC } from "./vendor/flechette.js";

/** The server's reason, in one line. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Address below /api/v1, with those parameters that are given. */
export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.append(name, value);
  }
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ""}`;
}

async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the server does not answer: is `locatlas serve` still running?", 0);
  }
  if (answer.ok) return answer;
  let reason = `the server answered ${answer.status}`;
  if ((answer.headers.get("content-type") ?? "").startsWith("application/json")) {
    reason = (await answer.json()).error ?? reason;
  }
  throw new ApiError(reason, answer.status);
}

/** A JSON document. */
export async function get(path, parameters = {}, signal = undefined) {
  return (await ask(address(path, parameters), { signal })).json();
}

/** An Arrow table. */
export async function table(path, parameters = {}, signal = undefined) {
  const answer = await ask(address(path, parameters), { signal });
  return tableFromIPC(new Uint8Array(await answer.arrayBuffer()));
}

/** Send a form with files, get a JSON document. */
export async function post(path, form, signal = undefined) {
  return (await ask(`/api/v1/${path}`, { method: "POST", body: form, signal })).json();
}

/** A name or an id as part of an address; ids hold slashes, which stay. */
export const part = (name) => name.split("/").map(encodeURIComponent).join("/");

let known = null;

/** What the atlas holds; asked once, and again after `forget`. */
export function status() {
  known ??= get("status").catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

/** Ask for the status anew the next time. */
export function forget() {
  known = null;
}
