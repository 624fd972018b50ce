// Stopping every agent at once, with a reason, and letting them go on again.

import { call } from "./api.js";
import { here } from "./place.js";
import { $, oneLine } from "./text.js";

export class Stop {
  // `refused()`: the key is not known any more. `changed()`: what is shown is out of date.
  constructor({ refused, changed }) {
    Object.assign(this, { refused, changed });
    $("stop-all").addEventListener("click", () => this.open());
    $("stop-close").addEventListener("click", () => $("stop").close());
    $("lift").addEventListener("click", () => this.send($("lift"), $("lift-error"), "DELETE"));
    $("stop-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send($("stop-go"), $("stop-error"), "POST", { reason: $("stop-reason").value.trim() });
    });
  }

  open() {
    $("stop-error").textContent = "";
    $("stop-reason").value = "";
    $("stop").showModal();
    $("stop-reason").focus();
  }

  show(stop) {
    $("stop-all").hidden = stop.stopped;
    $("stopped").hidden = !stop.stopped;
    if (!stop.stopped) return;
    const who = stop.by?.name || stop.by?.email || "somebody";
    const text = `All agents are stopped by ${oneLine(who, 60)} since ${new Date(stop.at).toLocaleString()}: ${oneLine(stop.reason, 300)}`;
    if ($("stopped-text").textContent !== text) $("stopped-text").textContent = text;
  }

  hide() {
    for (const id of ["stop-all", "stopped"]) $(id).hidden = true;
  }

  async send(button, error, method, body) {
    const on = here(method === "POST" ? $("stop") : null);
    button.disabled = true;
    error.textContent = "";
    try {
      this.show(await call(method, "/stop", body));
      $("stop").close();
      this.changed();
    } catch (failure) {
      if (failure.status === 401) this.refused();
      else on.failed(failure, method === "POST" ? "The agents were not stopped" : "The stop was not lifted", (message) => (error.textContent = message));
    }
    button.disabled = false;
  }
}
