"""The names of spans' attributes: the GenAI and MCP conventions of OpenTelemetry (semantic-conventions-genai 0.1.0).

All of them are still called "Development" there, so Python's package of constants is not used. Names that begin with
`kubiya.` are ours.
"""

from __future__ import annotations

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION: Final = "gen_ai.usage.cache_creation.input_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL: Final = "gen_ai.tool.call.id"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - of a model's tokens
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
ERROR: Final = "error.type"
MCP_METHOD: Final = "mcp.method.name"
TRANSPORT: Final = "network.transport"

EXECUTION: Final = "kubiya.execution.id"
TURN: Final = "kubiya.turn"
STATUS: Final = "kubiya.status"
ATTEMPT: Final = "kubiya.attempt"
WORKER: Final = "kubiya.worker.id"
QUEUE: Final = "kubiya.queue"
APPROVAL: Final = "kubiya.approval.id"
DECISION: Final = "kubiya.approval.decision"
COST: Final = "kubiya.cost_usd"

# Values of `gen_ai.operation.name`; the last one is ours.
INVOKE_AGENT: Final = "invoke_agent"
INVOKE_WORKFLOW: Final = "invoke_workflow"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
WAIT: Final = "approval"

FUNCTION: Final = "function"  # the `gen_ai.tool.type` of all tools

TOOL_ERROR: Final = "tool_error"  # the `error.type` of a call whose result is a failure
WORKER_LOST: Final = "worker_lost"  # the `error.type` of an attempt whose worker is gone
