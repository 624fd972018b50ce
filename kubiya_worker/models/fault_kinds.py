"""This module finds the kind of error in a provider's report: by codes, types, fields and status before words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from kubiya_worker.models import base, vendor_codes, window_overflow
from kubiya_worker.models.provider_report import ProviderReport

LONGEST_WAIT: Final = 3600.0  # seconds; a longer wait is an error that a person sees at once

# Reasons of a 401 or 403.
REGION: Final = "region"
ADDRESS: Final = "address"
MODEL: Final = "model"
PAGE: Final = "page"
KEY: Final = "key"
RIGHTS: Final = "rights"
PROXY: Final = "proxy"

_RETRYABLE: Final = frozenset({408, 409, 423, 425, 429, 498, 499})  # 498: Groq has no capacity just now
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# Codes and types, without their separators.
_QUOTA_CODE: Final = re.compile(
    r"(insufficient|exhausted|exceeded|outof|lacking|notenough|nomore)(current|user|account|team|token|key|org)?"
    r"(quota|balance|credits?|funds|budget|points)"
    r"|(quota|balance|credits?|budget"
    r"|(spend(ing)?|usage|hard|soft|set|credits?|plan|trial|freetier|weekly|monthly|daily)"
    r"limit)(has)?(been)?(exceeded|exhausted|reached|insufficient|notenough|toolow|depleted|empty|usedup|spent)|creditlimit|billing|paymentrequired"
    r"|arrear|accountoverdue|exceededcurrentquota|freetieronly|accountsuspended"
)
_REFUSED_CODE: Final = re.compile(
    r"content_?(filter|policy|moderation)|moderation|responsibleai|data_?inspection_?failed|safety|prompt_?blocked"
    r"|sensitive|guardrail|content_?blocked|policy_?violation|invalid_?prompt|^hooks_failed$"
)
_REGION_CODE: Final = re.compile(
    r"(country|region|territory|location).*(unsupported|restrict|block|notsupported|denied)"
    r"|unsupported.*(country|region|territory|location)"
)
_MODEL_CODE: Final = re.compile(
    r"model_?not_?found|unknown_?model|invalid_?model|model_?(is_)?not_?(exist|support)|"
    r"model_?does_?not_?exist|not_found_error|model_?unavailable|no_?such_?model|model_?decommissioned"
    r"|deployment_?not_?found|resource_?does_?not_?exist"
)
_ACCESS_CODE: Final = re.compile(
    r"model_?(access_?denied|terms_?required)|(model|project|team|key|user).*access_denied|model_not_allowed"
)
_AWAY_CODE: Final = re.compile(
    r"overload|unavailable|throttl|timeout|timed_?out|server_is_|service_?busy|engine_?busy|not_?ready|model_?loading"
    r"|insufficient_?system_?resource"
)
_BUSY_CODE: Final = re.compile(
    r"rate_?limit|too_?many_?requests|resource_?exhausted|throttl|requests_limit|tokens_limit"
)
_SERVER_CODE: Final = re.compile(
    r"^(server_error|internal_?(server_?)?error|internal|api_error|internalserverexception)$"
)
_BROKEN_KEY_CODE: Final = re.compile(
    r"invalid_?signature|signature_?does_?not_?match|invalid_?api_?key|authentication|unauthenticated|unauthorized|expired_?(token|key)|^auth_error$|token_not_found"
)

_PER_MINUTE: Final = re.compile(r"(per[ _-]?|/ ?)(second|sec|min(ute)?|hour)\b|perminute|persecond|perhour")
_THROTTLED_CODE: Final = re.compile(r"throttling\b")  # DashScope's: `Throttling.AllocationQuota` is a limit of tokens
_PER_DAY: Final = re.compile(
    r"(per[ _-]?|/ ?|\b(?:this|each|a) )(day|week|month|year)\b|per(day|week|month)|\b(daily|weekly|monthly|yearly)\b"
    r"|\b[tr]pd\b"
)
_PLAN_WORDS: Final = re.compile(  # for a status or a 429 that says nothing of the time
    r"(?:free|trial)[ -](?:tier|plan|trial|key)\b.{0,60}\blimit|trial (?:period )?(?:has |is )?(?:expired|ended|over)"
    r"|payment (?:method|instrument)"
)
_DAYS_REACHED: Final = re.compile(
    r"\b(?:daily|weekly|monthly)\b.{0,30}\blimits? (?:was |is |has been )?(?:reached|exceeded)"
)
_QUOTA_WORDS: Final = re.compile(
    r"credit (?:balance|limit)"
    r"|(?:in|not have |lacks? |without )sufficient[ _](?:account )?(?:balance|credit|fund|quota)"
    r"|exceeded your current quota|billing"
    r"|(?:out of|no|not enough|run out of|more|used all|exhausted)\b.{0,30}\bcredits?\b|used up (?:all )?your\b"
    r"|budget (?:has been |was |is )?exceed|exceeded\w*budget\b|remaining balance|payment.instrument"
    r"|out of .{0,20}quota|budget .{0,40}(?:spent|reached|used up|exhausted)|payments? (?:is |are )?overdue"
    r"|\bno (?:more )?(?:quota|balance|budget|funds) (?:left|remaining|available)"
    r"|over .{0,40}allowance|allowance .{0,20}(?:exceeded|reached|exhausted)"
    r"|subscription (?:has |is |was )?(?:expired|ended|inactive|cancell?ed|required)|no active subscription"
    r"|exceed\w* .{0,30}(?:budget|spending limit|spend limit|usage limit|monthly limit)|over budget|payment required"
    r"|\bcredits?\b.{0,60}\b(?:exhausted|depleted|used up)"
    r"|(?:balance|credits?|funds|quota|allowance) (?:is|are|has been) (?:too low|insufficient|not enough|not sufficient"
    r"|exhausted|depleted|used up|zero|empty|negative|exceeded)"
    r"|(?:(?:n't|not) have any|(?:have|has) no)(?: more)? credits?"
    r"|\bkey limit exceeded|account .{0,30}(?:suspended|overdue|arrear|in debt)|top[ -]?up your|recharge"
    r"|quota (?:has been |is |was )?"
    r"(?:exceeded|exhausted|used up|reached)|exceed\w* .{0,30}quota"
    r"|(?:usage|spend(?:ing)?) limits? .{0,20}(?:reached|exceed)|reached .{0,40}(?:usage|spend(?:ing)?) limits?\b"
    r"|余额不足|欠费|额度"
)
_REFUSED_WORDS: Final = re.compile(
    r"content[_ ]?(?:filter|policy)|contentpolicyviolation|flagged|moderation"
    r"|violat\w+ .{0,40}(?:policy|policies|terms|guidelines)|responsible ai|safety system"
    r"|敏感内容|不安全.{0,10}内容|content exists risk|content filtering|\bguardrail|safety guard"
    r"|not allowed by .{0,30}polic(?:y|ies)|inappropriate content|违规|审核未通过"
    r"|(?:content|prompt|input|output|request|response) (?:was |is |has been )?(?:blocked|rejected) (?:by|due to)\b"
)
_REGION_WORDS: Final = re.compile(
    r"(?:country|region|territory|location|jurisdiction).{0,60}(?:not (?:be )?(?:supported|available|allowed|served)"
    r"|unsupported|blocked|restricted)|(?:unsupported|restricted|blocked) (?:country|region|territory|location)"
    r"|not (?:supported|available) in your (?:country|region|territory|location)"
)
_ADDRESS_WORDS: Final = re.compile(
    r"\bip\b.{0,40}(?:not (?:allowed|authorized|whitelisted|permitted)|blocked|denied)|"
    r"(?:ip|network) ?(?:allow|white)-?list"
)
_ACCESS_WORDS: Final = re.compile(
    r"(?:not (?:allowed|authorized|permitted|entitled|enabled)"
    r"|(?:no|not have|n't have|lacks?|without|denied) .{0,20}(?:access|permission)"
    r"|access .{0,20}denied|can only access).{0,120}\bmodels?\b"
    r"|\bmodels?\b.{0,120}(?:not (?:allowed|authorized|permitted|enabled)|no access|access .{0,20}denied"
    r"|not have access)"
)
_TERMS_WORDS: Final = re.compile(  # what a person has to do at the provider before a model may be used
    r"use[ -]case (?:details|form)\b.{0,80}\bnot (?:been )?submitted"
    r"|(?:must|need to|please|have to|not(?: yet)?) (?:first )?(?:accept|agree to|accepted|agreed to)\b.{0,60}"
    r"\b(?:terms|licen[cs]e|agreement|conditions)"
)
_KEY_WORDS: Final = re.compile(
    r"\b(?:api[ _-]?)?keys?\b|\btokens?\b|credential|authenticat|unauthori[sz]ed|\blog ?in\b"
)
_DISABLED_WORDS: Final = re.compile(
    r"\b(?:organi[sz]ation|account|project|workspace|user) (?:has been |is |was )?"
    r"(?:disabled|deactivated|blocked|banned)"
)
_MODEL_WORDS: Final = re.compile(
    r"\b(?:models?|llms?)\b.{0,120}(?:(?:not|n't) (?:be )?(?:found|exist|available|supported|loaded|recognized)|unknown"
    r"|does not exist|doesn't exist|no longer|deprecated|decommissioned|is invalid)"
    r"|(?:unknown|no such|invalid|unsupported|not a valid|unrecognized) model|invalid model (?:name|id)"
    r"|\bmodels?\b.{0,80}(?:end of (?:its |their )?life|retired|sunset|removed|not in .{0,20}list)|\bno model named"
    r"|one of the available models|no endpoints found for \S+$|could not resolve .{0,40}\bmodel\b"
    r"|\bmodel identifier is invalid|\bno deployments? (?:found )?for\b"
)
_WRONG_KEY_WORDS: Final = re.compile(
    r"\bno api[ _-]?key|(?:incorrect|invalid|missing|expired|wrong) (?:api|access|bearer|authorization|authentication)"
    r"[ _-]?(?:key|token|header|credentials?)"
    r"|(?:api[ _-]?key|(?:access|bearer) token|authorization header) (?:is |was )?"
    r"(?:not valid|invalid|expired|missing|required|incorrect|wrong)"
    r"|authentication (?:failed|fails|error)|authentication required|\blogin fail"
)
_RESTING_WORDS: Final = re.compile(
    r"\bmodel\b.{0,40}(?:\bloading\b|warming up|unloaded|has crashed|not ready)|\bupstream\b.{0,20}timed? ?out"
)


def kind_of(report: ProviderReport, wait: float | None) -> str:
    """Return the kind of ModelError that a report stands for; `wait` is the seconds that it asks to wait."""
    status, text = report.status, report.text
    if status in _REDIRECTS:
        return base.MOVED
    if window_overflow.found_in(report):
        return base.CONTEXT_OVERFLOW
    if _used_up(report, wait):
        return base.QUOTA
    known = vendor_codes.kind_of(report)
    if known:
        return known
    codes = report.codes
    if _may_be_refused(report) and (_any(_REFUSED_CODE, codes) or _flagged(report) or _REFUSED_WORDS.search(text)):
        return base.REFUSED
    if status in (401, 403, 407, 451):
        if status == 403 and _any(_BUSY_CODE, codes):
            return base.RATE_LIMITED
        return base.AUTH
    if status == 429:
        return base.RATE_LIMITED
    if status is not None and (status >= 500 or status in _RETRYABLE):
        return base.UNAVAILABLE
    if status == 424:  # Bedrock's: the model failed at this request, which may be asked for again
        return base.BAD_ANSWER
    if _any(_BUSY_CODE, codes):
        return base.RATE_LIMITED
    if _any(_AWAY_CODE, codes) or (status is None and _any(_SERVER_CODE, codes)):
        return base.UNAVAILABLE
    if status in (400, None) and _RESTING_WORDS.search(text):
        return base.UNAVAILABLE
    if _any(_BROKEN_KEY_CODE, codes) or "api_key_invalid" in codes:
        return base.AUTH
    if status in (400, 422, None) and _WRONG_KEY_WORDS.search(text):
        return base.AUTH
    if _any(_REGION_CODE, codes) or _REGION_WORDS.search(text):
        return base.AUTH
    if _DISABLED_WORDS.search(text) or _TERMS_WORDS.search(text):
        return base.AUTH
    if not report.page and (
        _any(_MODEL_CODE, codes) or (status in (400, 404, 410, 422, None) and _MODEL_WORDS.search(text))
    ):
        return base.UNKNOWN_MODEL
    if _REFUSED_WORDS.search(text):
        return base.REFUSED
    return base.BAD_ANSWER if status is None or status < 400 else base.BAD_REQUEST


def _may_be_refused(report: ProviderReport) -> bool:
    """Return whether an error of this status can be about what a text says. In a stream the status is only derived."""
    status = report.status
    if status is None or (report.in_stream and status == 500):
        return True
    return 400 <= status < 500 and status not in (401, 404, 407, 409, 413) and status not in _RETRYABLE


def _used_up(report: ProviderReport, wait: float | None) -> bool:
    """Return whether an account is used up, whatever the status: then waiting does not help."""
    if report.status == 402 or "402" in report.codes:
        return True
    # Google.rpc.QuotaFailure names each limit that is reached.
    limits = " ".join(code for code in report.codes if "per" in code)
    if _PER_DAY.search(limits):
        return True
    if _PER_MINUTE.search(limits):
        return False
    if _any(_THROTTLED_CODE, report.codes) and not _PER_DAY.search(report.text):
        return False
    if any(_QUOTA_CODE.search(re.sub(r"[^a-z]", "", code)) for code in report.codes):
        return not _PER_MINUTE.search(report.text)
    if _PER_MINUTE.search(report.text) or (wait is not None and wait <= LONGEST_WAIT):
        return False
    per_day = report.status == 429 and _PER_DAY.search(report.text)
    if wait is None and (per_day or _limit_of_days(report)):
        return True
    words = report.text if report.status in (400, 401, 403, 412, 429, None) else report.text.replace("billing", "")
    return _QUOTA_WORDS.search(words) is not None or (
        report.status in (400, 401, 403, 429) and _PLAN_WORDS.search(words) is not None
    )


def _limit_of_days(report: ProviderReport) -> bool:
    """Return whether an error without a status says that a limit of a day, or of more, is reached."""
    return report.status in (None, 400) and _DAYS_REACHED.search(report.text) is not None


def why_not_let_in(report: ProviderReport) -> str:
    """Return the reason of a 401, 403 or 407, such as REGION; another key helps only for KEY."""
    if report.status == 407:
        return PROXY
    if report.status == 451 or _any(_REGION_CODE, report.codes) or _REGION_WORDS.search(report.text):
        return REGION
    if _ADDRESS_WORDS.search(report.text):
        return ADDRESS
    if _any(_ACCESS_CODE, report.codes) or _any(_MODEL_CODE, report.codes) or _ACCESS_WORDS.search(report.text):
        return MODEL
    if report.page:
        return PAGE
    if _TERMS_WORDS.search(report.text):
        return RIGHTS
    if report.status != 403 or _any(_BROKEN_KEY_CODE, report.codes) or _KEY_WORDS.search(report.text):
        return KEY
    return RIGHTS if report.texts else KEY


def away(report: ProviderReport) -> bool:
    """Return whether the report itself says that the server is away or busy."""
    return _any(_AWAY_CODE, report.codes)


def _any(pattern: re.Pattern[str], codes: Iterable[str]) -> bool:
    return any(pattern.search(code) for code in codes)


def _flagged(report: ProviderReport) -> bool:
    """Return whether the report holds a moderation's result, which OpenRouter sends with 403."""
    metadata = report.fields.get("metadata")
    return isinstance(metadata, Mapping) and ("flagged_input" in metadata or "reasons" in metadata)
