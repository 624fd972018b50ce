// Requests to the control plane. The browser is signed in by a cookie that scripts cannot read; a write also shows the
// session's CSRF token, which only this page can ask for.

export class ApiError extends Error {
  // `problems`: [{field, message}], where the answer names fields of what was sent; `detail`: what else it says.
  constructor(status, message, problems = [], detail = null) {
    super(message);
    Object.assign(this, { status, problems, detail });
  }
}

let csrf = "";

export const session = {
  // Who is signed in in this browser, {user, may}; throws ApiError, 401 for nobody.
  async find() {
    const found = await call("GET", "/session");
    csrf = found.csrf_token || "";
    return found;
  },
  // Signs in with a key, which is sent this once and kept nowhere.
  async begin(key) {
    const found = await call("POST", "/session", undefined, { Authorization: `Bearer ${key}` });
    csrf = found.csrf_token;
    return found;
  },
  // Ends this browser's session, or all of the person's.
  async end(everywhere) {
    await call("DELETE", everywhere ? "/sessions" : "/session");
    csrf = "";
  },
};

// One sentence out of the shapes that errors have (docs/protocol.md#a1).
export function sentence(body, status) {
  const detail = body && body.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail) && detail.length) return detail.map((d) => `${(d.loc || []).slice(1).join(".")}: ${d.msg}`).join("; ");
  if (detail && detail.message) return detail.message;
  return `The control plane answers ${status}`;
}

function problemsOf(body) {
  return Array.isArray(body?.detail) ? body.detail.map((d) => ({ field: (d.loc || []).slice(1).join("."), message: d.msg })) : [];
}

// JSON of the answer; null for an empty one. Throws ApiError; its status is 0 when nobody answers.
export async function call(method, path, body, more = {}) {
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(method === "GET" ? {} : { "X-CSRF-Token": csrf }),
        ...more,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, "The control plane does not answer");
  }
  const text = await answer.text();
  let parsed = null;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(answer.status, `The control plane answers ${answer.status}, and not in JSON`);
  }
  if (!answer.ok) throw new ApiError(answer.status, sentence(parsed, answer.status), problemsOf(parsed), parsed?.detail);
  return parsed;
}

// For Idempotency-Key and message_id: a request that is repeated counts once. (crypto.randomUUID wants HTTPS.)
export function fresh() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
