"""The table in its other forms: schema, example file, reference page."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from kubiya_worker.settings import describe, origins
from kubiya_worker.settings.table import OPTIONS

ROOT = Path(__file__).parents[3]


def test_the_schema_has_every_key_of_the_file_and_no_other() -> None:
    def keys(node: dict[str, object], prefix: str = "") -> set[str]:
        found: set[str] = set()
        properties = node["properties"]
        assert isinstance(properties, dict)
        for name, child in properties.items():
            found |= keys(child, f"{prefix}{name}.") if "properties" in child else {f"{prefix}{name}"}
        return found

    assert keys(describe.json_schema()) == {o.key for o in OPTIONS if o.key}


def test_the_example_file_is_valid_as_it_is_and_with_its_comments_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "worker-config.yaml"
    path.write_text(describe.example())
    assert {o.source for o in origins({}, {}, str(path))} == {"default"}
    head, _, rest = describe.example().partition("work.\n")
    assert head.startswith("# Kubiya Worker")
    path.write_text(_uncommented(rest))
    found = [o for o in origins({}, {"KUBIYA_API_KEY": "kby_x"}, str(path)) if o.source.startswith(str(path))]
    assert {o.option.key for o in found} == {o.key for o in OPTIONS if o.key and o.default is not None}
    assert all(o.value == o.option.default for o in found)


def test_the_example_file_is_what_the_schema_allows(tmp_path: Path) -> None:
    """An editor must not underline what `kubiya config init` has just written."""
    schema = describe.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(describe.example()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"control_plane": {"ulr": "x"}}, schema)


def _uncommented(text: str) -> str:
    return "\n".join(re.sub(r"^( *)# ", r"\1", line) for line in text.splitlines())


def test_the_reference_page_is_current() -> None:
    """Regenerate with scripts/docs."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert describe.reference() in page
