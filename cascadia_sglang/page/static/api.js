// Calls to the server that serves this page. Addresses are relative, so that a proxy may put it
// under a path of its own. Keys stay in the fields that they were typed into.

const CASCADIA = new URL("../", import.meta.url);
const SERVER = new URL("../../", import.meta.url);

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function read(path, options = {}) {
  const limit = AbortSignal.timeout(options.limitMs ?? 10000);
  const response = await fetch(new URL(path, CASCADIA), { ...options, signal: limit });
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    throw new ApiError(response.status, `the server answers ${response.status} without JSON`);
  }
  if (!response.ok) {
    const error = body.error;
    throw new ApiError(response.status, error?.message ?? error ?? `status ${response.status}`);
  }
  return body;
}

function post(path, key, body) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
  return read(path, { method: "POST", headers, body: JSON.stringify(body), limitMs: 600000 });
}

export const api = {
  live: (last) => read(`live?since=${last.row}&requests=${last.request}&events=${last.event}`),
  recent: () => read("recent"),
  whatIf: (thresholds) => read(`what-if?thresholds=${thresholds.join(",")}`),
  plan: (key, body) => post("plan", key, body),
  discarded: (key, rid, isBegin) => post("discarded", key, { rid, begin: isBegin }),
  chat: (key, body, signal) =>
    fetch(new URL("v1/chat/completions", SERVER), {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(key ? { authorization: `Bearer ${key}` } : {}),
      },
      body: JSON.stringify(body),
      signal,
    }),
};
