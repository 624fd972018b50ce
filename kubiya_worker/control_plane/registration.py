"""The reply of the control plane to the start of a worker."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from kubiya_worker.control_plane import lenient


@dataclass(frozen=True)
class Registration:
    """The reply to `POST /worker-queues/{id}/start` (docs/protocol.md#a3). Keys are never shown."""

    worker_id: str
    task_queue_name: str
    temporal_namespace: str = "default"
    temporal_host: str = "127.0.0.1:7233"
    temporal_api_key: str = field(default="", repr=False)
    temporal_tls: bool | None = None  # this and the next two are our control plane's; None lets the address decide
    temporal_tls_ca: str = ""  # certificates in PEM
    temporal_tls_server_name: str = ""
    temporal_cluster_id: str = ""  # of the server that work is sent to; our control plane's
    work_queue: str = ""  # the queue that work is sent to, where a setting gives `task_queue_name` another one
    organization_id: str = ""
    control_plane_url: str = ""
    heartbeat_interval: int = 30
    litellm_api_url: str = ""
    litellm_api_key: str = field(default="", repr=False)
    queue_id: str = ""
    queue_name: str = ""
    environment_name: str = "default"
    queue_ephemeral: bool = False
    queue_single_execution: bool = False
    control_plane_sdk_version: str = ""
    features: tuple[str, ...] = ()
    wish: dict[str, Any] = field(default_factory=dict)  # what people wish of this worker; our control plane's
    payload_key_id: str = ""  # the key with which it encrypts; our control plane's

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Registration:
        """Parse the reply. Unknown fields are ignored; KeyError names a missing field.

        Null, and a value that is none of its field, counts as absent.
        """
        values = {f.name: _value(f.name, raw[f.name], f.default) for f in fields(cls) if raw.get(f.name) is not None}
        for name in ("worker_id", "task_queue_name"):
            if not values.get(name):
                raise KeyError(name)
        features = raw.get("features")
        known = tuple(name for name in features if isinstance(name, str)) if isinstance(features, list) else ()
        return cls(**{**values, "features": known, "wish": dict(lenient.mapping(raw.get("wish")))})


def _value(name: str, value: Any, default: Any) -> Any:
    """Return a field's value in the type of its default."""
    if name == "temporal_tls":  # its default says that the address decides
        return lenient.flag(value, True) if lenient.flag(value, True) == lenient.flag(value, False) else None
    if isinstance(default, bool):
        return lenient.flag(value, default)
    if isinstance(default, int):
        return int(lenient.number(value, default))
    return lenient.text(value, default if isinstance(default, str) else "").strip()
