"""The worker's redaction knows the secrets of its environment and of the running execution."""

from __future__ import annotations

import contextvars
from pathlib import Path

from kubiya_worker.process.redaction import ProcessRedactor, secrets_in
from kubiya_worker.tools.redaction import AT_WORK, Redactor


def test_what_is_learned_later_is_hidden_too_in_every_form() -> None:
    hide = ProcessRedactor(["first-secret"])
    hide.add(["", "second/secret"])
    assert hide("first-secret second/secret second%2Fsecret") == "[redacted] [redacted] [redacted]"
    assert hide.secrets == ("first-secret", "second/secret")


def test_the_secrets_of_the_execution_at_work_are_hidden_where_it_is() -> None:
    hide = ProcessRedactor(["first-secret"])

    def at_work() -> str:
        AT_WORK.set(Redactor(["tool-secret"]))
        return hide("first-secret tool-secret")

    assert contextvars.copy_context().run(at_work) == "[redacted] [redacted]"
    assert hide("tool-secret") == "tool-secret"


def test_variables_with_the_name_of_a_secret_are_secrets_and_paths_are_not(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    environ = {"ANTHROPIC_API_KEY": "one-secret", "TLS_KEY": str(key), "KUBIYA_API_KEY_FILE": "/x", "HOME": "/root"}
    assert secrets_in(environ) == {"one-secret"}
