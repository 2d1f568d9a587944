// Requests to the service the page came from, and to nowhere else.

const KEPT = "vecsv-key";
const TRIES = 3;
const LONGEST_WAIT_S = 10;

let askForKey = () => Promise.resolve(null);

/** What the service, or the network, said instead of an answer. */
export class Problem extends Error {
  constructor({ status = 0, type = "", title = "", detail = "", hint = "", clips = [], waitSeconds = null, requestId = "" }) {
    super(detail || title);
    Object.assign(this, { status, type, title, detail, hint, clips, waitSeconds, requestId });
  }
}

/** Have `ask(refused)` called when a key is wanted; it gives the key, or null when none is given. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

export function hasKey() {
  return sessionStorage.getItem(KEPT) !== null;
}

export function forgetKey() {
  sessionStorage.removeItem(KEPT);
}

/** Ask the service. A key is asked for when it wants one; a busy service is asked again after the time it names. */
export async function request(method, path, form = undefined) {
  for (let attempt = 1; ; attempt += 1) {
    const sentKey = sessionStorage.getItem(KEPT);
    const response = await send(method, path, form, sentKey);
    if (response.ok) return response.status === 204 ? null : response.json();
    const problem = await problemOf(response);
    if (response.status === 401) {
      // Another request may have asked for a key meanwhile: use that before asking again.
      const newest = sessionStorage.getItem(KEPT);
      if (newest !== null && newest !== sentKey) continue;
      forgetKey();
      const key = await askForKey(sentKey !== null);
      if (key === null) throw problem;
      sessionStorage.setItem(KEPT, key);
      continue;
    }
    const wait = problem.waitSeconds;
    if (response.status !== 503 || wait === null || wait > LONGEST_WAIT_S || attempt === TRIES) throw problem;
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

async function send(method, path, form, key) {
  const headers = { Accept: "application/json" };
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(new URL(path, document.baseURI), { method, headers, body: form, cache: "no-store" });
  } catch {
    throw new Problem({ type: "unreachable" });
  }
}

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy in between answers in its own way: the status has to do.
  }
  const wait = Number.parseFloat(response.headers.get("Retry-After"));
  return new Problem({
    status: response.status,
    type: lastPart(body.type ?? ""),
    title: body.title ?? "",
    detail: typeof body.detail === "string" ? body.detail : "",
    hint: body.hint ?? "",
    clips: body.clips ?? [],
    waitSeconds: Number.isFinite(wait) ? wait : null,
    requestId: body.request_id ?? "",
  });
}

/** "about:blank" says nothing; otherwise the type's last word names the problem. */
function lastPart(type) {
  return type === "about:blank" ? "" : type.split(/[/:#]/).at(-1);
}

export const verify = (form) => request("POST", "v1/verify", form);
export const search = (form) => request("POST", "v1/search", form);
export const enrol = (speaker, form) => request("POST", `v1/speakers/${encodeURIComponent(speaker)}/enrollments`, form);
export const people = (offset, limit) => request("GET", `v1/speakers?offset=${offset}&limit=${limit}`);
export const person = (speaker) => request("GET", `v1/speakers/${encodeURIComponent(speaker)}`);
export const erase = (speaker) => request("DELETE", `v1/speakers/${encodeURIComponent(speaker)}`);
export const calibration = () => request("GET", "v1/calibration");
