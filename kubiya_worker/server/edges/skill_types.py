"""This module has the types of skills that a worker knows, with what each is for: for forms, editors and references.

Another type is stored too: a worker of a later version, or the published one, may know it. The names are those of
`kubiya_worker/tools`, which the control plane does not import; a test compares the two.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

from kubiya_worker.server.edges.base import Filled

KNOWN: Final = {
    "shell": "Programs of the worker's host, alone or as a pipe, without a shell.",
    "file_system": "Lists, reads, searches, saves and changes files below one folder.",
    "file_generation": "Files of a known form (JSON, CSV, text, PDF) from the model's data, below one folder.",
    "docker": "Containers, images, volumes and networks of a Docker engine.",
    "python": "A Python program of the model's own, in an interpreter of its own.",
    "http": "Fetches from the web servers that the configuration names, and from no others.",
    "ssh": "Programs of other hosts, many hosts at once, with a result for each.",
    "agent_skills": "Folders of the Agent Skills standard, read when the model asks for them.",
    "agent_communication": "Asks other agents and teams of the organization.",
    "ask_person": "Asks a person a question; the answer is the call's result.",
    "data_visualization": "Diagrams as Mermaid text, checked before they are shown.",
    "sleep": "Waits, for an agent that looks again later.",
    "custom": "Tools of the worker's extensions, by their names.",
}
_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        *({"const": name, "description": about} for name, about in KNOWN.items()),
        {"type": "string", "minLength": 1},
    ]
}

SkillType = Annotated[Filled, WithJsonSchema(_SCHEMA)]
TypeOfNamed = Annotated[str, WithJsonSchema(_SCHEMA)]  # empty where a skill's name says it
