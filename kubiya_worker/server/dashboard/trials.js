// Tests of an agent's model, of a stored model and of MCP servers: a worker makes them, as executions would use both.

import { call } from "./api.js";
import { addressOf } from "./definitions.js";
import { refocus, say } from "./frame.js";
import { needs } from "./rights.js";
import { el, noun, oneLine } from "./text.js";

export const TRIED = ["Agent", "Team", "Environment", "MCPServer", "Model"]; // kinds that have something to test
const PATHS = { Agent: ["/agents", "entity"], Team: ["/teams", "entity"], Environment: ["/environments", "environment"], MCPServer: ["/mcp-servers", "server"], Model: ["/stored-models", "model"] };
const MARKS = { yes: ["✓", "completed"], no: ["✗", "failed"] };

export class Trials {
  // `place`: what they are shown in. `refused()`: the key is not known any more.
  constructor(place, { refused }) {
    Object.assign(this, { place, refused });
  }

  // `spec`: the stored one, of the definition of this kind with this name.
  show(kind, name, spec) {
    Object.assign(this, { kind, name });
    if (kind === "Model") {
      this.place.replaceChildren(
        el("p", { class: "help" }, "A worker of a queue that has the model makes the test, with the key that it has there. It knows the model as it was when it started: restart it after a change."),
        this.part(`Model ${name}`, "Test the model", {}, false),
      );
      return;
    }
    const servers = kind === "MCPServer" ? [name] : named(spec);
    const body = (server) => (kind === "MCPServer" ? {} : { mcp_server: server });
    this.place.replaceChildren(...[
      el("p", { class: "help" }, "A worker makes the test, where executions would run: with its endpoint, its network and its confinement; the outcome says which one. What is not saved yet is not tested."),
      kind === "MCPServer" ? el("p", { class: "help" }, "Variables of agents and environments, such as {{NAME}}, are not known here: a server that has them is tested at the agent.") : null,
      kind === "Agent" ? this.part(`Model ${spec.model_id || "(the worker's own)"}`, "Test the model", {}, false) : null,
      ...servers.map((server) => this.part(`MCP server ${server}`, `Test ${server}`, body(server), true)),
      servers.length ? null : el("p", { class: "help" }, `This ${noun(kind)} has no MCP servers of its own.`),
      spec.environment_ids?.length ? el("p", { class: "help" }, "Servers of its environments are tested there: ", ...spec.environment_ids.flatMap((each, number) => [number ? ", " : "", el("a", { href: addressOf("Environment", each, "test") }, each)])) : null,
    ].filter(Boolean));
  }

  part(title, words, body, server) {
    const told = el("div", { class: "test-outcome", role: "status" });
    const button = el("button", { type: "button", class: "quiet" }, words);
    const [plural, parameter] = PATHS[this.kind];
    needs(button, `POST ${plural}/{${parameter}}/test`);
    button.addEventListener("click", async () => {
      button.disabled = true;
      told.replaceChildren(el("p", { class: "help" }, "Testing …"));
      try {
        const found = await call("POST", `${plural}/${encodeURIComponent(this.name)}/test`, body);
        told.replaceChildren(...outcome(found, server));
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

// The names of the MCP servers that a definition has itself, or names.
function named({ configuration = {}, execution_environment: around = {} }) {
  return [...new Set([configuration.mcp_servers, configuration.mcpServers, around.mcp_servers].flatMap((each) => Object.keys(each || {})))].sort();
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
    found.queue && `by ${found.host ? `the worker ${found.host}` : "a worker"} on the queue ${found.queue}`,
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
