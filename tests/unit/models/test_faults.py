# ruff: noqa: E501 (what servers send stays on one line)
"""Failed calls are classified by the words, codes and fields in which many servers report them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from kubiya_worker.models import base, faults, leaked_keys, retry_after, window_overflow
from kubiya_worker.models.provider_report import ProviderReport, words_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "sk-proj-Zk81mQv7TtY2wXcB94Rn"


def report(body: Any, status: int | None = 400, headers: dict[str, str] | None = None) -> ProviderReport:
    return ProviderReport(status, body, headers or {}, in_stream=status is None)


def kind(body: Any, status: int | None = 400, headers: dict[str, str] | None = None) -> str:
    return faults.reported(report(body, status, headers), "models.example").kind


def openai(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


# (status, body, the window that it names)
TOO_LONG: list[tuple[int | None, Any, int | None]] = [
    (400, openai("too much", code="context_length_exceeded"), None),
    (400, openai("no", type="exceed_context_size_error", n_prompt_tokens=9000, n_ctx=4096), 4096),
    (400, openai("no", type="invalid_request_error", num_tokens=9000, max_model_len=8192), 8192),
    (500, openai("the request exceeds the available context size. try increasing the context size"), None),
    (400, openai("request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"), 4096),
    (400, {"error": "the model is loaded with context length of only 4096 tokens, which is not enough"}, 4096),
    (None, openai("Trying to keep the first 5012 tokens when context overflows. However, it has only 4096"), 4096),
    (400, {"error": "Context size has been exceeded"}, None),
    (400, openai("the input length exceeds the context length", type="api_error"), None),
    (400, openai("prompt too long; exceeded max context length by 1043 tokens"), None),
    (422, openai("`inputs` tokens + `max_new_tokens` must be <= 8193", param="max_tokens"), 8193),
    (422, {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000"}, 4096),
    (400, {"code": "invalid argument", "error": "maximum prompt length is 131072 but it contains 150000 tokens"}, 131072),
    (400, openai("Invalid request: Your request exceeded model token limit: 8192"), 8192),
    (400, {"object": "error", "message": "The input (5000 tokens) is longer than the context length (4096 tokens)"}, 4096),
    (400, openai("Requested token count exceeds the model's maximum context length of 4096 tokens."), 4096),
    (400, openai("Input length (5012 tokens) exceeds the maximum allowed length (4090 tokens)."), 4090),
    (400, openai("The decoder prompt (length 5012) is longer than the maximum model length of 4096."), 4096),
    (400, openai("This model's maximum context length is 8192 tokens. However, you requested 9100 tokens"), 8192),
    (400, openai("'max_tokens' is too large: 1024. This model's maximum context length is 4096 tokens"), 4096),
    (400, {"code": 20015, "message": "number of input tokens (9000) has exceeded max_prompt_tokens (8192) limit"}, 8192),
    (400, openai("Range of input length should be [1, 30720]", code="invalid_parameter_error"), 30720),
    (400, openai("Prompt contains 40000 tokens, too large for model with 32768 maximum context length"), 32768),
    (400, {"object": "error", "message": "no", "type": "invalid_request_error", "code": "3051"}, None),
    (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}, None),
    (400, {"type": "error", "error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}, 200000),
    (400, openai("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"), 200000),
    (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, None),
    (413, "<html><head><title>413 Request Entity Too Large</title></head></html>", None),
    (413, openai("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"), 8000),
    (400, openai("prompt token count of 140000 exceeds 128000", code="model_max_prompt_tokens_exceeded"), 128000),
    (400, {"error": {"code": 400, "message": "The input token count (9) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}, 1048576),
    (400, {"Error": {"Code": "ValidationException", "Message": "Input is too long for requested model."}}, None),
    (400, openai("litellm.ContextWindowExceededError: litellm.BadRequestError: AnthropicException"), None),
    (400, openai("Provider returned error", code=400, metadata={"raw": json.dumps(openai("maximum context length is 32768 tokens"))}), 32768),
    (400, openai("Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"), 8192),
    (400, {"message": "too many tokens: total number of tokens in the prompt exceeds the limit of 4081"}, 4081),
    (400, {"error_code": "BAD_REQUEST", "message": "prompt token count (10000) cannot exceed 8192."}, 8192),
    (400, {"errors": [{"code": "invalid_input_argument", "message": "the number of input tokens 9000 cannot exceed the total tokens limit 8191 for this model"}]}, 8191),
    (400, openai("Invalid 'messages[2].content': string too long.", code="string_above_max_length", param="messages[2].content"), None),
    (400, {"base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"}}, None),
    (429, openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000."), None),
    (400, {"error": {"message": "输入长度超过模型上下文"}}, None),
    (400, openai("The provided prompt is 9000 tokens long, but the maximum supported sequence length is just 8192!"), 8192),
    (400, openai("KV cache is full: prompt of 9000 tokens does not fit into 4096"), 4096),
    (400, openai("messages exceed the maximum number of characters 200000"), 200000),
    (400, {"message": "ValidationException: expected maxLength: 8192, actual: 9000, please reformat your input"}, 8192),
    (None, {"error_code": 336007, "error_msg": "the max length of current question is 2000"}, 2000),
    (400, openai("x", code="InputTokensExceeded"), None),
    (400, openai("x", code="prompt_length_exceeded"), None),
    (400, openai("x", code="context_limit_reached"), None),
    (400, openai("x", details={"promptTokens": 9000, "contextWindow": 8192}), 8192),
    (400, {"base_resp": {"status_code": 1039, "status_msg": "token limit exceeded"}}, None),
    (400, {"success": False, "errors": [{"code": 5021, "message": "The estimated number of input and maximum output tokens (26000) exceeded this model context window limit (24000)"}]}, 24000),
    (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 9012>= n_ctx: 4096)"}, 4096),
    (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "input + max_tokens exceeds 8192"}, 8192),
    (400, {"error": "prompt_too_long"}, None),
    (400, openai("x", code="too_many_input_tokens"), None),
    (400, openai("Input is 9,001 tokens but the limit is 8,192"), 8192),
    (400, openai("num_tokens (9001) > max_context (8192)"), 8192),
    (400, openai("You sent 9001 tokens, which is more than the model can take in (8192)"), 8192),
    (400, openai("Prompt exceeds the allowed number of tokens: 33012/32768"), 32768),
    (400, openai("slot context overflow: n_past = 8192, n_ctx = 8192"), 8192),
    (400, openai("Your conversation has grown past the model's 200k context"), None),
    (400, openai("请求的 tokens 数超过了模型的最大上下文长度 32768", code="1261"), 32768),
    (400, openai("Invalid 'input': string too long. Expected a string with maximum length 10485760, but got 10485790", code="string_above_max_length", param="input"), None),
]  # fmt: skip

NOT_TOO_LONG: list[tuple[int | None, Any]] = [
    (429, openai("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 1500.")),
    (429, openai("This request would exceed your organization's rate limit of 40,000 input tokens per minute")),
    (429, openai("Too many tokens, please wait before trying again.", type="throttling")),
    (429, openai("You exceeded your current quota. Quota exceeded for metric: input_token_count, limit: 0")),
    (400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens")),
    (400, openai("max_tokens must be less than or equal to `8192`, the maximum value for `max_tokens`")),
    (400, {"error": {"message": "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens"}}),
    (400, openai("'max_tokens' is too large: 9000. This model's maximum context length is 4096 tokens")),
    (400, openai("Input should be less than or equal to 2", param="temperature")),
    (400, openai("string too long", code="string_above_max_length", param="tools[0].function.name")),
    (400, openai("tools: too many tools: 140 > 128 maximum")),
    (400, openai("messages.1.content.0.image.source: image exceeds 5 MB maximum")),
    (400, openai("Unrecognized request argument supplied: context_length")),
    (400, openai("messages: text content blocks must be non-empty")),
    (400, openai("temperature must be between 0 and 2")),
    (401, openai("Your token is too long or malformed; the input was rejected")),
    (404, openai("The model `gpt-9` does not exist")),
    (402, openai("This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens")),
    (413, openai("The audio file is too large")),
    (400, openai("monthly token limit of this account exceeded by the request")),
    (400, openai("The maximum tokens you requested exceeds the model limit of 4096")),
    (400, openai("Requested output length of 9000 tokens is above the limit of 8192 output tokens")),
    (400, openai("thinking.budget_tokens 65536 is more than 32768")),
    (400, openai("stop sequence too long")),
    (400, openai("Context: tool 'a' 2000; tool 'b' 1000")),
    (400, openai("Request body is not valid JSON: Unterminated string at line 1 column 34567")),
    (400, openai("seed 4294967296 out of range: at most 2147483647")),
    (400, openai("string too long: 44 > 40", code="string_above_max_length", param="messages[3].tool_calls[0].id")),
]


@pytest.mark.parametrize(("status", "body", "window"), TOO_LONG)
def test_a_request_beyond_the_window(status: int | None, body: Any, window: int | None) -> None:
    error = faults.reported(report(body, status), "models.example")
    assert error.kind == base.CONTEXT_OVERFLOW, error
    assert (error.retryable, error.window) == (False, window)


@pytest.mark.parametrize(("status", "body"), NOT_TOO_LONG)
def test_other_words_about_tokens_are_no_overflow(status: int | None, body: Any) -> None:
    assert not window_overflow.found_in(report(body, status))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, openai("x", type="insufficient_quota", code="insufficient_quota")),
        (429, openai("account suspended", type="exceeded_current_quota_error")),
        (429, openai("Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", type="budget_exceeded")),
        (400, openai("ExceededBudget: User=x over budget. Spend=2, Budget=1", type="budget_exceeded", code="400")),
        (429, openai("x", code="billing_hard_limit_reached")),
        (429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota", "details": [
            {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
            {"retryDelay": "20s"}]}}]),
        (400, openai("Your credit balance is too low to access the API. Go to Plans & Billing", type="invalid_request_error")),
        (402, openai("Insufficient Balance")),
        (402, openai("This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens")),
        (403, openai("Your account balance is insufficient, please recharge", code="insufficient_balance")),
        (403, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
        (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}),
        (400, {"Error": {"Code": "ServiceQuotaExceededException", "Message": "Too many"}}),
        (None, openai("You exceeded your current quota, please check your plan", type="insufficient_quota")),
        (429, openai("Rate limit exceeded: free-models-per-day")),
        (403, openai("You have used all available credits for this month")),
        (412, openai("Account a is suspended, possibly due to reaching the monthly spending limit", code="PRECONDITION_FAILED")),
        (429, openai("Credit limit exceeded, please add a credit card", type="credit_limit")),
        (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}),
        (None, {"error_code": 17, "error_msg": "Open api daily request limit reached"}),
        (401, openai("Your account does not have sufficient balance")),
        (404, openai("Insufficient credits", code=402)),
        (500, openai('litellm.APIError: {"error":{"message":"Insufficient credits","code":402}}', code="500")),
        (503, openai("wallet is empty", code="insufficient_user_quota")),
        (429, openai("Free tier limit reached. Upgrade to continue.")),
        (429, openai("You've exceeded your free plan limit for this month")),
        (429, openai("The model service has been paused", code="SetLimitExceeded")),
        (400, openai("Your trial has expired. Add a payment method to continue")),
        (429, openai("no", type="insufficient_points")),
        (403, {"error": "Monthly included credits for Inference Providers exhausted"}),
        (None, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        (400, openai("ExceededTokenBudget: Current spend for token: 12.3; Max Budget for Token: 12.0", type="auth_error")),
        (429, openai("request reached organization TPD rate limit, current: 1526210, limit: 1500000")),
        (403, {"message": "INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided."}),
        (403, openai("Your subscription has expired. Renew it to continue.")),
        (403, {"message": "Out of call volume quota. Quota will be replenished in 02:12:33."}),
        (403, openai("x", code="BalanceNotEnough")),
        (429, openai("Team budget reached: 50.00 USD of 50.00 USD")),
    ],
)  # fmt: skip
def test_a_used_up_account_is_told_at_once_and_not_as_a_wrong_setting(status: int | None, body: Any) -> None:
    error = faults.reported(report(body, status), "models.example")
    assert (error.kind, error.tries) == (base.QUOTA, 1), error
    assert "account" in error.line() and "model_config" not in error.line() and "LITELLM_API_KEY" not in error.line()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (openai("slow down"), {}),
        (openai("Rate limit reached on requests per day (RPD): Limit 200. Please try again in 7m12s. Add billing"), {}),
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota, please "
           "check your plan and billing details.", "details": [
               {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}]}}], {}),
        (openai("quota exceeded, check billing"), {"Retry-After": "12"}),
        (openai("Limited to 60 requests/min and 1000 requests/day"), {}),
        (openai("This request exceeds the token rate of your tier. See aka.ms/oai/quotaincrease"), {}),
        (openai("Requests to the API have exceeded the call rate limit of your pricing tier.", code="429"), {}),
        ({"code": "Throttling.AllocationQuota", "message": "Allocated quota exceeded, please increase your limit."}, {}),
        ({"error": {"code": "1305", "message": "The service may be overloaded, please try again later"}}, {}),
    ],
)  # fmt: skip
def test_a_limit_of_calls_is_no_used_up_account(body: Any, headers: dict[str, str]) -> None:
    error = faults.reported(report(body, 429, headers), "models.example")
    assert (error.kind, error.tries) == (base.RATE_LIMITED, base.MANY)


def test_a_wait_of_hours_is_told_and_not_waited_for() -> None:
    error = faults.reported(report(openai("slow down"), 429, {"Retry-After": "31421"}), "models.example")
    assert (error.tries, error.retry_after) == (base.ONCE, None)
    assert "8 h 44 min" in error.line()


def test_a_reset_that_a_gateway_reports_in_its_body_is_kept_to() -> None:
    reset = str(int((datetime.now(UTC) + timedelta(seconds=90)).timestamp() * 1000))
    body = openai("Rate limit exceeded", code=429, metadata={"headers": {"X-RateLimit-Reset": reset}})
    wait = faults.reported(report(body, 429), "models.example").retry_after
    assert wait is not None and 80 < wait < 91


def http_date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "7"}, {}, 7),
        ({"retry-after": "3.5"}, {}, 3.5),
        ({"Retry-After": http_date(30)}, {}, 30),
        ({"Retry-After": http_date(-30)}, {}, 0),
        ({"Retry-After": "1m30s"}, {}, 90),
        ({"Retry-After": "250ms"}, {}, 0.25),
        ({"Retry-After": "6.5s"}, {}, 6.5),
        ({"Retry-After": "PT1M30S"}, {}, 90),
        ({"Retry-After": "2026-03-01T12:00:20Z"}, {}, 20),
        ({"Retry-After": str(int(NOW.timestamp()) + 12)}, {}, 12),
        ({"Retry-After": str(int(NOW.timestamp() + 12) * 1000)}, {}, 12),
        ({"Retry-After": "-5"}, {}, 0),
        ({"Retry-After": "3, 5"}, {}, 5),
        ({"Retry-After": "soon"}, {}, None),
        ({"Retry-After": "nan"}, {}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, {}, 1.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3.5s", "x-ratelimit-reset-requests": "9s",
          "x-ratelimit-remaining-requests": "99"}, {}, 3.5),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "17ms", "x-ratelimit-remaining-tokens": "3",
          "x-ratelimit-remaining-requests": "8"}, openai("x", type="tokens"), 360),
        ({"x-ratelimit-reset-requests": "17s"}, {}, 17),
        ({"anthropic-ratelimit-input-tokens-remaining": "0",
          "anthropic-ratelimit-input-tokens-reset": "2026-03-01T12:00:09Z",
          "anthropic-ratelimit-requests-remaining": "5",
          "anthropic-ratelimit-requests-reset": "2026-03-01T12:00:50Z"}, {}, 9),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 44)}, {}, 44),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "44"}, {}, 44),
        ({"RateLimit": '"minute";r=0;t=31'}, {}, 31),
        ({}, [{"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "3.5s"}]}}], 3.5),
        ({}, {"error": {"details": [{"retryDelay": {"seconds": 3, "nanos": 500_000_000}}]}}, 3.5),
        ({}, openai("x", retry_after=12), 12),
        ({}, openai("x", metadata={"retry_after_ms": 1200}), 1.2),
        ({}, {"retry_after": "12.5"}, 12.5),
        ({}, openai("Please try again in 3.5s."), 3.5),
        ({}, openai("Rate limit reached. Please try again in 7m12s. Visit https://x"), 432),
        ({}, openai("Please retry after 20 seconds."), 20),
        ({}, openai("Please retry after 20."), 20),
        ({}, openai("Please retry in 20.584157s."), 20.584157),
        ({}, openai("Try again in 1 minute and 5 seconds"), 65),
        ({}, openai("Please wait 30 s before the next request"), 30),
        ({}, openai("The limit resets in 250ms"), 0.25),
        ({}, openai("Retry the call after 2 minutes"), 120),
        ({}, openai("try again later"), None),
        ({}, {"error": "Model is currently loading", "estimated_time": 4.0}, 4),
        ({}, openai("Try again in 00:01:04"), 64),
        ({}, openai("cool down for 4 seconds"), 4),
        ({}, openai("Remaining: 0. Limit resets at: 2026-03-01 12:00:04 UTC"), 4),
        ({}, openai("It will reset at 2026-03-01T12:00:04Z"), 4),
        ({}, openai("x", retryAfterSeconds=4), 4),
        ({}, openai("x", resets_in_seconds=4), 4),
        ({}, openai("x", resetsAt=int(NOW.timestamp()) + 4), 4),
        ({}, openai("x", reset_at="2026-03-01T12:00:04Z"), 4),
        ({}, openai("x", details=[{"metadata": {"quotaResetTimeStamp": "2026-03-01T12:00:04Z"}}]), 4),
        ({}, openai("Please slow down and try in 4 seconds"), 4),
        ({}, openai("请在 4 秒后重试"), 4),
        ({}, openai("4秒後に再試行してください"), 4),
        ({}, openai("Quota will be replenished in 00:00:33."), 33),
        ({}, openai("Back off for 4s"), 4),
        ({}, openai("x", reset_time="2026-03-01T12:00:04Z"), 4),
        ({"Retry-After": "00:01:04"}, {}, 64),
        ({}, openai("Please wait for 4 more seconds"), 4),
        ({}, openai("retry_after=4"), 4),
        ({}, openai("Next request allowed in 4s"), 4),
        ({"Retry-After": "4,"}, {}, 4),
        ({}, openai("retry limit of 4 reached"), None),
        ({}, openai("try again after 2026-05-01"), None),
        ({}, openai("you have made 30 requests in 20 seconds"), None),
    ],
)  # fmt: skip
def test_the_wait_in_every_form(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    asked = retry_after.wait_of(report(body, 429, headers), NOW)
    assert asked == (None if seconds is None else pytest.approx(seconds, abs=0.01))


@pytest.mark.parametrize(
    ("status", "body", "words", "remedy"),
    [
        (403, openai("region not supported", code="unsupported_country_region_territory"), "region not", "region"),
        (403, openai("Country, region, or territory not supported"), "Country", "region"),
        (400, {"error": {"status": "FAILED_PRECONDITION", "message": "User location is not supported for the API"}},
         "location", "region"),
        (401, openai("key not allowed to access model", type="key_model_access_denied"), "not allowed", "use this model"),
        (403, openai("Project `p` does not have access to model `m`", code="model_not_found"), "access", "use this model"),
        (403, openai("You are not authorized: IP address 10.1.2.3 is not allowed"), "IP address", "allow-list"),
        (403, "<html><head><title>Attention Required! | Cloudflare</title></head></html>", "Cloudflare", "proxy"),
        (401, openai("Incorrect API key provided", code="invalid_api_key"), "refused the key", "LITELLM_API_KEY"),
        (401, openai("Missing bearer"), "Missing bearer", "LITELLM_API_KEY"),
        (451, openai("Unavailable for legal reasons"), "legal reasons", "region"),
        (400, {"code": "invalid argument", "error": "Incorrect API key provided"}, "Incorrect", "LITELLM_API_KEY"),
        (400, {"success": False, "errors": [{"code": 10000, "message": "No"}]}, "refused the key", "LITELLM_API_KEY"),
        (400, {"error": {"code": "1000", "message": "Authentication Failed"}}, "refused the key", "LITELLM_API_KEY"),
        (400, openai("Authentication Error, Invalid proxy server token", type="token_not_found_in_db", code="400"),
         "refused the key", "LITELLM_API_KEY"),
    ],
)  # fmt: skip
def test_who_is_not_let_in_reads_why(status: int, body: Any, words: str, remedy: str) -> None:
    error = faults.reported(report(body, status), "models.example")
    assert (error.kind, error.tries) == (base.AUTH, 1)
    assert words in str(error) and remedy in error.remedy
    assert ("LITELLM_API_KEY" in error.line()) == (remedy == "LITELLM_API_KEY") or remedy == "proxy"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, openai("input was flagged", code=403, metadata={"reasons": ["violence"]})),
        (400, openai("litellm.ContentPolicyViolationError: filtered", code="400")),
        (400, openai("The response was filtered", code="content_filter")),
        (400, {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}),
        (403, openai("Request rejected by moderation")),
        (403, openai("Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_X")),
        (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}),
        (400, openai("Content Exists Risk", code="invalid_request_error")),
        (446, openai("The guardrail checks defined in the config failed", type="hooks_failed")),
        (422, openai("Prompt rejected by safety guard: jailbreak")),
        (400, openai("x", code="content_blocked")),
        (400, {"success": False, "errors": [{"code": 2016, "message": "Prompt blocked"}]}),
    ],
)
def test_a_refused_text_is_no_matter_of_the_key(status: int, body: Any) -> None:
    error = faults.reported(report(body, status), "models.example")
    assert error.kind == base.REFUSED and "KEY" not in error.line()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, openai("The model `m` does not exist", code="model_not_found"), base.UNKNOWN_MODEL),
        (400, openai("Invalid model name passed in model=m. Call `/v1/models`"), base.UNKNOWN_MODEL),
        (
            404,
            {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}},
            base.UNKNOWN_MODEL,
        ),
        (404, openai("No endpoints found for x/y."), base.UNKNOWN_MODEL),
        (404, openai("No endpoints found that support tool use. To learn more, visit: https://x"), base.BAD_REQUEST),
        (
            400,
            {"message": "Invocation of model ID x with on-demand throughput isn\u2019t supported."},
            base.UNKNOWN_MODEL,
        ),
        (410, {"title": "Gone", "detail": "The model 'x' has reached its end of life"}, base.UNKNOWN_MODEL),
        (404, {"error": "model_not_supported"}, base.UNKNOWN_MODEL),
        (400, {"error": {"code": "1211", "message": "模型不存在"}}, base.UNKNOWN_MODEL),
        (400, {"error": "Model unloaded."}, base.UNAVAILABLE),
        (400, openai("Model is warming up, please retry in 20s", type="model_not_ready"), base.UNAVAILABLE),
        (None, openai("x", type="insufficient_system_resource"), base.UNAVAILABLE),
        (400, openai("x", code="1002", type="invalid_request_error"), base.BAD_REQUEST),
        (400, openai("tool_call_id 'call_1' not found in the preceding messages"), base.BAD_REQUEST),
        (400, openai("The model does not support the parameter 'top_k'"), base.BAD_REQUEST),
        (503, openai("Guardrail service unavailable"), base.UNAVAILABLE),
        (500, openai("quota service timed out"), base.UNAVAILABLE),
        (404, {"detail": "Not Found"}, base.BAD_REQUEST),
        (400, openai("temperature must be between 0 and 2"), base.BAD_REQUEST),
        (500, openai("oops"), base.UNAVAILABLE),
        (529, openai("overloaded", type="overloaded_error"), base.UNAVAILABLE),
        (503, "<html>down</html>", base.UNAVAILABLE),
        (498, openai("Flex tier capacity exceeded", type="capacity_exceeded"), base.UNAVAILABLE),
        (None, openai("busy", type="overloaded_error"), base.UNAVAILABLE),
        (None, openai("slow", code="rate_limit_exceeded"), base.RATE_LIMITED),
        (None, openai("model crashed"), base.BAD_ANSWER),
        (301, None, base.MOVED),
        (308, None, base.MOVED),
    ],
)
def test_the_other_kinds(status: int | None, body: Any, expected: str) -> None:
    assert kind(body, status) == expected


@pytest.mark.parametrize(
    ("status", "body", "unclear"),
    [
        (400, openai("bad"), True),
        (422, {"detail": [{"loc": ["body"], "msg": "no", "type": "value_error"}]}, True),
        (500, openai("oops"), True),
        (500, openai("x", type="overloaded_error"), False),
        (503, openai("x"), False),
        (502, "<html>x</html>", False),
        (401, openai("x"), False),
        (404, openai("x"), False),
    ],
)
def test_what_may_be_the_length_is_marked(status: int, body: Any, unclear: bool) -> None:
    assert faults.reported(report(body, status), "models.example").unclear is unclear


def test_a_redirect_names_the_new_address() -> None:
    error = faults.reported(report(None, 301, {"location": "https://new.example/v1/x?token=1"}), "models.example")
    assert "301" in str(error) and "moved to https://new.example/v1/x" in str(error) and "token" not in str(error)
    assert "LITELLM_API_BASE" in error.remedy and error.tries == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<!DOCTYPE html><html><head><title>404</title></head><body>not here</body></html>", "a web page: 404"),
        ("<html><body><script>var a='<b>'</script><p>Please sign&nbsp;in</p></body></html>", "a web page: Please sign in"),
        ("<html>\r\n<h1>502 Bad Gateway</h1>\r\n<hr>nginx</html>", "a web page: 502 Bad Gateway"),
        ("upstream said: <html><title>Oops", "upstream said: a web page: Oops"),
        ("<html></html>", "a web page"),
        ("Cannot POST <pre>/v1</pre>", "Cannot POST /v1"),
        ("<p>only", "only"),
        ("error: <a href='x'>log in</a> first", "error: log in first"),
        ("&lt;html&gt;&lt;title&gt;Nope&lt;/title&gt;", "a web page: Nope"),
        ("call <model> with <tool_call>", "call <model> with <tool_call>"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)  # fmt: skip
def test_markup_is_no_message(text: str, shown: str) -> None:
    assert words_of(text) == shown


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 502])
def test_an_error_page_is_told_by_its_status_and_title(status: int) -> None:
    error = faults.reported(
        report("<html><head><title>Nope</title></head><body><b>x</b></body></html>", status), "m.example"
    )
    assert f"{status}" in str(error) and "Nope" in str(error) and "<" not in error.line()


@pytest.mark.parametrize(
    "said",
    [
        f"Incorrect API key provided: {KEY}. Find yours",
        f"Incorrect API key provided: {KEY[:8]}{'*' * 20}{KEY[-4:]}.",
        f"Incorrect API key provided: sk-...{KEY[-4:]}",
        f"Received API Key = sk-...{KEY[-4:]}, Key Hash (Token) =88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539",
        f"the key ending in {KEY[-4:]} is not known",
        f"the key ending with: '{KEY[-4:]}'",
        f"key starts with {KEY[:12]}",
        f"Bearer {KEY[3:]} refused",
        f"no key {KEY[-5:]} here",
        f"key {KEY[:4]}…{KEY[-4:]} is expired",
        f"the key is {KEY[0]}*-p***-***********{KEY[-4:]}",
    ],
)
def test_no_part_of_a_key_is_shown(said: str) -> None:
    shown = leaked_keys.masked(said, [KEY])
    assert not any(KEY[at : at + 4] in shown.replace("key", "") for at in range(4, len(KEY) - 3)), shown
    assert leaked_keys.MASK in shown


@pytest.mark.parametrize(
    "said",
    [
        "Received sk-or-v1-9f8e7d6c5b4a which is not valid",
        "Invalid key gsk_a1b2c3d4e5f6",
        "API key AIzaSyD1234567890abcdef not valid",
        "key sk-ant-...9xYz refused",
    ],
)
def test_another_key_is_not_shown_either(said: str) -> None:
    assert leaked_keys.masked(said, []).count(leaked_keys.MASK) == 1


@pytest.mark.parametrize(
    "said",
    [
        "the model gpt-4o-mini-2024-07-18 does not exist",
        "task-runner is not allowed to access model claude-sonnet-4",
        "unsupported_country_region_territory",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "key-value pairs are wanted",
    ],
)
def test_other_words_stay(said: str) -> None:
    assert leaked_keys.masked(said, [KEY]) == said


def test_a_message_is_bounded_and_clean() -> None:
    error = faults.reported(report(openai("a\ud83c\x00\x07b " + "x" * 2_000_000)), "models.example")
    line = error.line()
    assert len(line) < 600 and "\x00" not in line
    line.encode()


def test_a_body_that_is_deep_or_wide_is_searched_in_bounds() -> None:
    deep: Any = openai("inner")
    for _ in range(2000):
        deep = {"error": deep}
    assert ProviderReport(400, deep).summary
    assert ProviderReport(400, {f"k{n}": {"message": str(n)} for n in range(100_000)}).summary


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "error", "error": {"type": "api_error"}}, "no explanation (api_error)"),
        ({"error": {"code": "throttled", "message": ""}}, "no explanation (throttled)"),
        ({"error": {"code": 500, "type": None}}, "no explanation"),
        ({"error": {"why": "it rains"}}, '{"error": {"why": "it rains"}}'),
    ],
)
def test_a_body_of_codes_alone_is_told_without_its_markup(body: object, words: str) -> None:
    assert ProviderReport(500, body).summary == words


LITELLM = (
    "Received Model Group=m\nAvailable Model Group Fallbacks=None LiteLLM Retried: 2 times, LiteLLM Max Retries: 2"
)
TRACE = "Traceback (most recent call last):\n  File \"/app/x.py\", line 5, in f\n    raise ValueError('x')\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {
                "error": {
                    "message": f'litellm.E: A - {{"error": {{"type": "overloaded_error", "message": "Busy"}}}}. {LITELLM}'
                }
            },
            "A - Busy",
        ),
        ({"error": {"message": f"litellm.RateLimitError: RateLimitError: A - Slow.. {LITELLM}"}}, "A - Slow."),
        (
            {"error": {"message": "Error code: 400 - {'error': {'message': 'No.', 'param': 'temperature'}}"}},
            "Error code: 400 - No.",
        ),
        ({"error": {"message": 'Bad value {"a": 1} given'}}, 'Bad value {"a": 1} given'),
        ({"error": {"message": "Use {name} here"}}, "Use {name} here"),
        ({"error": {"message": f"{TRACE}ValueError: bad"}}, "ValueError: bad"),
        (f"Failed\n{TRACE}ValueError: bad", "Failed ValueError: bad"),
        (
            {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Field required"}]},
            "messages.0.content: Field required",
        ),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, "Field required"),
        ('"boom"', "boom"),
        ("null", "no explanation"),
    ],
)
def test_what_a_server_wraps_around_its_words_is_not_shown(body: object, words: str) -> None:
    assert ProviderReport(500, body).summary == words


def test_codes_of_an_answer_inside_a_text_count() -> None:
    inner = '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    error = faults.reported(ProviderReport(500, {"error": {"message": f"litellm.E: A - {inner}"}}), "host")
    assert (error.kind, error.unclear) == (base.UNAVAILABLE, False)
    told = "Error code: 400 - {'error': {'message': 'No.', 'param': 'temperature'}}"
    assert "Change `temperature`" in faults.reported(ProviderReport(400, {"error": {"message": told}}), "host").line()


@pytest.mark.parametrize(
    "words",
    [
        "llama3 does not support tools",
        '"auto" tool choice requires --enable-auto-tool-choice to be set',
        "Tool calling is not supported for this model",
        "This model doesn't support tool use in streaming mode.",
    ],
)
def test_a_model_that_cannot_call_tools_is_told(words: str) -> None:
    assert "can call tools" in faults.reported(ProviderReport(400, {"error": {"message": words}}), "host").line()


def test_a_refusal_is_told_without_the_reason_of_a_whole_answer() -> None:
    error = faults.of_answer("", {"finish_reason": "stop", "refusal": "I can't."}, "host")
    assert error is not None and str(error) == "The model at host refused to answer: I can't"


@pytest.mark.parametrize(
    ("headers", "words", "seconds"),
    [
        ({"retry-after": '"20"'}, "", 20.0),
        ({"retry-after": "'20s'"}, "", 20.0),
        ({"retry-after": "9" * 30}, "", None),
        ({"retry-after": "9" * 30}, "try again in 5 s", 5.0),
        ({}, "Please retry after an hour", 3600.0),
        ({}, "Please try again in one minute.", 60.0),
        ({}, "try again in half a minute", 30.0),
        ({}, "You can make another request in 3 hours.", 10800.0),
        ({}, "try again in a few seconds", None),
    ],
)
def test_waits_in_quotes_in_words_and_beyond_belief(headers: dict[str, str], words: str, seconds: float | None) -> None:
    assert retry_after.wait_of(ProviderReport(429, {"error": {"message": words}}, headers)) == seconds


def test_a_used_up_account_is_told_with_the_status_only_if_there_was_one() -> None:
    body = openai("You have no credits left", code="insufficient_quota")
    assert "is used up (answered 429): You" in str(faults.reported(report(body, 429), "host"))
    assert "is used up: You" in str(faults.reported(report(body, None), "host"))
