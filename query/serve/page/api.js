// Questions about the atlas, whoever answers them.

import { ApiError } from "./api_error.js";
import * as source from "./source.js";
import { tableFromIPC } from "./vendor/flechette.js";

export { ApiError };

/** A JSON document. */
export const get = (path, parameters = {}, signal = undefined) => source.json(path, parameters, signal);

/** An Arrow table. */
export async function table(path, parameters = {}, signal = undefined) {
  return tableFromIPC(await source.bytes(path, parameters, signal));
}

/** Send a form with files, get a JSON document. */
export const post = (path, form, signal = undefined) => source.send(path, form, signal);

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
