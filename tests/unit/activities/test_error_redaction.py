"""Secrets are redacted in the messages of an activity's failure and of its causes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

from kubiya_worker.activities.error_redaction import scrubbed
from kubiya_worker.tools.redaction import Redactor
from tests.unit.tools.leaks import filled

KEY = "sk-can/4ry+K3y=q"
REDACTOR = Redactor([KEY])


def raised(error: Exception, cause: BaseException | None = None) -> Exception:
    """Return the error as it looks after an activity has raised it."""
    try:
        raise error from cause
    except Exception as caught:
        return caught


def kept(error: Exception) -> bytes:
    failure = Failure()
    DefaultFailureConverter().to_failure(error, PayloadConverter.default, failure)
    return failure.SerializeToString()


@pytest.mark.parametrize("form", ["{{plain}}", "{{base64_1}}", "{{url}}", "{{python_twice}}"])
def test_a_failure_loses_secrets_in_its_message_and_its_causes(form: str) -> None:
    text = filled(f"refused: {form}", KEY)
    for error in (
        raised(ValueError(text)),
        raised(RuntimeError("x"), cause=KeyError(text)),
        raised(RuntimeError("x"), cause=raised(KeyError("y"), cause=ApplicationError(text))),
    ):
        assert filled(form, KEY)[2:-4].encode() in kept(error)  # or this test shows nothing
        with pytest.raises(ApplicationError) as caught:
            raise scrubbed(error, REDACTOR) from None
        assert filled(form, KEY)[2:-4].encode() not in kept(caught.value)
        assert caught.value.type == type(error).__name__


def test_what_temporal_does_with_a_failure_stays() -> None:
    error = ApplicationError(f"no: {KEY}", type="rate", non_retryable=True, next_retry_delay=timedelta(seconds=3))
    clean = scrubbed(error, REDACTOR)
    assert isinstance(clean, ApplicationError)
    assert (clean.message, clean.type, clean.non_retryable) == ("no: [redacted]", "rate", True)
    assert clean.next_retry_delay == timedelta(seconds=3)


def test_a_failure_without_secrets_is_the_same_with_its_causes() -> None:
    error = raised(RuntimeError("x"), cause=KeyError("y"))
    assert scrubbed(error, REDACTOR) is error
