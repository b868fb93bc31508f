// Where answers and pictures come from: the server that sent this page, and no other. `locatlas export site` puts
// source_static.js, which has the same names, in place of this file.

import { ApiError } from "./api_error.js";

/** What a folder of files without a server holds; null where there is a server. */
export const site = null;

/** Address below /api/v1, with those parameters that are given. */
function address(path, parameters) {
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

/** The JSON document of an address. */
export async function json(path, parameters, signal) {
  return (await ask(address(path, parameters), { signal })).json();
}

/** The bytes of an Arrow stream. */
export async function bytes(path, parameters, signal) {
  return new Uint8Array(await (await ask(address(path, parameters), { signal })).arrayBuffer());
}

/** What the server says to a form. */
export async function send(path, form, signal) {
  return (await ask(address(path, {}), { method: "POST", body: form, signal })).json();
}

/** Address of a picture; query: how it is to be shown. */
export const picture = (id, query) => `/thumb/${id.split("/").map(encodeURIComponent).join("/")}?${query}`;

/** Why a picture is the stored thumbnail, null where it is drawn from the image itself. */
export async function replaced(address) {
  const answer = await fetch(address);  // an <img> does not tell the headers of its answer
  if (answer.headers.get("X-Locatlas-Pixels") !== "thumbnail") return null;
  return answer.headers.get("X-Locatlas-Reason") ?? "the images are not at hand";
}
