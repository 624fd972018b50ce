// What people wish of a worker: that it drains, takes work again, or is started again; with the reason.

import { call } from "./api.js";
import { late, say } from "./frame.js";
import { here } from "./place.js";
import { needs } from "./rights.js";
import { $, age, el } from "./text.js";

const ABOUT = {
  drain: ["Drain", "It takes no work from then on, finishes what runs, and stays until it is to take work again."],
  restart: ["Restart", "Running steps have its grace period; then it ends, and what supervises it starts it again."],
};

export class Wishes {
  // `refused()`: the key is not known any more. `changed()`: the workers are to be asked again.
  constructor({ refused, changed }) {
    Object.assign(this, { refused, changed, worker: null, verb: "" });
    $("wish-close").addEventListener("click", () => $("wish").close());
    $("wish-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send($("wish-reason").value.trim());
    });
  }

  // The buttons of a live worker, of which those that make no sense are hidden: see `update`.
  make(worker, host) {
    const made = Object.fromEntries(["drain", "restart", "undrain"].map((verb) => {
      const button = el("button", { type: "button", class: "quiet" }, verb === "undrain" ? "Take work again" : `${ABOUT[verb][0]} …`);
      button.setAttribute("aria-label", `${button.textContent.replace(" …", "")}: ${host}`);
      needs(button, `POST /workers/{worker}/${verb}`);
      button.addEventListener("click", () => this.open(verb, worker.id, host));
      return [verb, button];
    }));
    const told = el("p", { class: "help wish-told" });
    return { ...made, told, actions: el("div", { class: "actions" }, ...Object.values(made)) };
  }

  update(made, { live, wish, worker_metadata: metadata }) {
    const possible = (live && metadata.wishes) || [];
    made.drain.hidden = !possible.includes("drain") || wish?.action === "drain";
    made.undrain.hidden = !live || wish?.action !== "drain";
    made.restart.hidden = !possible.includes("restart") || wish?.action === "restart";
    made.actions.hidden = [made.drain, made.undrain, made.restart].every((button) => button.hidden);
    const text = wish ? wishText(wish, live ? metadata.state : "") : "";
    if (made.told.textContent !== text) made.told.textContent = text;
    made.told.hidden = !text;
  }

  open(verb, id, host) {
    Object.assign(this, { verb, worker: id });
    if (verb === "undrain") return this.send("");
    const [word, about] = ABOUT[verb];
    $("wish-title").textContent = `${word} the worker on ${host}?`;
    $("wish-text").textContent = about;
    $("wish-go").textContent = word;
    $("wish-reason").value = "";
    $("wish-error").textContent = "";
    $("wish").showModal();
    $("wish-reason").focus();
  }

  async send(reason) {
    $("wish-go").disabled = true;
    const asked = this.verb !== "undrain"; // in the dialog
    const on = here(asked ? $("wish") : null);
    try {
      await call("POST", `/workers/${encodeURIComponent(this.worker)}/${this.verb}`, reason ? { reason } : {});
      if (asked && on.still()) $("wish").close();
      say("Asked: the worker learns it with its next heartbeat");
      this.changed();
    } catch (error) {
      if (error.status === 401) this.refused();
      else on.failed(error, "The worker was not asked", (message) => (asked ? ($("wish-error").textContent = message) : late(message)));
    }
    $("wish-go").disabled = false;
  }
}

function wishText(wish, state) {
  const verb = wish.action === "drain" ? "drain" : "restart";
  const taken = state === "draining" || state === "drained" ? "" : " It learns that with its next heartbeat.";
  return `${wish.by?.name || "Somebody"} asked it to ${verb} ${age(wish.at)}${wish.reason ? `: ${wish.reason}.` : "."}${taken}`;
}
