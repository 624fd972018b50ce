// Where a person is on the page, and whether they are still there when the answer to what they did comes.

import { late } from "./frame.js";

// #/?FILTERS, #/executions/ID?tab=steps&at=STEP, #/inbox, #/inbox/ID, #/jobs, #/jobs/ID, #/definitions,
// #/definitions/KIND (a new one), #/definitions/KIND/NAME?tab=yaml, #/fleet, #/fleet/QUEUE, #/audit, #/audit/NUMBER
export function place() {
  const [, kind, id, words] = /^#\/(executions|inbox|jobs|definitions|fleet|audit)?(?:\/([^?]+))?(?:\?(.*))?$/.exec(location.hash) || [];
  try {
    return { kind: kind || "executions", id: id ? decodeURIComponent(id) : null, words };
  } catch {
    return { kind, id: id || null }; // not what this page wrote: nothing has that id
  }
}

// Where a person acts: on this screen, in this dialog if one is given. An answer leads on from there only; to who is
// elsewhere by then it is said in a line on top.
export function here(dialog = null) {
  const screen = () => [place().kind, place().id].join("\n");
  const began = screen();
  const still = () => screen() === began && (!dialog || dialog.open);
  return {
    still,
    // Goes to an address; `words` say what came of the act.
    go(address, words) {
      if (!still()) return late(words, address);
      dialog?.close();
      location.hash = address;
    },
    // `show(message)` shows where they act what went wrong; `words` say what was not done.
    failed(error, words, show) {
      if (still()) show(error.message);
      else late(`${words}: ${error.message}`);
    },
  };
}
