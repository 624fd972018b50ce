"""Each field of a definition says what it is for, and nothing is said of a field that is not there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from kubiya_worker.protocol.execution import Budgets
from kubiya_worker.server import definition_reference, edges
from kubiya_worker.server.definition_fields import DefinitionField, kinds_of
from kubiya_worker.server.edges.base import Strict, fields_of
from kubiya_worker.server.edges.field_help import HELP, help_of

LONGEST = 280  # characters; a form has it below each field


def every(field: DefinitionField, path: str) -> list[tuple[str, DefinitionField]]:
    inside = [(f"{path}.{each.name}", each) for each in field.fields]
    return [*inside, *(found for name, each in inside for found in every(each, name))]


def test_each_field_says_what_it_is_for() -> None:
    found = [pair for kind in kinds_of(definition_reference.schema()) for pair in every(kind, kind.name)]
    assert len(found) > 250
    bad = [path for path, field in found if not field.about.endswith(".") or len(field.about) > LONGEST]
    assert not bad
    assert ("Agent.configuration.budgets.max_steps", "Model calls (250).") in {(p, f.about) for p, f in found}
    assert {p for p, f in found if f.required} >= {"Hook.proof.secret", "Notification.channel.type", "Model.model"}


def test_nothing_is_said_of_a_field_that_is_not_there() -> None:
    models: dict[str, set[str]] = {"Budgets": set(Budgets.__dataclass_fields__)}
    for module in pkgutil.iter_modules(edges.__path__):
        loaded = importlib.import_module(f"{edges.__name__}.{module.name}")
        for _, model in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(model, Strict):
                taken = {name for name, refused in fields_of(model).items() if refused is None}
                models[model.__name__] = models.get(model.__name__, set()) | taken
    assert {name: set(texts) - models[name] for name, texts in HELP.items() if set(texts) - models[name]} == {}


def test_the_nearest_class_has_the_word() -> None:
    assert help_of("TeamConfiguration", "Configuration")["instructions"].startswith("The leader's prompt")
    assert help_of("Configuration")["instructions"].startswith("The system prompt")
    assert list(help_of("JobSpec", "JobPatch"))[:3] == ["agent", "team", "trigger_type"]
