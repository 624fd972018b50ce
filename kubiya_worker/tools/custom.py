"""Tools out of extensions, and the skill `custom` that names them.

    from kubiya_worker.extensions import tool

    @tool
    def open_ticket(title: str, urgent: bool = False) -> str:
        \"\"\"Open a ticket and return its number.\"\"\"

Every agent of the worker is offered such a tool; with `@tool(by_skill=True)` only those that have a `custom` skill for
it. A class that is decorated is offered by skill only: it gets the skill's `custom_config`, and is a `tools.base.Tool`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import EFFECTS, RISKS, ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.isolation import error_text
from kubiya_worker.tools.skill_configuration import Skill
from kubiya_worker.tools.text import cut

TYPES: Final = ("custom",)
KEYS: Final = {
    "custom_class": "The registered tool or class of one of the worker's extensions (every tool that is registered)",
    "custom_config": "An object for the class; a function takes none (none)",
}
F = TypeVar("F", bound=Callable[..., Any])
_JSON: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    dict: {"type": "object"},
    list: {"type": "array"},
    Any: {},
    inspect.Parameter.empty: {},
}

_functions: dict[str, tuple[FunctionTool, bool]] = {}  # name -> (tool, whether only by skill)
_classes: dict[str, Callable[..., Any]] = {}


@overload
def tool(function: F) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    risk: str = "medium",
    idempotent: bool = False,
    timeout: float = 60.0,
    taints: bool = True,
    effects: tuple[str, ...] = EFFECTS,
    by_skill: bool = False,
) -> Callable[[F], F]: ...
def tool(function: F | None = None, **options: Any) -> F | Callable[[F], F]:
    """Register a function (sync or async), an activity, or a class as a tool.

    Its docstring is what the model reads about it. Without options the strictest values hold: its result taints, and it
    can write, execute and send.
    """

    def register(function: F) -> F:
        if inspect.isclass(function):
            _classes[function.__name__] = function
            return function
        by_skill = options.pop("by_skill", False)
        registered = FunctionTool(spec_of(function, **options), function)
        if registered.spec.name in _functions:
            raise ValueError(f"there are two tools with the name {registered.spec.name}")
        _functions[registered.spec.name] = (registered, by_skill)
        return function

    return register if function is None else register(function)


def spec_of(function: Callable[..., Any], name: str | None = None, risk: str = "medium", **options: Any) -> ToolSpec:
    """Return the spec from a function's name, docstring and annotations.

    Raise ValueError if a model could not call it.
    """
    if risk not in RISKS:
        raise ValueError(f"risk {risk!r} is none of {', '.join(RISKS)}")
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(f"{function.__name__}: the parameter {parameter.name} cannot be given by name")
        if hints.get(parameter.name) is ToolContext:
            continue
        properties[parameter.name] = schema_of(hints.get(parameter.name, parameter.empty))
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    return ToolSpec(
        name=name or function.__name__,
        description=inspect.getdoc(function) or function.__name__.replace("_", " "),
        parameters={
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        },
        risk=risk,
        source="custom",
        **{"taints": True, "effects": EFFECTS, **options},
    )


def schema_of(hint: Any) -> dict[str, Any]:
    if hint in _JSON:
        return dict(_JSON[hint])
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0])}
    if origin is dict:
        return {"type": "object"}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType) and len(inner) == 2 and type(None) in inner:
        schema = schema_of(next(one for one in inner if one is not type(None)))
        return {**schema, "type": [schema["type"], "null"]} if "type" in schema else {}
    raise ValueError(f"the type {hint} of a parameter has no JSON form; use str, int, float, bool, list, dict, Literal")


@dataclass(frozen=True)
class FunctionTool:
    """A function as a tool: a text result is shown unchanged, others as JSON; an exception becomes the call's error."""

    spec: ToolSpec
    function: Callable[..., Any]

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        hints = typing.get_type_hints(self.function)
        values = {**arguments, **{name: context for name, hint in hints.items() if hint is ToolContext}}
        try:
            if inspect.iscoroutinefunction(self.function):
                value = await self.function(**values)
            else:
                value = await asyncio.to_thread(_called, self.function, values)
        except Exception as error:
            text = error_text(error)
            return ToolResult(text, error=cut(text, 300))
        if isinstance(value, ToolResult):
            return value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        left_out = max(len(text) - context.keep_limit, 0)
        return ToolResult(text[: context.keep_limit] + (f"\n… {left_out} characters left out …" if left_out else ""))


def _called(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call the function in a thread, and replace StopIteration: with it the future of the call would never be done."""
    try:
        return function(**values)
    except StopIteration as error:
        raise RuntimeError(f"it raised {error_text(error)}") from None


def offered() -> list[Tool]:
    """Return the tools that every agent of this worker may use."""
    return [tool for tool, by_skill in _functions.values() if not by_skill]


def build(skill: Skill, workspace: Path) -> list[Tool]:
    """Return the tools that the skill names, without those that each agent has anyway."""
    class_name, config = skill.text("custom_class"), skill.configuration.get("custom_config")
    if config is not None and not isinstance(config, Mapping):
        raise skill.wrong("custom_config", "an object")
    if class_name in _classes:
        try:
            tool: Tool = _classes[class_name](config or {})
            return [tool]
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"skill {skill.name!r} (custom): {class_name} refuses its settings: {error}",
                remedy="Correct `custom_config` of the skill",
            ) from error
    if config:
        raise skill.wrong("custom_config", "absent unless `custom_class` is a class")
    if class_name and class_name not in _functions:
        known = ", ".join([*_functions, *_classes]) or "none"
        raise ConfigurationError(
            f"skill {skill.name!r} (custom): `custom_class` {class_name!r} is not registered on this worker",
            remedy=f"Registered: {known}. Add it to the worker's extensions (docs/skills.md)",
        )
    return [tool for name, (tool, by_skill) in _functions.items() if by_skill and class_name in ("", name)]
