"""This module turns the exceptions of pydantic-ai and of the providers' packages into ModelError. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from pydantic_ai import exceptions as pai

from kubiya_worker.models import base, faults, remedies
from kubiya_worker.models.base import FEW, ModelError
from kubiya_worker.models.faults import Moved, NoStream, Stopped, StreamError
from kubiya_worker.models.provider_report import ProviderReport
from kubiya_worker.models.wire.native_blocks import Unreadable

# Errors of boto3 and google-auth, which look for credentials at the first call. By name, since they may not be
# installed.
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}
)


def fault(error: Exception, place: str, *, streaming: bool, secrets: Iterable[str] = ()) -> ModelError | None:
    """Return the ModelError for a client's exception; None when the exception is a bug of ours.

    `streaming` says whether the answer had begun. No part of `secrets` appears in the message.
    """
    secrets = list(secrets)
    for cause in _causes(error):
        if isinstance(cause, Moved):
            return faults.moved(cause, place, secrets)
        if isinstance(cause, NoStream):
            return faults.no_stream(cause.report, place, secrets)
        if isinstance(cause, StreamError):
            return faults.reported(cause.report, place, secrets)
        if isinstance(cause, Stopped):
            details = {"finish_reason": cause.reason, "block_reason_message": cause.words}
            return faults.of_answer("", details, place, secrets)
        if isinstance(cause, Unreadable):
            return faults.unusable(place, str(cause), secrets)
    if isinstance(error, pai.ModelAPIError) and not isinstance(error, pai.ModelConnectionError):
        report = _report_of(error)
        if report.status is not None or report.codes or report.body is not None or _kind_of_client(error):
            return faults.reported(report, place, secrets, kind_of_client=_kind_of_client(error))
    words = faults.clean(_words(error), secrets)
    if isinstance(error, pai.ModelConnectionError):
        return faults.broke_off(place, words) if streaming else faults.unreachable(place, words)
    if isinstance(error, (pai.ModelAPIError, pai.UnexpectedModelBehavior)):
        fault = faults.broke_off(place, words, tries=FEW)
        if not streaming:
            fault.remedy = "Try again; if it stays, check the endpoint's address"
        return fault
    if type(error).__name__ in _NO_CREDENTIALS:
        return ModelError(f"There is no valid key for {place}", kind=base.AUTH, remedy=remedies.key(place))
    if isinstance(error, pai.UserError):
        return ModelError(
            f"The model endpoint {place} failed: {words}",
            kind=base.BAD_REQUEST,
            remedy="Check the agent's model and its settings",
        )
    return None


def _kind_of_client(error: pai.ModelAPIError) -> str | None:
    """Return the kind if pydantic-ai knows the provider's codes better; None leaves the decision to the report."""
    if isinstance(error, pai.ModelContextWindowExceededError):
        return base.CONTEXT_OVERFLOW
    if isinstance(error, pai.ModelQuotaExceededError):
        return base.QUOTA
    return None


def _report_of(error: pai.ModelAPIError) -> ProviderReport:
    """Return the report that a client's exception stands for, with the raw body if the client still has it."""
    status = error.status_code if isinstance(error, pai.ModelHTTPError) else None
    headers = (error.headers if isinstance(error, pai.ModelHTTPError) else None) or {}
    body = error.body
    if not error.in_stream:
        for cause in _causes(error):
            response = getattr(cause, "response", None)
            with contextlib.suppress(Exception):  # each SDK raises its own error for a body that was not read
                if response is not None and isinstance(response.text, str):
                    body = response.text or body
                    break
    if isinstance(body, str) and not body.strip():
        body = None
    words = "" if isinstance(error, pai.ModelHTTPError) else _words(error)
    codes = {"code": error.provider_error_code, "type": error.provider_error_type}
    if not isinstance(body, (dict, list, str)) and any(codes.values()):
        body = {**codes, "message": words} if words else codes
    return ProviderReport(status, body, headers, words, in_stream=error.in_stream)


def _causes(error: BaseException) -> Iterable[BaseException]:
    """Yield an exception and all its causes, the latest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _words(error: Exception) -> str:
    """Return an exception's own message with those of its causes."""
    message = getattr(error, "message", "") or str(error)
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{message} ({cause})" if cause is not None and str(cause) and str(cause) not in message else message
