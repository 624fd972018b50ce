"""`try_out` tries an agent's model, or an MCP server, where executions would run.

It has this worker's endpoint, network, variables and confinement, and the secrets that the server references.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from temporalio import activity

from kubiya_worker import templates
from kubiya_worker.activities.attempts import heartbeats
from kubiya_worker.activities.execution_secrets import filled
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.models.choice import split
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.protocol import calls, names
from kubiya_worker.tools import mcp, secret_values
from kubiya_worker.tools.redaction import Redactor

MOST_TOOLS: Final = 200
LONGEST: Final = 500  # characters of a description or a notice
MODEL_PATIENCE: Final = 60.0  # seconds for one call of a model


class TrialActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.TRY_OUT)
    async def try_out(self, asked: calls.Trial) -> calls.TrialResult:
        """Return the outcome; whatever is wrong with the server or the model is an outcome, too."""
        began = time.monotonic()
        async with heartbeats():
            try:
                outcome = await (self._server(asked) if asked.server else self._model(asked))
            except WorkerError as error:
                outcome = {"ok": False, "error": error.line(), "seconds": round(time.monotonic() - began, 3)}
        outcome["worker_id"] = self._runtime.worker_id
        return calls.TrialResult(Redactor(self._runtime.secrets).value(outcome))

    async def _server(self, asked: calls.Trial) -> dict[str, Any]:
        from kubiya_worker.tools.mcp.trial import try_server  # what few workers need

        plane = self._runtime.control_plane
        entities = {"agent": plane.definitions.agent, "team": plane.definitions.team}
        entity = await asyncio.to_thread(entities[asked.kind], asked.agent_id) if asked.kind in entities else {}
        environment = await asyncio.to_thread(plane.contexts.environment, asked.kind, asked.agent_id, asked.trial_id)
        config = entity.get("configuration") or {}
        servers = mcp.merged(environment.get("mcp_servers"), config.get("mcp_servers"), config.get("mcpServers"))
        if asked.server not in servers:
            raise ConfigurationError(
                f"The {asked.kind} has no MCP server {asked.server!r}",
                remedy="kubiya mcp ls lists the servers and who has them",
            )
        raw = servers[asked.server]
        plain_variables = {
            str(k): str(v) for k, v in lenient.mapping(environment.get("env_vars")).items() if v is not None
        }
        secrets = await asyncio.to_thread(self._secrets, asked, raw, plain_variables)
        variables = filled(plain_variables, secrets)
        server = next(iter(mcp.parse({asked.server: raw})), None)
        if server is None:
            raise ConfigurationError(
                f"The MCP server {asked.server!r} is switched off",
                remedy=f"Take `disabled` out of it, or set `enabled` to true: kubiya mcp edit {asked.server}",
            )
        redactor = Redactor({*secret_values.values(variables, [server], secrets), *secrets.values()})
        outcome = redactor.value((await try_server(server, variables, secrets=secrets)).wire())
        tools = [
            {
                "name": tool["name"],
                "description": tool["description"][:LONGEST],
                "parameters": _named(tool["parameters"]),
            }
            for tool in outcome["tools"]
        ]
        notices = [notice[:LONGEST] for notice in outcome["notices"]]
        return {**outcome, "tools": tools[:MOST_TOOLS], "tool_count": len(tools), "notices": notices}

    def _secrets(self, asked: calls.Trial, *settings: Any) -> dict[str, str]:
        """Return the secrets that the settings reference; those that cannot be had are named by who needs them."""
        wanted = sorted(set[str]().union(*map(templates.secrets_in, settings)))
        if not wanted:
            return {}
        question = {
            "worker_id": self._runtime.worker_id,
            "execution_id": asked.trial_id,
            "kind": asked.kind,
            "entity_id": asked.agent_id,
            "names": wanted,
        }
        try:
            answer = self._runtime.control_plane.secrets(question)
        except ControlPlaneError as error:
            activity.logger.warning("secrets.unavailable names=%s: %s", ",".join(wanted), error)
            return {}
        return {name: value for name, value in (answer.get("values") or {}).items() if isinstance(value, str)}

    async def _model(self, asked: calls.Trial) -> dict[str, Any]:
        from kubiya_worker.models import trial

        models, agent = self._runtime.models, dict[str, Any](model_id=asked.model)
        if not asked.model:
            agent = await asyncio.to_thread(self._runtime.control_plane.definitions.agent, asked.agent_id)
        model = models.resolve(agent.get("model_id"))
        if models.offline(model):
            return {"ok": True, "model": model, "error": None, "checks": {}, "note": "It is the demo model: a script"}
        chosen = {**(agent.get("llm_config") or {}), "timeout": MODEL_PATIENCE}
        began = time.monotonic()
        selected = models.select(model)
        marked, chat = bool(models.cached_for(model, chosen)), split(model)[0] in (GATEWAY, "openai")
        report = await trial.run(selected, model, chosen, marked=marked, chat=chat)
        cost = models.nanos(model, report.usage, report.model)
        outcome = trial.wire(report, model, selected.label, time.monotonic() - began, cost)
        return outcome | ({"error": trial.as_worker_error(report.fault).line()} if report.fault else {})


def _named(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of a tool's parameters; those that it needs have a star."""
    needed = schema.get("required") or []
    return [f"{name}{'*' if name in needed else ''}" for name in schema.get("properties") or {}]
