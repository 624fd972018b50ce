"""Plays a plan with the client of the A2A SDK: {url, key, version, steps}. Run it where the SDK is installed."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any


async def play(plan: dict[str, Any]) -> dict[str, Any]:
    import httpx
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.helpers.proto_helpers import get_artifact_text, get_message_text
    from a2a.types import a2a_pb2 as pb
    from google.protobuf.json_format import MessageToDict

    results: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {plan['key']}"}
    async with httpx.AsyncClient(headers=headers, timeout=120, trust_env=False) as http:
        card = await A2ACardResolver(http, plan["url"]).get_agent_card()
        shown = MessageToDict(card)
        kept = [each for each in card.supported_interfaces if each.protocol_version == plan["version"]]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        task_id = ""

        def state_of(task: Any) -> str:
            return str(pb.TaskState.Name(task.status.state))

        def about(task: Any) -> dict[str, Any]:
            answer = "".join(get_artifact_text(each) for each in task.artifacts)
            said = [get_message_text(task.status.message)] if task.status.HasField("message") else []
            return {"id": task.id, "state": state_of(task), "states": [state_of(task)], "answer": answer, "said": said}

        async def step(given: dict[str, Any]) -> dict[str, Any]:
            nonlocal task_id
            task_id = given.get("id") or task_id
            client = ClientFactory(ClientConfig(httpx_client=http, streaming=bool(given.get("streaming")))).create(card)
            if given.get("get"):
                return about(await client.get_task(pb.GetTaskRequest(id=task_id)))
            if given.get("cancel"):
                return about(await client.cancel_task(pb.CancelTaskRequest(id=task_id)))
            message = pb.Message(
                message_id=str(uuid.uuid4()),
                role=pb.Role.Value("ROLE_USER"),
                parts=[pb.Part(text=given["send"])],
                task_id=task_id if given.get("follows") else "",
            )
            request = pb.SendMessageRequest(message=message)
            request.configuration.return_immediately = bool(given.get("at_once"))
            found: dict[str, Any] = {"states": [], "said": [], "answer": ""}
            async for event in client.send_message(request):
                kind = event.WhichOneof("payload")
                if kind == "task":
                    found |= {"id": event.task.id, **{k: v for k, v in about(event.task).items() if k != "said"}}
                    found["said"] = about(event.task)["said"]
                elif kind == "status_update":
                    found["states"].append(state_of(event.status_update))
                    found["said"].append(get_message_text(event.status_update.status.message))
                elif kind == "artifact_update":
                    found["answer"] = get_artifact_text(event.artifact_update.artifact)
            task_id = found.get("id", task_id)
            return found

        for given in plan["steps"]:
            try:
                results.append(await step(given))
            except Exception as error:
                results.append({"error": f"{type(error).__name__}: {error}"})
    return {"card": shown, "results": results}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(json.load(sys.stdin)))))
