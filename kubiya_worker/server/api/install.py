"""This module returns the commands and files that start a worker on a queue (protocol.md#a3); they never hold a key."""

from __future__ import annotations

import shlex
from typing import Any, Final

from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.refusals import ApiError

LOCAL: Final = """\
#!/bin/sh
# A Kubiya worker for the queue {name}. Set KUBIYA_API_KEY first; it does not belong on a command line.
set -eu
: "${{KUBIYA_API_KEY:?export KUBIYA_API_KEY first}}"
export CONTROL_PLANE_GATEWAY_URL={url}
command -v kubiya >/dev/null || python3 -m pip install kubiya-worker
exec kubiya worker start --queue-id {queue}
"""
DOCKER: Final = """\
#!/bin/sh
# A Kubiya worker for the queue {name}, as a container. Set KUBIYA_API_KEY first.
set -eu
: "${{KUBIYA_API_KEY:?export KUBIYA_API_KEY first}}"
exec docker run --rm --name kubiya-worker-{queue} \\
    --env KUBIYA_API_KEY --env CONTROL_PLANE_URL={url} --env QUEUE_ID={queue} \\
    ghcr.io/kubiyabot/agent-worker:latest
"""
KUBERNETES: Final = """\
# A Kubiya worker for the queue {name}. First: kubectl create secret generic kubiya-worker --from-file=api-key=FILE
apiVersion: apps/v1
kind: Deployment
metadata:
  name: kubiya-worker
spec:
  replicas: 1
  selector:
    matchLabels: {{app: kubiya-worker}}
  template:
    metadata:
      labels: {{app: kubiya-worker}}
    spec:
      containers:
        - name: worker
          image: ghcr.io/kubiyabot/agent-worker:latest
          env:
            - {{name: QUEUE_ID, value: {queue}}}
            - {{name: CONTROL_PLANE_URL, value: {url}}}
            - name: KUBIYA_API_KEY
              valueFrom:
                secretKeyRef: {{name: kubiya-worker, key: api-key}}
          livenessProbe:
            exec: {{command: [cat, /tmp/worker-alive]}}
          readinessProbe:
            exec: {{command: [cat, /tmp/worker-ready]}}
"""
SCRIPTS: Final = {"local": LOCAL, "docker": DOCKER, "kubernetes": KUBERNETES, "openshift": KUBERNETES}


async def install_script(call: Call) -> Any:
    queue, kind = queue_of(call), call.filters(filters.InstallScript).deployment_type.lower()
    if kind not in SCRIPTS:
        raise ApiError(400, f"Unknown deployment_type {kind!r}; one of {', '.join(SCRIPTS)}")
    url = str(call.request.base_url).rstrip("/")
    quote = shlex.quote if kind in ("local", "docker") else _yaml
    # Keep it on one line: a line break would end the comment that it stands in.
    name = " ".join(str(queue["name"]).split())
    return PlainTextResponse(SCRIPTS[kind].format(name=name, url=quote(url), queue=quote(queue["id"])))


def _yaml(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


ROUTES: list[Route] = [
    Edge("GET", "/worker-queues/{queue}/install-script", install_script, query=filters.InstallScript)
]
