"""The tools that an execution offers its model with every request, parsed once for each list of tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubiya_worker.models import caching
from kubiya_worker.protocol.calls import Context
from kubiya_worker.protocol.tools import ToolSpec


@dataclass(frozen=True)
class Offer:
    """The parsed tools of a context, and the key under which a provider caches the beginning of its requests."""

    raw: list[dict[str, Any]]  # the context's own list: a context with other tools has another list
    prompt: str
    specs: list[ToolSpec]
    cache_key: str

    @classmethod
    def of(cls, context: Context) -> Offer:
        specs = [ToolSpec.parse(tool) for tool in context.tools]
        key = caching.key(context.agent_id, context.system_prompt, context.tools)
        return cls(context.tools, context.system_prompt, specs, key)

    def fits(self, context: Context) -> bool:
        return self.raw is context.tools and self.prompt == context.system_prompt
