// Pictures that a run has made, from its stored files: nothing is ever loaded from elsewhere.

import { el } from "./text.js";

const KINDS = /\.(png|jpe?g|gif|webp)$/i;
const TRIES = [500, 1500, 4000, 10000]; // ms: the worker stores files beside the end of a turn, so one may come late

let execution = null;

// Whose files relative addresses mean from now on; null for nobody's.
export function picturesOf(id) {
  execution = id;
}

export function fileAddress(id, path) {
  return `/api/v1/executions/${encodeURIComponent(id)}/files/${encodeURIComponent(path)}`;
}

// The picture at a relative path of the run that is shown; null for any other address.
export function picture(target, label) {
  const path = decoded(target).replace(/^(\.\/)+/, "");
  if (!execution || !KINDS.test(path) || /^[a-z][a-z0-9+.-]*:|^[/\\#]/i.test(path) || path.split("/").includes("..")) return null;
  const address = fileAddress(execution, path);
  const made = el("img", { class: "picture", src: address, alt: label || path, title: path, loading: "lazy", decoding: "async" });
  let tried = 0;
  made.addEventListener("error", () => {
    if (tried === TRIES.length) made.replaceWith(`picture: ${label || path}`);
    else {
      made.removeAttribute("src"); // its words, and no sign of a broken picture
      setTimeout(() => made.setAttribute("src", address), TRIES[tried++]);
    }
  });
  return made;
}

function decoded(target) {
  try {
    return decodeURIComponent(target);
  } catch {
    return target;
  }
}
