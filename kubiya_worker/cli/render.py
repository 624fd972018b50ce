"""Events as text for a person. Pure: a `Renderer` gets frames and returns text; it writes nothing itself."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

from kubiya_worker.cli.progress import ExecutionProgress, error_text
from kubiya_worker.cli.stream import BACK, LOST, Frame
from kubiya_worker.cli.terminal import Paint, clean, one_line, truncate
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex

APPROVAL_LINES: Final = 40  # lines of an argument that are shown; `kubiya approvals show` has the rest


def short_first(arguments: dict[str, Any]) -> list[tuple[str, Any]]:
    """Sort one-line values before long texts, so that a person sees the subject of a call first."""
    return sorted(arguments.items(), key=lambda item: isinstance(item[1], str) and "\n" in item[1])


def arguments_text(arguments: Any) -> str:
    """Return a tool's arguments on one line: the command if there is one, else name=value."""
    if isinstance(arguments, str):
        return arguments
    if not isinstance(arguments, dict):
        return ""
    values = {k: v for k, v in arguments.items() if v is not None}
    command = values.get("command", values.get("argv"))
    if isinstance(command, list):
        return shlex.join(str(part) for part in command)
    if isinstance(command, str):
        return command
    if len(values) == 1:
        value = next(iter(values.values()))
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(
        f"{k}={v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)}" for k, v in short_first(values)
    )


def arguments_block(arguments: Any, paint: Paint, indent: str) -> str:
    """Return all arguments, line by line, for a person who has to approve them."""
    if not isinstance(arguments, dict):
        arguments = {"arguments": arguments}
    out = []
    for name, value in short_first(arguments):
        text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))
        lines = text.split("\n")
        more = len(lines) - APPROVAL_LINES
        lines = lines[:APPROVAL_LINES]
        label = clean(str(name))
        if len(lines) == 1:
            out.append(f"{indent}{paint.dim(label + ':')} {lines[0]}")
            continue
        out.append(f"{indent}{paint.dim(label + ':')}")
        out += [f"{indent}  {line}" for line in lines]
        if more > 0:
            out.append(f"{indent}  {paint.dim(f'… {more} lines more')}")
    return "\n".join(out)


def is_question(data: dict[str, Any]) -> bool:
    """Return whether an agent asks a question, not for approval. `data` is the request or its event."""
    enforcement = data.get("enforcement") or data.get("enforcement_context")
    return isinstance(enforcement, dict) and bool(enforcement.get("question"))


def options_of(data: dict[str, Any]) -> list[str]:
    """Return the answers that an agent's question offers."""
    arguments = data.get("tool_args")
    options = arguments.get("options") if isinstance(arguments, dict) else None
    return [str(option) for option in options] if isinstance(options, list) else []


