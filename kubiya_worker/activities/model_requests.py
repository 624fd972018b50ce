"""The requests that an agent's conversation becomes for a model."""

from __future__ import annotations

import asyncio
from typing import Any

from kubiya_worker.activities import images
from kubiya_worker.activities.model_step import ModelStep
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.models import structured, vision
from kubiya_worker.models.base import BAD_REQUEST, ModelError, ModelRequest
from kubiya_worker.protocol import calls, compaction


class ModelRequests:
    """The requests of a worker, which remembers the endpoints that take no response_format."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._unformatted: set[str] = set()  # models whose endpoint takes no response_format

    async def make(self, step: ModelStep, model_id: str) -> ModelRequest:
        """Return the request for a model, with the pictures of the conversation if the model takes some."""
        runtime, context, execution_id = self._runtime, step.context, step.call.execution_id
        messages = compaction.for_model(step.conversation)
        if images.any_images(messages) and vision.takes_images(model_id, context.model_config):
            workspace = workspace_of(runtime, execution_id, context)
            messages = await asyncio.to_thread(images.with_images, messages, workspace)
        offer = runtime.memory.offer_of(execution_id, context)
        return ModelRequest(
            model_id=model_id,
            system_prompt=context.system_prompt,
            messages=messages,
            tools=offer.specs,
            settings=self._settings(context, model_id),
            metadata=trace_keys(execution_id, context, model_id),
            cache_key=offer.cache_key,
        )

    def _settings(self, context: calls.Context, model_id: str) -> dict[str, Any]:
        """Return the agent's settings. The endpoint gets the response_format only where there are no tools.

        Servers that enforce a grammar could otherwise produce no tool call. The prompt names the format in any case.
        """
        settings = {k: v for k, v in context.model_config.items() if k not in structured.KEYS}
        if context.response_format is not None and not context.tools and model_id not in self._unformatted:
            settings["response_format"] = context.response_format
        return settings

    def drop_refused_format(self, context: calls.Context, model_id: str, error: ModelError) -> bool:
        """Stop sending the response_format where the endpoint may have refused it. Return whether that is so."""
        refused = error.kind == BAD_REQUEST and "response_format" in self._settings(context, model_id)
        if refused:
            self._unformatted.add(model_id)
        return refused


def trace_keys(execution_id: str, context: calls.Context, model_id: str, name: str = "agent-chat") -> dict[str, str]:
    """Return the trace keys for a gateway (docs/protocol.md#d1). `name` is that of the generation."""
    email = str(context.user.get("user_email") or "")
    return {
        "trace_name": "agent-chat",
        "generation_name": name,
        "trace_id": execution_id,
        "session_id": execution_id,
        "trace_user_id": f"{email}-{context.organization_id}",
        "user_email": email,
        "organization_id": context.organization_id,
        "agent_id": context.agent_id,
        "agent_name": context.agent_name,
        "model": model_id,
    }
