"""This module writes the transcript of an execution as Markdown. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubiya_worker.cli.moments import clock, took
from kubiya_worker.cli.render import duration
from kubiya_worker.cli.run_steps import APPROVAL, MODEL, PERSON, TOOL, RunStep
from kubiya_worker.cli.terminal import clean, one_line

_FENCES: Final = re.compile("`{3,}")


def plain(text: str) -> str:
    """Return a text for a terminal or a file, without control sequences and spaces around it."""
    return clean(text).strip()


def markdown(run: Mapping[str, Any], steps: Sequence[RunStep]) -> str:
    """Return the whole transcript: the facts, each step in its order, and the answer."""
    usage = run.get("usage") or {}
    facts = {
        "execution": run.get("id"),
        "status": run.get("status"),
        "queue": run.get("runner_name"),
        "asked by": (run.get("requested_by") or {}).get("name"),
        "asked": clock(run.get("created_at")),
        "ended": clock(run.get("completed_at")),
        "took": took(run),
        "tokens": f"{usage['total_tokens']:,}" if usage.get("total_tokens") else "",
        "cost": f"${usage['cost_usd']:.4f}" if usage.get("cost_usd") else "",
        "error": run.get("error_message"),
    }
    parts = [f"# {_words(str(run.get('entity_name') or 'Execution'))}"]
    parts.append("\n".join(f"- {name}: {_words(str(value), 500)}" for name, value in facts.items() if value))
    if not any(step.kind == PERSON for step in steps):
        parts.append(f"## Task\n\n{plain(str(run.get('prompt') or ''))}")
    parts += [_step(step) for step in steps]
    answer = plain(str(run.get("response") or ""))
    answers = [plain(step.output) for step in steps if step.kind == MODEL]
    if answer and answer not in answers[-1:]:
        parts.append(f"## Answer\n\n{answer}")
    return "\n\n".join(part for part in parts if part)


def _step(step: RunStep) -> str:
    """Return one step: a head, and what went in and came out."""
    name = f"{step.member}: {step.name}" if step.member else step.name
    facts = [clock(step.at), "" if step.seconds is None else duration(step.seconds)]
    facts += [f"{step.tokens:,} tokens" if step.tokens else "", f"${step.cost_usd:.4f}" if step.cost_usd else ""]
    small = f"*{' · '.join(fact for fact in facts if fact)}*" if any(facts) else ""
    if step.kind in (MODEL, PERSON):
        return _joined(f"## {_words(name)}", small, plain(step.output))
    if step.kind == TOOL:
        arguments = step.input if isinstance(step.input, str) else json.dumps(step.input, ensure_ascii=False, indent=1)
        output = fenced(step.output, "") if step.output else ""
        return _joined(
            f"### Tool {_words(name)}: {step.outcome or 'running'}", small, fenced(arguments, "json"), output
        )
    if step.kind == APPROVAL:
        by = f" by {_words(str(step.detail['by']))}" if step.detail.get("by") else ""
        why = f"> {_words(step.output, 1000)}" if step.output else ""
        return _joined(f"### Approval of {_words(name)}: {step.outcome or 'open'}{by}", small, why)
    return f"> {_words(step.kind)}: {_words(step.output, 1000)}"


def fenced(text: str, language: str) -> str:
    """Return a text as a block whose fence is longer than any in the text, so that it cannot end the block."""
    inner = clean(text).rstrip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in _FENCES.findall(inner)), default=2))
    return f"{fence}{language}\n{inner}\n{fence}"


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _words(text: str, most: int = 120) -> str:
    return one_line(text, most)
