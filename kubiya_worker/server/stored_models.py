"""This module makes stored models entries of the lists that queues give their workers, and finds who names a model.

A stored model is one entry of a `model_list`, so that a worker reads it as it reads its queue's own list. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kubiya_worker.protocol.model_entries import entry_of, own_list
from kubiya_worker.server.store.records import Object

KIND: Final = "model"
FALLBACKS: Final = "fallback_models"


def reaches(model: Object, queue_id: str) -> bool:
    """Return whether the workers of a queue get the model."""
    return not model["queues"] or queue_id in model["queues"]


def names_of_list(queue: Mapping[str, Any]) -> set[str]:
    """Return the names that the queue's own list has, if the queue uses it."""
    return {row["model_name"] for row in own_list(queue)}


def settings_with(queue: Mapping[str, Any], models: Iterable[Object]) -> Object:
    """Return the settings that a queue's workers get: its own list, then the stored models that reach the queue.

    The queue's own entry wins where both have a name.
    """
    settings: Object = queue.get("settings") or {}
    own = names_of_list(queue)
    rows = [entry_of(each) for each in models if reaches(each, queue["id"]) and each["name"] not in own]
    if not rows:
        return settings
    document = settings.get("litellm_config") or {}
    listed = document.get("model_list")
    listed = listed if isinstance(listed, list) else []
    return {**settings, "litellm_config": {**document, "model_list": [*listed, *rows]}}


def named_by(definition: Mapping[str, Any]) -> set[str]:
    """Return the models that an agent, a team or a job names."""
    return {name for name in _named(definition) if name}


def _named(definition: Mapping[str, Any]) -> Iterator[str]:
    configuration = definition.get("configuration") or {}
    parts = [definition, definition.get("llm_config") or {}, configuration, configuration.get("llm") or {}]
    job = definition.get("config") or {}
    parts += [job, job.get("llm") or {}]
    for part in parts:
        for key in ("model_id", "model"):
            if isinstance(part.get(key), str):
                yield part[key].strip()
        fallbacks = part.get(FALLBACKS) or ()
        yield from (str(each).strip() for each in ([fallbacks] if isinstance(fallbacks, str) else fallbacks))
