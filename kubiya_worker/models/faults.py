"""This module turns reports of providers, and what else goes wrong in a model call, into ModelError.

A report is classified by its status, codes, types and fields, and by its words only when these are not enough. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubiya_worker.models import base, fault_kinds, leaked_keys, model_settings, remedies, retry_after, window_overflow
from kubiya_worker.models.base import FEW, MANY, ModelError
from kubiya_worker.models.provider_report import ProviderReport
from kubiya_worker.models.wire import embedded_errors, finish_reasons

LONGEST_MESSAGE: Final = 300  # characters of a provider's message that are shown to a person

_SHOWN_FIELDS: Final = 2  # of a value that pydantic refuses
_WINDOW: Final = "model_context_window_exceeded"  # Anthropic's reason for an answer that the end of the window cut

_NO_TOOLS: Final = re.compile(
    r"(?:\bnot|n't) support (?:tools?|function)\b(?! choice)|\btool choice requires\b|\btools? (?:use|calls?|calling)"
    r" (?:is|are) not (?:supported|enabled)"
)
_TOO_LONG_REMEDY: Final = "Shorten the conversation or choose a model with a larger context window"
_LET_IN: Final = {
    fault_kinds.REGION: "The provider does not serve the worker's region: use another endpoint or model",
    fault_kinds.ADDRESS: "Have the worker's network address put on the provider's allow-list, or use another endpoint",
    fault_kinds.MODEL: "Let the key use this model, or give the agent a model that it may use",
    fault_kinds.RIGHTS: "Do what the words ask for at the provider, or use another endpoint, key or model",
    fault_kinds.PROXY: "The proxy before the endpoint asks for a user and password: put them into HTTPS_PROXY",
}


class Moved(Exception):
    """The endpoint answered with a redirect, which the client does not follow."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"{status} to {location}")
        self.status, self.location = status, location


class NoStream(Exception):
    """The endpoint answered 200 with a web page or with JSON instead of a stream."""

    def __init__(self, body: str, headers: Mapping[str, str]) -> None:
        super().__init__("no stream")
        self.report = ProviderReport(None, body, headers, in_stream=True)


class StreamError(Exception):
    """An error came inside of an answer that had begun with status 200."""

    def __init__(self, report: ProviderReport) -> None:
        super().__init__("error in the stream")
        self.report = report

    @classmethod
    def of(cls, body: Any, headers: Mapping[str, str]) -> StreamError:
        """Return the error that an event holds, under the status that the same error has in a failed answer."""
        return cls(ProviderReport(embedded_errors.status_of(body), body, headers, in_stream=True))


