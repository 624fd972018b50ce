"""The three shapes in which a scripted model endpoint speaks: OpenAI's, Anthropic's and Google's.

A shape knows its path, how an answer of the script is streamed, what its failures look like, and which conversations it
refuses. The rules that the latter two enforce are those of their public documentation: each call is answered in the
next message, and thoughts come back unchanged, in their place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

Answer = dict[str, Any]

FAULTS: Final = ("context_overflow", "rate_limited", "overloaded", "server_error", "auth", "bad_request")


@dataclass(frozen=True)
class Shape:
    """`stream` gives the events of an answer as they go out; `problem` says why a conversation is refused, or ""."""

    name: str
    path: re.Pattern[str]
    stream: Callable[[Answer, Any], list[str]]
    fault: Callable[[str, str | None], tuple[int, Any]]
    problem: Callable[[Any], str]


def of_path(path: str) -> Shape | None:
    return next((shape for shape in SHAPES.values() if shape.path.fullmatch(path)), None)


# -- what all have in common


def pieces(answer: Answer) -> list[str]:
    text = str(answer.get("text") or "")
    if "chunk" in answer:
        size = int(answer["chunk"])
        return [text[at : at + size] for at in range(0, len(text), size)]
    words = text.split(" ")
    return [word if not at else f" {word}" for at, word in enumerate(words) if word or at]


def thinking_pieces(answer: Answer, thought: dict[str, str]) -> list[str]:
    return pieces({**{k: v for k, v in answer.items() if k == "chunk"}, "text": thought["thinking"]})


def thoughts(answer: Answer) -> list[dict[str, str]]:
    """[{thinking, text?}] of either form that a script may have."""
    given = answer.get("thinking") or []
    return [{"thinking": given}] if isinstance(given, str) else list(given)


def calls_of(answer: Answer) -> Iterator[tuple[str, str, str]]:
    """(id, name, raw arguments) of each tool call; an id of "" leaves it to the shape."""
    for tool in answer.get("tools") or ():
        arguments = tool.get("arguments", {})
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        yield str(tool.get("id") or ""), str(tool["name"]), raw


def tokens_of(answer: Answer, prompt: Any) -> tuple[int, int]:
    """Input and output, estimated."""
    return len(json.dumps(prompt)) // 4 + 1, len(str(answer.get("text") or "")) // 4 + 1


# -- OpenAI: chat completions


def tool_calls(answer: Answer, request: int) -> list[dict[str, Any]]:
    return [
        {
            "id": identity or f"call_{request}_{number}",
            "type": "function",
            "function": {"name": name, "arguments": raw},
        }
        for number, (identity, name, raw) in enumerate(calls_of(answer))
    ]


def finish_of(answer: Answer) -> str | None:
    reason: str | None = answer.get("finish_reason", "tool_calls" if answer.get("tools") else "stop")
    return reason


def usage_of(answer: Answer, body: dict[str, Any]) -> dict[str, Any] | None:
    if "usage" in answer:
        given: dict[str, Any] | None = answer["usage"]
        return given
    prompt = sum(len(str(message.get("content") or "")) for message in body.get("messages", [])) // 4 + 1
    out = len(str(answer.get("text") or "")) // 4 + 1
    return {"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out}


def completion(answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.get("text"), "tool_calls": tool_calls(answer, step_of(body))}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model", "scripted"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_of(answer)}],
        "usage": usage_of(answer, body),
    }


def step_of(body: dict[str, Any]) -> int:
    return sum(message["role"] == "assistant" for message in body.get("messages", []))


def openai_stream(answer: Answer, body: dict[str, Any]) -> list[str]:
    head = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body.get("model", "scripted"),
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        return _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    lines = [chunk({"role": "assistant", "content": ""})]
    for thought in thoughts(answer):
        lines += [chunk({"reasoning_content": piece}) for piece in thinking_pieces(answer, thought)]
        lines += [chunk({"content": piece}) for piece in pieces(thought)]
    lines += [chunk({"content": piece}) for piece in pieces(answer)]
    if "error" in answer:
        return [*lines, _data({"error": answer["error"]})]
    if answer.get("refusal"):
        lines += [chunk({"refusal": piece}) for piece in pieces({"text": answer["refusal"]})]
    for number, call in enumerate(tool_calls(answer, step_of(body))):
        name, raw = call["function"]["name"], call["function"]["arguments"]
        first = {"index": number, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
        lines.append(chunk({"tool_calls": [first]}))
        for piece in _halves(raw):
            lines.append(chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]}))
    finish = finish_of(answer)
    if finish is None:
        return lines
    lines.append(chunk({}, finish))
    usage = usage_of(answer, body)
    if usage is not None and (body.get("stream_options") or {}).get("include_usage"):
        lines.append(_data({**head, "choices": [], "usage": usage}))
    return [*lines, "data: [DONE]"]


def openai_fault(kind: str, said: str | None) -> tuple[int, Any]:
    status, code, message = {
        "context_overflow": (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
        "rate_limited": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
        "overloaded": (503, None, "The engine is currently overloaded, please try again later"),
        "server_error": (500, None, "The server had an error while processing your request"),
        "auth": (401, "invalid_api_key", "Incorrect API key provided"),
        "bad_request": (400, None, "Invalid request"),
    }[kind]
    return status, {"error": {"message": said or message, "type": "error", "param": None, "code": code}}


# -- Anthropic: messages


def signature_of(thinking: str, place: int) -> str:
    """Return the signature of a thought that is block number `place` of its message."""
    return f"sig-{place}-" + hashlib.sha256(thinking.encode()).hexdigest()


def anthropic_stream(answer: Answer, body: dict[str, Any]) -> list[str]:
    prompt, out = tokens_of(answer, body.get("messages"))
    out = (answer.get("usage") or {}).get("output_tokens", out)
    message = {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "scripted"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**(answer.get("usage") or {"input_tokens": prompt}), "output_tokens": 1},
    }
    lines = [_event("message_start", {"message": message})]
    place = 0

    def block(start: dict[str, Any], deltas: list[dict[str, Any]]) -> None:
        nonlocal place
        lines.append(_event("content_block_start", {"index": place, "content_block": start}))
        lines.extend(_event("content_block_delta", {"index": place, "delta": delta}) for delta in deltas)
        lines.append(_event("content_block_stop", {"index": place}))
        place += 1

    def say(words: Answer) -> None:
        if words.get("text"):
            block({"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in pieces(words)])

    for thought in thoughts(answer):
        deltas = [{"type": "thinking_delta", "thinking": p} for p in thinking_pieces(answer, thought)]
        signed = {"type": "signature_delta", "signature": signature_of(thought["thinking"], place)}
        block({"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed])
        say(thought)
    say(answer)
    if "error" in answer:
        return [*lines, _event("error", {"error": answer["error"]})]
    for identity, name, raw in calls_of(answer):
        start = {"type": "tool_use", "id": identity or f"toolu_{len(body['messages'])}_{place}", "name": name}
        block({**start, "input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in _halves(raw)])
    reason = "refusal" if answer.get("refusal") else finish_of(answer)
    if reason is None:
        return lines
    words = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
    delta: dict[str, Any] = {"stop_reason": words.get(reason, reason), "stop_sequence": None}
    if answer.get("refusal"):
        delta["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": answer["refusal"]}
    lines.append(_event("message_delta", {"delta": delta, "usage": {"output_tokens": out}}))
    return [*lines, _event("message_stop", {})]


def anthropic_fault(kind: str, said: str | None) -> tuple[int, Any]:
    status, code, message = {
        "context_overflow": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        "rate_limited": (429, "rate_limit_error", "This request would exceed your organization's rate limit"),
        "overloaded": (529, "overloaded_error", "Overloaded"),
        "server_error": (500, "api_error", "Internal server error"),
        "auth": (401, "authentication_error", "invalid x-api-key"),
        "bad_request": (400, "invalid_request_error", "Invalid request"),
    }[kind]
    return status, {"type": "error", "error": {"type": code, "message": said or message}, "request_id": "req_1"}


def anthropic_problem(body: dict[str, Any]) -> str:
    messages = [{**m, "content": _blocks(m["content"])} for m in body["messages"]]
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        blocks = message["content"]
        for place, block in enumerate(blocks):
            if block["type"] == "thinking" and block["signature"] != signature_of(block["thinking"], place):
                return f"messages.{at}.content.{place}: `thinking` blocks cannot be modified"
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
        following = messages[at + 1]["content"] if at + 1 < len(messages) else []
        answered = [block["tool_use_id"] for block in following if block["type"] == "tool_result"]
        if asked != answered:
            return f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {asked}"
        thinks = (body.get("thinking") or {}).get("type") == "enabled"  # `adaptive` leaves it to the model
        current = all(_only_results(m) for m in messages[at + 1 :] if m["role"] == "user")
        if thinks and asked and current and blocks[0]["type"] not in ("thinking", "redacted_thinking"):
            return f"messages.{at}.content.0.type: Expected `thinking`, but found `{blocks[0]['type']}`"
    return ""


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _only_results(message: dict[str, Any]) -> bool:
    return all(block["type"] == "tool_result" for block in message["content"])


# -- Google: generateContent


def google_signature(name: str) -> str:
    """Return the signature of the first call of a message."""
    return base64.b64encode(f"signed:{name}".encode()).decode()


def google_stream(answer: Answer, body: dict[str, Any]) -> list[str]:
    prompt, out = tokens_of(answer, body.get("contents"))
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": out, "totalTokenCount": prompt + out}
    about = {"modelVersion": "scripted", "responseId": f"r-{len(body.get('contents', ()))}", "usageMetadata": usage}

    def chunk(*parts: dict[str, Any], **candidate: Any) -> str:
        content = {"role": "model", "parts": list(parts)}
        return _data({"candidates": [{"content": content, "index": 0, **candidate}], **about})

    if answer.get("refusal"):
        feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": answer["refusal"]}
        return [_data({"promptFeedback": feedback, **about})]
    lines = []
    for thought in thoughts(answer):
        lines += [chunk({"text": piece, "thought": True}) for piece in thinking_pieces(answer, thought)]
        lines += [chunk({"text": piece}) for piece in pieces(thought)]
    lines += [chunk({"text": piece}) for piece in pieces(answer)]
    if "error" in answer:
        return [*lines, _data({"error": answer["error"]})]
    for number, (_, name, raw) in enumerate(calls_of(answer)):
        arguments = _object(raw)
        if arguments is None:
            said = f"Malformed function call: {name}({raw})"
            return [*lines, chunk(finishReason="MALFORMED_FUNCTION_CALL", finishMessage=said)]
        part: dict[str, Any] = {"functionCall": {"name": name, "args": arguments}}
        lines.append(chunk(part if number else {**part, "thoughtSignature": google_signature(name)}))
    reason = finish_of(answer)
    if reason is None:
        return lines
    words = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
    return [*lines, chunk({"text": ""}, finishReason=words.get(reason, reason))]


def google_fault(kind: str, said: str | None) -> tuple[int, Any]:
    too_many = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
    status, word, message, details = {
        "context_overflow": (400, "INVALID_ARGUMENT", too_many, []),
        "rate_limited": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", []),
        "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
        "server_error": (500, "INTERNAL", "An internal error has occurred", []),
        "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [_KEY_INVALID]),
        "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument.", []),
    }[kind]
    error = {"code": status, "message": said or message, "status": word, "details": details}
    return status, {"error": error}


_KEY_INVALID: Final = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}


def google_problem(body: dict[str, Any]) -> str:
    contents = body["contents"]
    spoken = [at for at, c in enumerate(contents) if c["role"] == "user" and any("text" in p for p in c["parts"])]
    for at, content in enumerate(contents):
        calls = [part for part in content["parts"] if "functionCall" in part]
        if content["role"] != "model" or not calls:
            continue
        following = contents[at + 1]["parts"] if at + 1 < len(contents) else []
        answers = [part["functionResponse"]["name"] for part in following if "functionResponse" in part]
        if answers != [part["functionCall"]["name"] for part in calls]:
            return "Please ensure that the number of function response parts is equal to that of function call parts"
        first = calls[0]
        signed = first.get("thoughtSignature", "").replace("-", "+").replace("_", "/")  # both alphabets are taken
        if at > max(spoken, default=-1) and signed != google_signature(first["functionCall"]["name"]):
            return f"Function call {first['functionCall']['name']} is missing a thought_signature: {signed!r}"
    return ""


# -- the wire


def _halves(raw: str) -> list[str]:
    """Arguments come in pieces, as they do from real servers."""
    half = len(raw) // 2
    return [piece for piece in (raw[:half], raw[half:]) if piece]


def _object(raw: str) -> dict[str, Any] | None:
    try:
        value = json.loads(raw or "{}")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _data(value: Any) -> str:
    return f"data: {json.dumps(value)}"


def _event(kind: str, value: dict[str, Any]) -> str:
    return f"event: {kind}\n{_data({'type': kind, **value})}"


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape("openai", re.compile(r"/chat/completions"), openai_stream, openai_fault, lambda _: ""),
        Shape("anthropic", re.compile(r"/messages"), anthropic_stream, anthropic_fault, anthropic_problem),
        Shape(
            "google",
            re.compile(r"beta/models/[^/]+:streamGenerateContent"),
            google_stream,
            google_fault,
            google_problem,
        ),
    )
}
