"""What went wrong in a model call, in our words: pydantic-ai's exceptions and HTTP statuses as ModelError. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_ai import exceptions as pai

from kubiya_worker.models import base
from kubiya_worker.models.base import ModelError

# How servers word it that do not send OpenAI's code `context_length_exceeded`.
_TOO_LONG: Final = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "contextwindowexceeded",
    "prompt is too long",
    "input is too long",
    "exceed context limit",
    "exceeds the maximum number of tokens",
)
_WINDOW: Final = "model_context_window_exceeded"  # Anthropic's reason for an answer that the window cut
_REFUSED: Final = ("content_filter", "content_policy_violation", "contentpolicyviolation")
_MESSAGES: Final = ("error", "message", "detail", "Error", "Message")  # where servers put it; the last two are AWS's
_RETRYABLE: Final = frozenset({408, 409, 425, 429})
# Of boto3 and google-auth, which look for credentials at the first call. By name, since they may not be installed.
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}
)
_LONGEST: Final = 300  # characters of a provider's message that a person gets to see

_TOO_LONG_REMEDY: Final = "Shorten the conversation or choose a model with a larger context window"


def fault(error: Exception, place: str, *, streaming: bool, secrets: Iterable[str] = ()) -> ModelError | None:
    """The ModelError for an exception out of pydantic-ai; None when it is none of its own (a bug of ours).

    `streaming` tells whether the answer had begun. `secrets` never appear in the message.
    """
    said = _clean(_words(error), secrets)
    if isinstance(error, pai.ModelHTTPError):
        return _of_status(error, place, said)
    if isinstance(error, pai.ModelContextWindowExceededError):
        return _error(place, said, base.CONTEXT_OVERFLOW, remedy=_TOO_LONG_REMEDY)
    if isinstance(error, pai.ModelQuotaExceededError):
        return _error(place, said, base.RATE_LIMITED, remedy="Raise the account's quota or use another key")
    if isinstance(error, pai.ModelRateLimitError):
        return _error(place, said, base.RATE_LIMITED, retryable=True, retry_after=error.retry_after)
    if isinstance(error, pai.ModelAuthenticationError):
        return _auth(place, None)
    if isinstance(error, pai.ModelRequestRejectedError):
        kind = base.REFUSED if _mentions(said, error.provider_error_code, _REFUSED) else base.BAD_REQUEST
        return _error(place, said, kind)
    if isinstance(error, (pai.ModelAPIError, pai.UnexpectedModelBehavior)):
        if streaming or not isinstance(error, pai.ModelConnectionError):
            return ModelError(
                f"The answer of {place} broke off: {said}",
                kind=base.CUT_STREAM,
                retryable=True,
                remedy="Try again" if streaming else "Try again; if it stays, check the endpoint's address",
            )
        return ModelError(
            f"The model endpoint {place} cannot be reached: {said}",
            kind=base.UNAVAILABLE,
            retryable=True,
            remedy="Check that it runs and that its address (LITELLM_API_BASE or OPENAI_BASE_URL) is right",
        )
    if type(error).__name__ in _NO_CREDENTIALS:
        return _auth(place, None)
    if isinstance(error, pai.UserError):
        return _error(place, said, base.BAD_REQUEST)
    return None


def silence(place: str, seconds: float) -> ModelError:
    return ModelError(
        f"The model endpoint {place} sent nothing for {seconds:g} s",
        kind=base.SILENT,
        retryable=True,
        remedy="Try again, or raise the idle timeout for models that think longer",
    )


def unfinished(place: str) -> ModelError:
    return ModelError(
        f"The answer of {place} ended before the model said why it stopped",
        kind=base.CUT_STREAM,
        retryable=True,
        remedy="Try again",
    )


def of_answer(finish: str, details: Mapping[str, Any], place: str, secrets: Iterable[str] = ()) -> ModelError | None:
    """Why a complete answer is none: refused, cut by the end of the context window, or unusable. None: it is one.

    `finish` is pydantic-ai's finish reason, `details` what the provider said beside it.
    """
    own = str(details.get("finish_reason") or details.get("block_reason") or finish)
    said = details.get("refusal") or details.get("block_reason_message")
    if finish == base.CONTENT_FILTER or details.get("refusal"):
        words = f": {_clean(str(said), secrets)}" if said else ""
        return ModelError(
            f"The model at {place} refused to answer ({own}){words}",
            kind=base.REFUSED,
            remedy="Reword the task, or give the agent another model",
        )
    if own == _WINDOW:
        return ModelError(
            f"The answer of {place} was cut at the end of the model's context window",
            kind=base.CONTEXT_OVERFLOW,
            remedy=_TOO_LONG_REMEDY,
        )
    if finish == "error":
        return ModelError(f"The answer of {place} cannot be used ({own})", kind=base.BAD_ANSWER, retryable=True)
    return None


def overtime(place: str, seconds: float) -> ModelError:
    return ModelError(
        f"The model at {place} was not done after {seconds:g} s",
        kind=base.UNAVAILABLE,
        retryable=True,
        remedy="Raise `timeout` in the agent's model_config",
    )


def _of_status(error: pai.ModelHTTPError, place: str, said: str) -> ModelError:
    status = error.status_code
    code = error.provider_error_code
    if status == 413 or isinstance(error, pai.ModelContextWindowExceededError) or _mentions(said, code, _TOO_LONG):
        return _error(place, said, base.CONTEXT_OVERFLOW, status=status, remedy=_TOO_LONG_REMEDY)
    if status in (401, 403) or isinstance(error, pai.ModelAuthenticationError):
        return _auth(place, status)
    if isinstance(error, pai.ModelQuotaExceededError):
        remedy = "Raise the account's quota or use another key"  # also a 429 at OpenAI, but waiting does not help
        return _error(place, said, base.RATE_LIMITED, status=status, remedy=remedy)
    if status == 429:
        return _error(place, said, base.RATE_LIMITED, status=status, retryable=True, retry_after=error.retry_after)
    if status >= 500 or status in _RETRYABLE:
        return _error(place, said, base.UNAVAILABLE, status=status, retryable=True, retry_after=error.retry_after)
    if _mentions(said, code, _REFUSED):
        return _error(place, said, base.REFUSED, status=status, remedy="Reword the task")
    if status == 404:
        remedy = "Check the agent's model id and the endpoint's address"
        return _error(place, said, base.BAD_REQUEST, status=status, remedy=remedy)
    return _error(place, said, base.BAD_REQUEST, status=status, remedy="Check the agent's model and model_config")


def _auth(place: str, status: int | None) -> ModelError:
    # What the provider says is left out: it likes to repeat parts of the key.
    return ModelError(
        f"The model endpoint {place} refused the key ({status})" if status else f"There is no valid key for {place}",
        kind=base.AUTH,
        status=status,
        remedy="Check LITELLM_API_KEY, or the provider's own key or credentials, in the worker's environment",
    )


def _error(
    place: str,
    said: str,
    kind: str,
    *,
    status: int | None = None,
    remedy: str = "",
    retryable: bool = False,
    retry_after: float | None = None,
) -> ModelError:
    answered = f"answered {status}" if status else "failed"
    return ModelError(
        f"The model endpoint {place} {answered}: {said}",
        kind=kind,
        status=status,
        remedy=remedy,
        retryable=retryable,
        retry_after=retry_after,
    )


def _mentions(said: str, code: str | None, phrases: Iterable[str]) -> bool:
    text = f"{said} {code or ''}".lower()
    return any(phrase in text for phrase in phrases)


def _words(error: Exception) -> str:
    """The provider's own message, out of whatever shape its body has."""
    body: Any = error.body if isinstance(error, pai.ModelHTTPError) else None
    for _ in range(2):  # {"error": {"message": ...}} comes with and without its wrapper
        if isinstance(body, dict):
            named = (body[key] for key in _MESSAGES if body.get(key))
            body = next(named, None if "Error" in body or "Message" in body else body)
    if isinstance(body, str) and body.strip():
        return body
    if isinstance(body, (dict, list)) and body:
        return str(body)
    if isinstance(error, pai.ModelHTTPError):
        return "no explanation"
    message = getattr(error, "message", "") or str(error)
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{message} ({cause})" if cause is not None and str(cause) and str(cause) not in message else message


def _clean(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join(text.split()).rstrip(". ")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
