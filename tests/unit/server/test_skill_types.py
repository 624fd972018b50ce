"""The types of skills that forms and editors offer are those that the worker knows."""

from __future__ import annotations

from kubiya_worker.server import definition_reference
from kubiya_worker.server.edges.skill_types import KNOWN
from kubiya_worker.tools.toolset import MODULES


def test_each_type_of_the_worker_is_offered_with_what_it_is_for() -> None:
    assert set(KNOWN) == {module.TYPES[0] for module in MODULES}
    schema = definition_reference.schema()
    (skill,) = (each["properties"]["spec"] for each in schema["oneOf"] if each["title"] == "Skill")
    for fields in (skill["properties"], schema["$defs"]["Skill"]["properties"]):
        offered = fields["type"]["anyOf"]
        assert {one["const"]: one["description"] for one in offered if "const" in one} == KNOWN
        assert {"type": "string", "minLength": 1} in offered  # a later worker may know more
