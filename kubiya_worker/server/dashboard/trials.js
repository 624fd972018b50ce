// Tests of an agent's model and of its MCP servers: a worker makes them, as its executions would use both.

import { call } from "./api.js";
import { refocus, say } from "./frame.js";
import { needs } from "./rights.js";
import { el, oneLine } from "./text.js";

const MARKS = { yes: ["✓", "completed"], no: ["✗", "failed"] };

export class Trials {
  // `place`: what they are shown in. `refused()`: the key is not known any more.
  constructor(place, { refused }) {
    Object.assign(this, { place, refused });
  }

  // `spec`: the stored one, of the agent with this name.
  show(name, spec) {
    this.name = name;
    const config = spec.configuration || {};
    const servers = [...new Set([...Object.keys(config.mcp_servers || {}), ...Object.keys(config.mcpServers || {})])].sort();
    this.place.replaceChildren(...[
      el("p", { class: "help" }, "A worker makes the test, where executions would run: with its endpoint, its network and its confinement. What is not saved yet is not tested."),
      this.part(`Model ${spec.model_id || "(the worker's own)"}`, "Test the model", {}),
      ...servers.map((server) => this.part(`MCP server ${server}`, `Test ${server}`, { mcp_server: server })),
      servers.length ? null : el("p", { class: "help" }, "This agent has no MCP servers of its own."),
    ].filter(Boolean));
  }

  part(title, words, body) {
    const told = el("div", { class: "test-outcome", role: "status" });
    const button = el("button", { type: "button", class: "quiet" }, words);
    needs(button, "POST /agents/{entity}/test");
    button.addEventListener("click", async () => {
      button.disabled = true;
      told.replaceChildren(el("p", { class: "help" }, "Testing …"));
      try {
        const found = await call("POST", `/agents/${encodeURIComponent(this.name)}/test`, body);
        told.replaceChildren(...outcome(found, Boolean(body.mcp_server)));
        say(told.firstChild.textContent);
      } catch (error) {
        if (error.status === 401) return this.refused();
        told.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
      } finally {
        button.disabled = false;
      }
      refocus(button);
    });
    return el("section", { class: "trial" }, el("h3", {}, title), el("div", { class: "actions" }, button), told);
  }
}

function outcome(found, server) {
  const word = el("span", { class: "status", "data-status": found.ok ? "completed" : "failed" }, found.ok ? "works" : "fails");
  const count = found.tool_count ?? found.tools?.length;
  const facts = [
    server && found.ok && `${count === 1 ? "1 tool" : `${count} tools`}`,
    found.seconds !== undefined && `${found.seconds} s`,
    found.transport,
    found.at,
    found.calls && `${found.calls} calls, ${(found.usage?.total_tokens || 0).toLocaleString("en")} tokens`,
    found.cost_usd && `$${found.cost_usd.toFixed(4)}`,
    found.queue && `on the queue ${found.queue}`,
    found.note,
  ];
  return [
    el("p", {}, word, ` ${facts.filter(Boolean).join(" · ")}`),
    found.error ? el("p", { class: "error" }, oneLine(found.error, 1000)) : null,
    ...(found.notices || []).map((notice) => el("p", { class: "help" }, notice)),
    found.tools?.length ? el("ul", { class: "trial-tools" }, ...found.tools.map(tool)) : null,
    Object.keys(found.checks || {}).length ? el("ul", { class: "trial-tools" }, ...Object.entries(found.checks).map(check)) : null,
  ].filter(Boolean);
}

function tool({ name, description, parameters }) {
  return el("li", {}, el("code", {}, `${name}(${parameters.join(", ")})`), description ? el("span", { class: "help" }, ` ${oneLine(description, 300)}`) : null);
}

function check([name, { status, detail }]) {
  const [mark, look] = MARKS[status] || ["–", null];
  return el("li", {}, el("span", { class: "status", "data-status": look }, `${mark} ${name.replaceAll("_", " ")}`), detail ? el("span", { class: "help" }, ` ${detail}`) : null);
}