def duration(seconds: float) -> str:
    """Format a duration: 30 ms, 1.3 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Renderer:
    """Turns events into text. `live` streams text as it arrives.

    Without `live`, text is shown when it is clear that it is not the final answer.
    """

    def __init__(
        self, paint: Paint, *, width: int = 100, verbose: bool = False, live: bool = True, output_lines: int | None = 10
    ) -> None:
        self._paint = paint
        self._width = max(40, width)
        self._verbose = verbose
        self._live = live
        self._output_lines = output_lines
        self._open_message: str | None = None  # id of the message whose text is before the cursor
        self._at_line_start = True
        self._streamed: dict[str, str] = {}  # text so far, by message id
        self._complete: set[str] = set()
        self._possible_answer = ""  # text that may be the answer
        self._running: dict[str, str] = {}  # tools that run, by call id
        self._thinking = False
        self._header_written = False
        self._questions: set[str] = set()  # ids of requests that are questions

    def feed(self, frame: Frame, progress: ExecutionProgress) -> str:
        """Return the text that this event adds. `progress` has taken the event already."""
        data = frame.data
        if data.get("source") == "team_member":
            return self._of_member(frame)
        match frame.event_type:
            case ev.RUN_STARTED:
                return self._header(progress)
            case ev.MESSAGE_CHUNK:
                return self._chunk(data)
            case ev.MESSAGE:
                return self._message(data, progress)
            case ev.RESET_CHUNKS:
                return self._reset(data)
            case ev.THINKING_DELTA:
                return self._think(data)
            case ev.TOOL_STARTED:
                return self._tool_started(data)
            case ev.TOOL_COMPLETED:
                return self._tool_completed(data)
            case ev.APPROVAL_REQUESTED:
                return self.approval(data)
            case ev.APPROVAL_RESOLVED:
                return self._resolved(data)
            case ev.STATUS:
                return self._status(data)
            case ev.NOTICE:
                return self.notice(str(data.get("message") or data.get("text") or ""))
            case ev.ERROR:
                return self._line(self._paint.red(f"  error: {one_line(error_text(data), 500)}"))
            case "degraded" | "gap_detected":
                return self.notice(str(data.get("message") or data.get("reason") or "events are missing here"))
            case _ if frame.event_type == LOST:
                return self.notice("the connection to the control plane is lost; the execution goes on. Reconnecting …")
            case _ if frame.event_type == BACK:
                return self.notice("connected again")
        return ""

    def notice(self, text: str) -> str:
        return self._line(self._paint.yellow(f"  {self._paint.symbol('…', '...')} {one_line(text, 500)}"))

    def footer(self, progress: ExecutionProgress, execution_id: str, seconds: float) -> str:
        """Return the last line: the result, and the steps, tokens and time it took."""
        paint = self._paint
        good = progress.status == ex.COMPLETED
        mark = paint.green(paint.symbol("✓", "ok:")) if good else paint.red(paint.symbol("✗", "!!"))
        counts = [progress.status]
        counts.append(f"{progress.steps} step{'s' * (progress.steps != 1)}")
        counts.append(f"{progress.tool_calls} tool call{'s' * (progress.tool_calls != 1)}")
        if progress.tokens:
            counts.append(f"{progress.tokens:,} tokens")
        cached = int(progress.usage.get("cache_read_tokens") or 0)
        if progress.tokens and cached:
            counts[-1] += f" ({cached:,} cached)"
        if progress.usage.get("cost_usd"):
            saved = float(progress.usage.get("saved_usd") or 0)
            counts.append(f"${progress.usage['cost_usd']:.4f}" + (f" (${saved:.4f} saved)" if saved > 0 else ""))
        counts += [duration(seconds), execution_id]
        out = self.end_text()
        if progress.error and not good:
            out += self._line(paint.red(f"  {one_line(progress.error, 2000)}"))
        if progress.model_label:
            counts.append(one_line(progress.model_label, 80))
        return out + f"{mark} {paint.dim(paint.symbol(' · ', ', ').join(counts))}\n"

    def approval(self, data: dict[str, Any]) -> str:
        """Return the request for approval or the question, with everything that a person must see to answer."""
        paint = self._paint
        out = self._flush_possible_answer() + self.end_text()
        tool = one_line(str(data.get("tool_name")), 100)
        risk = f" ({one_line(str(data['risk_level']), 20)} risk)" if data.get("risk_level") else ""
        if is_question(data):
            self._questions.add(str(data.get("approval_id")))
            out += f"{paint.yellow(paint.bold('  ? the agent asks'))}\n"
        else:
            out += f"{paint.yellow(paint.bold(f'  ? approval needed: {tool}'))}{paint.yellow(risk)}\n"
        if data.get("member_path"):
            path = paint.symbol(" → ", " -> ").join(one_line(str(name), 60) for name in data["member_path"])
            out += f"    {paint.dim('for:')} {path}\n"
        if is_question(data):
            asked = str((data.get("tool_args") or {}).get("question") or "")
            out += "".join(f"    {line}\n" for line in clean(asked).split("\n"))
            return out + "".join(
                f"    {n}. {one_line(choice, 300)}\n" for n, choice in enumerate(options_of(data), start=1)
            )
        if data.get("reason"):
            out += f"    {paint.dim('why:')} {one_line(str(data['reason']), 500)}\n"
        block = arguments_block(data.get("tool_args") or {}, paint, "    ")
        return out + (block + "\n" if block else "")

    def end_text(self) -> str:
        """End the line that the cursor is in."""
        out = "" if self._at_line_start else "\n"
        self._at_line_start = True
        self._open_message = None
        self._thinking = False
        return out

    # -- text

    def _header(self, progress: ExecutionProgress) -> str:
        if self._header_written:
            return ""
        self._header_written = True
        label = f" ({progress.model_label})" if progress.model_label else ""
        name = " · ".join(filter(None, (progress.agent, progress.model)))
        return self._line(self._paint.dim(one_line(f"{name}{label}", 200))) if name else ""

    def _chunk(self, data: dict[str, Any]) -> str:
        message_id, text = str(data.get("message_id")), str(data.get("content") or "")
        if message_id in self._complete:
            return ""
        self._streamed[message_id] = self._streamed.get(message_id, "") + text
        if not self._live:
            return ""
        return self._write(message_id, text)

    def _write(self, message_id: str, text: str) -> str:
        text = clean(text)
        out = ""
        if self._open_message != message_id:
            out = self.end_text()
            self._open_message = message_id
            text = text.lstrip("\n")
        if text:
            self._at_line_start = text.endswith("\n")
        return out + text

    def _message(self, data: dict[str, Any], progress: ExecutionProgress) -> str:
        message_id, content = str(data.get("message_id")), str(data.get("content") or "")
        if message_id in self._complete:
            return ""
        self._complete.add(message_id)
        if data.get("role") == "user":
            first = message_id.endswith("_user_1")
            who = f"{one_line(str(data['user_name']), 80)}: " if data.get("user_name") else ""
            return "" if first else self._line(self._paint.bold(f"> {who}{clean(content)}"))
        if data.get("role") != "assistant":
            return ""
        out = self._header(progress)
        streamed = self._streamed.pop(message_id, "")
        if self._live:
            if not streamed:
                out += self._write(message_id, content)
            return out + self.end_text()
        if data.get("tool_calls"):
            return out + (self._line(self._paint.dim(clean(content.strip()))) if content.strip() else "")
        self._possible_answer = content
        return out

    def _flush_possible_answer(self) -> str:
        answer, self._possible_answer = self._possible_answer.strip(), ""
        return self._line(self._paint.dim(clean(answer))) if answer else ""

    def _reset(self, data: dict[str, Any]) -> str:
        message_id = str(data.get("message_id"))
        cut_off = bool(self._streamed.pop(message_id, "").strip())
        self._complete.discard(message_id)
        if not cut_off or not self._live:
            return ""
        out = self.end_text()
        return out + self.notice("the model's answer was cut, starting again")

    def _think(self, data: dict[str, Any]) -> str:
        text = clean(str(data.get("thinking") or ""))
        if not self._verbose or not text:
            return ""
        out = "" if self._thinking else self.end_text()
        self._thinking = True
        self._at_line_start = text.endswith("\n")
        return out + self._paint.dim(text)

    # -- a team

    def _of_member(self, frame: Frame) -> str:
        """Return a member's output, after its name and indented by its depth, because several work at the same time."""
        data = frame.data
        match frame.event_type:
            case ev.APPROVAL_REQUESTED:
                return self.approval(data)
            case ev.MEMBER_MESSAGE_COMPLETE:
                content = str(data.get("content") or "").strip() if data.get("role") != "user" else ""
                text = "".join(f"{clean(line)}\n" for line in content.split("\n")) if content else ""
            case ev.MEMBER_TOOL_STARTED:
                text = self._tool_started(data)
            case ev.MEMBER_TOOL_COMPLETED:
                text = self._tool_completed(data)
            case ev.NOTICE:
                text = self.notice(str(data.get("message") or ""))
            case _:
                return ""  # pieces of text: a member's message is shown when it is complete
        if not text:
            return ""
        paint = self._paint
        indent = "  " * max(2, len(data.get("member_path") or ()))
        name = paint.dim(f"{one_line(str(data.get('member_name')), 30)} {paint.symbol('│', '|')} ")
        return self.end_text() + "".join(f"{indent}{name}{line.removeprefix('  ')}\n" for line in text.splitlines())

    # -- tools and people

    def _tool_started(self, data: dict[str, Any]) -> str:
        paint = self._paint
        name = one_line(str(data.get("delegate") or data.get("tool_name")), 60)
        self._running[str(data.get("tool_execution_id"))] = name
        arguments = data.get("tool_arguments") or data.get("tool_input")
        room = self._width - len(name) - 6
        if data.get("delegate") and isinstance(arguments, dict):
            arguments = {"task": arguments.get("task")}
        shown = clean(arguments_text(arguments)) if self._verbose else one_line(arguments_text(arguments), room)
        line = f"  {paint.cyan(paint.symbol('▸', '>'))} {paint.bold(name)}  {shown}".rstrip()
        return self._flush_possible_answer() + self._line(line)

    def _tool_completed(self, data: dict[str, Any]) -> str:
        paint = self._paint
        call_id = str(data.get("tool_execution_id"))
        several = len(self._running) > 1
        name = self._running.pop(call_id, one_line(str(data.get("tool_name")), 60))
        good = str(data.get("status") or data.get("tool_status")).lower() in ("success", "completed")
        mark = paint.green(paint.symbol("✓", "ok")) if good else paint.red(paint.symbol("✗", "!!"))
        output = data.get("tool_output")
        text = output if isinstance(output, str) else json.dumps(output) if output else ""
        if not good:
            text = str(data.get("tool_error") or text or data.get("message") or "")
        parts = [mark]
        if several:
            parts.append(paint.bold(name))
        seconds = data.get("duration_seconds")
        if isinstance(seconds, int | float):
            parts.append(paint.dim(duration(float(seconds))))
        outcome = str(data.get("outcome") or "")
        if outcome and outcome not in ("success", "failed"):
            parts.append(paint.yellow(one_line(outcome.replace("_", " "), 40)))
        lines = clean(text).strip().split("\n") if text.strip() else []
        if self._verbose and lines:
            keep = lines if self._output_lines is None else lines[: self._output_lines]
            body = "".join(f"      {paint.dim(line)}\n" for line in keep)
            if len(keep) < len(lines):
                body += paint.dim(f"      … {len(lines) - len(keep)} lines more") + "\n"
            return self._line(f"    {' '.join(parts)}") + body
        more = f" {paint.symbol('…', '...')} {len(lines)} lines" if len(lines) > 1 else ""
        room = self._width - 20 - len(more)
        first = truncate(" ".join(lines[0].split()), room) if lines else "no output"
        summary = (paint.dim if good else paint.red)(first) + paint.dim(more)
        return self._line(f"    {' '.join(parts)} {summary}")

    def _resolved(self, data: dict[str, Any]) -> str:
        paint = self._paint
        status = str(data.get("status"))
        who = data.get("approved_by_name") or data.get("approved_by_email")
        by = f" by {one_line(str(who), 80)}" if who else ""
        why = f": {one_line(str(data['rejection_reason']), 300)}" if data.get("rejection_reason") else ""
        question = str(data.get("approval_id")) in self._questions
        if status == "approved":
            word = "answered" if question else "approved"
            return self._line(f"    {paint.green(paint.symbol('✓', 'ok'))} {word}{by}")
        turned_down = "not answered" if question and status == "rejected" else one_line(status, 20)
        word = "expired, nobody answered" if status == "expired" else f"{turned_down}{by}"
        return self._line(f"    {paint.red(paint.symbol('✗', '!!'))} {word}{why}")

    def _status(self, data: dict[str, Any]) -> str:
        paused = str(data.get("status") or "").lower() == ex.PAUSED
        return self._line(self._paint.yellow("  paused")) if paused else ""

    def _line(self, text: str) -> str:
        return f"{self.end_text()}{text}\n"
