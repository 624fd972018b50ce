"""Budgets of an execution: a pure verdict on what was used."""

from __future__ import annotations

from kubiya_worker.protocol.execution import Budgets, Usage


def exceeded(budgets: Budgets, *, steps: int, usage: Usage, seconds: float) -> str | None:
    """Why no further model call may be made, in words for the person; None when it may.

    `steps` are model calls made so far, `seconds` the time spent working (waiting for people excluded).
    """
    if budgets.max_steps is not None and steps >= budgets.max_steps:
        return (
            f"The budget of {budgets.max_steps} model calls is used up. Raise budgets.max_steps of the agent to go on."
        )
    if budgets.max_tokens is not None and usage.total_tokens >= budgets.max_tokens:
        return (
            f"The budget of {budgets.max_tokens} tokens is used up ({usage.total_tokens} used). "
            "Raise budgets.max_tokens of the agent to go on."
        )
    if budgets.max_seconds is not None and seconds >= budgets.max_seconds:
        return f"The budget of {budgets.max_seconds:g} s is used up. Raise budgets.max_seconds of the agent to go on."
    return None
