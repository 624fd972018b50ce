// An approval that an agent asks for: what kind it is, when it ends, and how it is answered.

import { call } from "./api.js";

// The agent asks a person something, in place of asking for a tool.
export function isQuestion(thing) {
  return Boolean(thing.enforcement_context?.question);
}

// "expires in 22 min"
export function until(iso) {
  const minutes = (Date.parse(iso) - Date.now()) / 60_000;
  if (!Number.isFinite(minutes)) return "";
  if (minutes <= 0) return "expired";
  return minutes < 90 ? `expires in ${Math.ceil(minutes)} min` : minutes < 2880 ? `expires in ${Math.round(minutes / 60)} h` : `expires in ${Math.round(minutes / 1440)} days`;
}

// One answer to the control plane. Throws ApiError.
export async function send(request, decision, { reason = "", remember = false, arguments: edited = null }) {
  let body = { reason: reason || null };
  if (decision === "approve") {
    body = isQuestion(request) ? { answer: reason } : { comment: reason || null };
    if (remember) body.remember = true;
    if (edited) body.arguments = edited;
  }
  await call("POST", `/approvals/${encodeURIComponent(request.id)}/${decision}`, body);
}