class Stopped(Exception):
    """The answer ended with a reason for which it cannot be used, and with words that explain it."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(reason)
        self.reason, self.words = reason, words


def reported(
    report: ProviderReport, place: str, secrets: Iterable[str] = (), kind_of_client: str | None = None
) -> ModelError:
    """Return the ModelError for a provider's report; `kind_of_client` is the kind that the client's exception names."""
    status, words = report.status, clean(report.summary, secrets)
    answered = f"answered {status}" if status and not report.in_stream else "failed"
    happened = f"The model endpoint {place} {answered}: {words}"
    wait = retry_after.wait_of(report)
    kind = kind_of_client or fault_kinds.kind_of(report, wait)

    def error(kind: str, remedy: str, message: str = happened, **more: Any) -> ModelError:
        return ModelError(message, kind=kind, status=status, remedy=remedy, **more)

    if kind == base.MOVED:
        return moved(Moved(status or 0, report.headers.get("location", "")), place, secrets)
    if kind == base.CONTEXT_OVERFLOW:
        return error(kind, _TOO_LONG_REMEDY, window=window_overflow.window_of(report))
    if kind == base.QUOTA:
        told = f" ({answered})" if answered != "failed" else ""
        used_up = f"The account or budget behind {place} is used up{told}: {words}"
        return error(kind, "Raise the account's quota, credit or budget, or use another key", used_up)
    if kind == base.AUTH:
        return _auth(report, place, words)
    if kind == base.REFUSED:
        return error(kind, "Reword the task, or give the agent another model")
    if kind == base.UNKNOWN_MODEL:
        return error(kind, "Check the agent's model id and the endpoint's address")
    if kind in (base.RATE_LIMITED, base.UNAVAILABLE):
        if wait is not None and wait > fault_kinds.LONGEST_WAIT:
            asks = f"The model endpoint {place} {answered} and asks to wait {_duration(wait)}, so it is not tried again"
            remedy = "Start it again then, raise the account's quota, or use another key or model"
            return error(kind, remedy, f"{asks}: {words}")
        unclear = status == 500 and not report.page and not fault_kinds.away(report)
        return error(kind, "", retryable=True, retry_after=wait, unclear=unclear)
    if kind == base.BAD_ANSWER:
        return error(kind, "Try again; if it stays, check the endpoint and the model that it serves", retryable=True)
    if report.page or status in (404, 405):
        return error(base.BAD_REQUEST, f"{remedies.address(place)} and the agent's model id")
    if _NO_TOOLS.search(report.text):
        return error(base.BAD_REQUEST, "Give the agent a model that can call tools, or turn them on at the server")
    unclear = status in (400, 413, 422, None)
    setting = next((name for name in sorted(report.params) if name in model_settings.NAMES), "")
    what = f"Change `{setting}` in the agent's model_config, or leave it out" if setting else ""
    return error(base.BAD_REQUEST, what or "Check the agent's model and model_config", unclear=unclear)


def _auth(report: ProviderReport, place: str, words: str) -> ModelError:
    """Return the error for 401 and 403; their reason may not be the key, so the server's code and words are shown."""
    status = report.status
    code = f" ({report.code})" if report.code and report.code not in words.lower() else ""
    answered = f"answered {status}" if status else "failed"
    happened = f"The model endpoint {place} {answered}: {words}{code}"
    reason = fault_kinds.why_not_let_in(report)
    if reason == fault_kinds.KEY:
        happened = f"The model endpoint {place} refused the key{f' ({status})' if status else ''}: {words}{code}"
    remedy = remedies.key(place) if reason == fault_kinds.KEY else _LET_IN.get(reason, "")
    if reason == fault_kinds.PAGE:
        remedy = f"Something before the endpoint refuses the worker, as a proxy or a sign-in. {remedies.address(place)}"
    return ModelError(happened, kind=base.AUTH, status=status, remedy=remedy)


def moved(error: Moved, place: str, secrets: Iterable[str] = ()) -> ModelError:
    """Return the error of an endpoint that answers with a redirect."""
    to = clean(error.location.partition("?")[0], secrets)
    return ModelError(
        f"The model endpoint {place} answered {error.status}: its address has moved{f' to {to}' if to else ''}",
        kind=base.MOVED,
        status=error.status,
        remedy=f"Set {remedies.variables_of_address(place)} to the endpoint's own address",
    )


def no_stream(report: ProviderReport, place: str, secrets: Iterable[str] = ()) -> ModelError:
    """Return the error of an answer with status 200 that is no stream: the error that it holds, or what it is."""
    body = report.parsed
    if not body:
        return ModelError(
            f"The answer of {place} is empty: nothing came",
            kind=base.BAD_ANSWER,
            retryable=True,
            remedy=f"Try again; if it stays, {_lower(remedies.address(place))}",
        )
    wrong = None if report.page else embedded_errors.error_in(body)
    if wrong is not None:
        status = embedded_errors.status_of(wrong)
        fault = reported(ProviderReport(status, wrong, report.headers, in_stream=True), place, secrets)
        if status is not None or fault.kind != base.BAD_REQUEST:
            return fault
    return ModelError(
        f"The answer of {place} is no stream of a model's answer: {clean(report.summary, secrets)}",
        kind=base.BAD_ANSWER,
        retryable=True,
        remedy=remedies.address(place),
    )


def unreadable(error: Exception, place: str, secrets: Iterable[str] = ()) -> ModelError:
    """Return the error of an answer that the provider's package cannot read, as it holds what nobody expects."""
    return ModelError(
        f"The answer of {place} cannot be read ({_name_of(error, secrets)})",
        kind=base.BAD_ANSWER,
        retryable=True,
        remedy="Try again; if it stays, update the worker's packages or give the agent another model",
    )


def unusable(place: str, words: str, secrets: Iterable[str] = ()) -> ModelError:
    """Return the error of an answer that holds what fits nowhere; `words` say what."""
    return ModelError(
        f"The answer of {place} holds {clean(words, secrets)}",
        kind=base.BAD_ANSWER,
        retryable=True,
        remedy="Try again; if it stays, give the agent another model",
    )


