"""A skill that this worker cannot offer is told to the model and to people, or refuses the execution."""

from typing import Any

import pytest

from kubiya_worker.activities.begin import leave_out
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol import calls
from kubiya_worker.tools.toolset import MissingSkill

MISSING = [MissingSkill("chat", "slack", ConfigurationError("skill 'chat': the type is not here"))]


def left_out(**config: Any) -> tuple[str, list[str]]:
    context, notices = calls.Context(agent_id="a", agent_name="ops", system_prompt="You are ops."), list[str]()
    leave_out(MISSING, config, context, notices)
    return context.system_prompt, notices


def test_the_model_and_the_stream_are_told() -> None:
    prompt, notices = left_out()
    assert prompt.startswith("You are ops.\n\nSome skills of this agent are not available in this run.")
    assert notices == [MISSING[0].line()] and notices[0] in prompt


def test_an_agent_may_insist_on_its_skills() -> None:
    with pytest.raises(ConfigurationError, match="the type is not here"):
        left_out(on_unsupported_skill="fail")


def test_another_word_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="`on_unsupported_skill` is 'stop'"):
        left_out(on_unsupported_skill="stop")
