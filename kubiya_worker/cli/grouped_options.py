"""This module hands options that belong together to a command as one value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any


def grouped(
    name: str, group: type[Any], *options: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `options` to a command, which gets a `group` as its parameter `name` in place of their values.

    `group` is a dataclass. Its fields have the names of the options.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gather(*args: Any, **values: Any) -> Any:
            own = {field.name: values.pop(field.name) for field in fields(group)}
            return command(*args, **values, **{name: group(**own)})

        decorated: Callable[..., Any] = gather
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