def unsendable(error: Exception, place: str, secrets: Iterable[str] = ()) -> ModelError:
    """Return the error of a request that the provider's package refuses to make; the same one fails again."""
    return ModelError(
        f"The request to {place} cannot be made ({_name_of(error, secrets)})",
        kind=base.BAD_REQUEST,
        remedy="Check the agent's model and model_config, and the schemas of its tools",
    )


def _name_of(error: Exception, secrets: Iterable[str]) -> str:
    wrong = getattr(error, "errors", None)
    if callable(wrong):  # pydantic's list: its text repeats the input, and ends with an address
        words = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong()[:_SHOWN_FIELDS])
    else:
        words = str(error)
    words = clean(words, secrets)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def silence(place: str, seconds: float) -> ModelError:
    return ModelError(
        f"The model endpoint {place} sent nothing for {seconds:g} s",
        kind=base.SILENT,
        retryable=True,
        remedy="Try again, or raise the idle timeout for models that think longer",
    )


def unreachable(place: str, words: str, secrets: Iterable[str] = ()) -> ModelError:
    """Return the error of a request that got no answer; `words` say why."""
    return ModelError(
        f"The model endpoint {place} cannot be reached: {clean(words, secrets)}",
        kind=base.UNAVAILABLE,
        retryable=True,
        remedy=f"Check that it runs and that its address ({remedies.variables_of_address(place)}) is right",
    )


def broke_off(place: str, words: str, secrets: Iterable[str] = (), *, tries: int = MANY) -> ModelError:
    """Return the error of an answer whose connection ended before the answer did."""
    return ModelError(
        f"The answer of {place} broke off: {clean(words, secrets)}",
        kind=base.CUT_STREAM,
        tries=tries,
        remedy="Try again",
    )


def unfinished(place: str) -> ModelError:
    return ModelError(
        f"The answer of {place} ended before the model said why it stopped",
        kind=base.CUT_STREAM,
        tries=FEW,
        remedy="Try again",
    )


def of_answer(finish: str, details: Mapping[str, Any], place: str, secrets: Iterable[str] = ()) -> ModelError | None:
    """Return why a complete answer is unusable (refused, cut by the end of the window, malformed), or None.

    `finish` is the finish reason in our words, `details` the provider's other fields.
    """
    provider_reason = str(details.get("finish_reason") or details.get("block_reason") or finish)
    reason = details.get("refusal") or details.get("block_reason_message")
    kind = finish_reasons.kind_of(provider_reason)
    if base.CONTENT_FILTER in (finish, kind) or details.get("refusal"):
        named = "" if reason and kind in (base.STOP, base.TOOL_CALLS) else provider_reason
        return ModelError(
            f"The model at {place} refused to answer{_because(named, reason, secrets)}",
            kind=base.REFUSED,
            remedy="Reword the task, or give the agent another model",
        )
    if provider_reason == _WINDOW:
        return ModelError(
            f"The answer of {place} was cut at the end of the model's context window",
            kind=base.CONTEXT_OVERFLOW,
            remedy=_TOO_LONG_REMEDY,
        )
    if kind == finish_reasons.GIVEN_UP:
        return ModelError(
            f"The server at {place} gave up its answer ({provider_reason})",
            kind=base.UNAVAILABLE,
            retryable=True,
            remedy="Try again",
        )
    if finish == "error" or kind == finish_reasons.ERROR:
        return ModelError(
            f"The answer of {place} cannot be used{_because(provider_reason, reason, secrets)}",
            kind=base.BAD_ANSWER,
            retryable=True,
            remedy="Try again, or give the agent another model",
        )
    return None


def _because(named: str, words: Any, secrets: Iterable[str]) -> str:
    """Return the end of a sentence: the provider's reason in brackets, and its words."""
    explained = clean(str(words), secrets) if words else ""
    return (f" ({named})" if named else "") + (f": {explained}" if explained else "")


def overtime(place: str, seconds: float) -> ModelError:
    return ModelError(
        f"The model at {place} was not done after {seconds:g} s",
        kind=base.UNAVAILABLE,
        retryable=True,
        remedy="Raise `timeout` in the agent's model_config",
    )


def clean(text: str, secrets: Iterable[str]) -> str:
    """Return a provider's words on one short line, without keys, half characters or control characters."""
    text = leaked_keys.masked(text, secrets).encode("utf-8", "replace").decode()
    text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.split()).rstrip(". ")
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "…"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)
