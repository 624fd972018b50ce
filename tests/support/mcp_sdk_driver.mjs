// Plays a plan with the client of the TypeScript SDK of MCP. The plan comes as JSON on standard input:
// {"url"|"command", "args", "env", "headers", "answers": [content…] | null, "calls": [{"name", "arguments"}…]}.
// Prints one line of JSON: {"tools", "shown", "progress", "results"}. Run it where @modelcontextprotocol/sdk is installed.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

let text = "";
for await (const part of process.stdin) text += part;
const plan = JSON.parse(text);
const shown = [], progress = [], results = [];
const client = new Client(
  { name: "driver", version: "1" },
  { capabilities: plan.answers ? { elicitation: { form: {} } } : {} },
);
if (plan.answers) {
  client.setRequestHandler(ElicitRequestSchema, async (request) => {
    shown.push(request.params.message);
    return { action: "accept", content: plan.answers.shift() };
  });
}
await client.connect(
  plan.url
    ? new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } })
    : new StdioClientTransport({ command: plan.command, args: plan.args, env: plan.env }),
);
const tools = (await client.listTools()).tools.map((tool) => tool.name);
let execution = plan.execution;
for (const call of plan.calls) {
  const given = { ...call.arguments, ...(call.follows ? { execution_id: execution } : {}) };
  const options = { onprogress: (update) => progress.push(update.message), timeout: 120000 };
  const result = await client.callTool({ name: call.name, arguments: given }, undefined, options);
  execution = result.structuredContent?.execution_id ?? execution;
  results.push({ structured: result.structuredContent ?? {}, text: result.content?.[0]?.text ?? "", error: !!result.isError });
}
console.log(JSON.stringify({ tools, shown, progress, results }));
await client.close();
