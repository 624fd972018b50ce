"""Watch an execution with a person: show its events and send the person's answers, until it is over.

One loop waits for three things: events, a line from the keyboard, a signal. So a question disappears
when somebody else answers the approval, and Ctrl-C can be handled as one more question.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from kubiya_worker.cli import approval_reply as reply
from kubiya_worker.cli import ndjson
from kubiya_worker.cli.api.approvals import ApprovalsApi
from kubiya_worker.cli.api.executions import ExecutionsApi
from kubiya_worker.cli.argument_editor import edit_arguments
from kubiya_worker.cli.connection import Api
from kubiya_worker.cli.moments import seconds_taken
from kubiya_worker.cli.progress import ExecutionProgress
from kubiya_worker.cli.question_line import Question, QuestionLine
from kubiya_worker.cli.render import Renderer, is_question
from kubiya_worker.cli.stream import END, FAILED, Follower, Frame
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.control_plane.errors import ControlPlaneError, Unreachable
from kubiya_worker.errors import EX_OK, EX_TEMPFAIL, UsageError
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex

EX_FAILED: Final = 1
EX_CANCELLED: Final = 130  # as a shell reports Ctrl-C
NO_WORKER_AFTER: Final = 10.0  # seconds without a start before the person hears that no worker takes it
SETTLE: Final = 15.0  # seconds to wait until a cancelled execution reports that it is cancelled
ERROR_SETTLE: Final = 2.0  # seconds between an `error` event and asking whether that was the end


@dataclass(frozen=True)
class Manner:
    """The way to watch. `timeout` is in seconds; `approvals` is ASK, GRANT or DENY of approval_reply."""

    approvals: str = reply.ASK
    as_json: bool = False
    live: bool = True  # text as it comes, on stdout
    verbose: bool = False
    output_lines: int | None = 10
    chat: bool = False  # a person answers when it waits for input
    wait_for_approval: bool = True
    timeout: float | None = None
    keyboard: bool = False  # a person types on stdin


class ExecutionWatch:
    def __init__(self, api: Api, execution_id: str, manner: Manner, began: float | None = None, after: int = 0) -> None:
        """`after`: the number of the event behind which the watch begins."""
        self._executions, self._approvals = ExecutionsApi(api), ApprovalsApi(api)
        self._id, self._after = execution_id, after
        self._manner = manner
        self._started_at = time.monotonic() if began is None else began
        self._attached = began is None
        self._progress = ExecutionProgress()
        # On a terminal everything goes to one stream. Otherwise stdout gets only the answer, so that it can be piped.
        screen = sys.stdout if manner.live and not manner.as_json else sys.stderr
        paint = Paint.for_stream(screen)
        self._line = QuestionLine(screen, paint.bold, can_read=manner.keyboard)
        self._renderer = Renderer(
            paint,
            width=_width(),
            verbose=manner.verbose,
            live=manner.live,
            output_lines=manner.output_lines,
        )
        self._shown_approvals: set[str] = set()  # approvals whose arguments are on the screen
        self._asked_once: set[str] = set()
        self._own_messages: list[str] = []  # messages typed here, which must not be shown a second time
        self._interrupts = 0
        self._cancelling: float | None = None  # when the cancellation was requested (monotonic seconds)
        self._error_at: float | None = None
        self._warned = False
        self._exit_code: int | None = None  # the exit code, once it is clear

    def run(self) -> int:
        """Watch until the execution is over or the person leaves. Return the exit code.

        Raises WorkerError when the control plane refuses.
        """
        follower = Follower(self._id, self._executions.open_stream, after=self._after)
        reader, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)
        follower.start()
        try:
            while self._exit_code is None:
                sources = [follower.fileno(), reader]
                if self._line.question is not None and self._line.can_read:
                    sources.append(sys.stdin.fileno())
                ready, _, _ = select.select(sources, [], [], 0.5)
                if reader in ready:
                    os.read(reader, 64)
                    self._interrupted()
                for frame in follower.take_frames():
                    if self._exit_code is None:
                        self._handle(frame)
                if self._line.can_read and sys.stdin.fileno() in ready and not self._line.read():
                    self._keyboard_ended()
                self._check_deadlines()
            return self._exit_code
        finally:
            self._line.withdraw()
            signal.signal(signal.SIGINT, previous_handler)
            follower.close()
            bell, self._bell = self._bell, -1
            os.close(bell)
            os.close(reader)

    # -- events

    def _handle(self, frame: Frame) -> None:
        if frame.event_type == FAILED:
            raise frame.fault
        if frame.event_type == END:
            self._finish()
            return
        self._progress.apply(frame)
        approval_id = str(frame.data.get("approval_id"))
        asked = self._line.question
        if asked is not None and (
            (frame.event_type == ev.APPROVAL_RESOLVED and asked.about == approval_id)
            or (asked.answered == self._send_message and not self._progress.wants_input)
        ):
            self._line.withdraw()
        if frame.event_type == ev.MESSAGE and frame.data.get("content") in self._own_messages:
            self._own_messages.remove(str(frame.data["content"]))
        elif frame.event_type == ev.APPROVAL_REQUESTED and self._line.question is not None:
            pass  # shown under another open question, its arguments would get that question's answer
        else:
            self._print_event(frame)
            self._shown_approvals.add(approval_id)
        match frame.event_type:
            case ev.APPROVAL_REQUESTED:
                self._approval(approval_id, frame.data)
            case ev.APPROVAL_RESOLVED:
                self._next_approval()
            case ev.ERROR:
                self._error_at = time.monotonic()
            case ev.STATUS | ev.MESSAGE:
                self._input_wanted()

    def _print_event(self, frame: Frame) -> None:
        if self._manner.as_json:
            line = ndjson.line_of(frame, self._id, verbose=self._manner.verbose)
            if line is not None:
                print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), file=sys.stderr, flush=True)
            return
        self._line.write(self._renderer.feed(frame, self._progress))

    def _notice(self, text: str) -> None:
        if not self._manner.as_json:
            self._line.write(self._renderer.notice(text))

    def _finish(self) -> None:
        """Finish after the last event: show the answer and the footer, set the exit code."""
        self._line.withdraw()
        progress, by_its_times = self._progress, None
        incomplete = (
            not progress.answer or not progress.usage or (progress.status != ex.COMPLETED and not progress.error)
        )
        if incomplete or self._attached:
            try:
                execution = self._executions.get(self._id)
                progress.finish({**execution, "error": progress.error})
                by_its_times = seconds_taken(execution) if self._attached else None
            except ControlPlaneError:
                pass  # the events have to suffice
        seconds = time.monotonic() - self._started_at if by_its_times is None else by_its_times
        if self._manner.as_json:
            result = {
                "execution_id": self._id,
                "status": progress.status,
                "answer": progress.answer,
                "error": progress.error or None,
                "model": progress.model or None,
                "model_label": progress.model_label or None,
                "steps": progress.steps,
                "tool_calls": progress.tool_calls,
                "usage": progress.usage,
                "seconds": round(seconds, 3),
            }
            print(json.dumps(result, ensure_ascii=False, separators=(",", ":")), flush=True)
        else:
            self._line.write(self._renderer.footer(progress, self._id, seconds))
            if not self._manner.live and progress.answer:
                print(progress.answer.rstrip("\n"), flush=True)
        if progress.status == ex.COMPLETED:
            self._exit_code = EX_OK
        else:
            self._exit_code = EX_CANCELLED if self._cancelling is not None else EX_FAILED

    def _check_deadlines(self) -> None:
        """Act on limits of time that have passed."""
        now = time.monotonic()
        if self._exit_code is not None:
            return
        if self._cancelling is not None and now - self._cancelling > SETTLE:
            self._notice("the cancellation was requested, and the execution has not confirmed it yet")
            self._exit_code = EX_CANCELLED
        elif self._error_at is not None and now - self._error_at > ERROR_SETTLE:
            self._error_at = None
            try:
                if ex.is_final(str(self._executions.get(self._id).get("status"))):
                    self._finish()  # a server that sends no `done` after an `error`
            except Unreachable:
                self._error_at = now
        elif self._manner.timeout is not None and now - self._started_at > self._manner.timeout:
            self._detach(f"{self._manner.timeout:g} s have passed; the execution goes on")
        elif not self._warned and not self._progress.started and now - self._started_at > NO_WORKER_AFTER:
            self._warned = True
            self._notice("no worker has taken it yet. kubiya workers ls lists those that run, kubiya doctor finds why")

    # -- approvals

    def _next_approval(self) -> None:
        """Ask about the first open approval, and show its arguments if they were held back."""
        for approval_id, data in list(self._progress.pending.items())[:1]:
            if self._line.question is None and approval_id not in self._shown_approvals and not self._manner.as_json:
                self._shown_approvals.add(approval_id)
                self._line.write(self._renderer.approval(data))
            self._approval(approval_id, data)

    def _approval(self, approval_id: str, data: dict[str, Any]) -> None:
        manner = self._manner
        if self._line.question is not None:
            return  # one at a time; the next is asked when this one is answered
        if not self._still_open(approval_id):
            return
        if (standing := reply.standing_reply(manner.approvals, data)) is not None:
            self._reply(approval_id, data, standing)
        elif self._line.can_read and not manner.as_json:
            self._ask_approval(approval_id, data)
        elif manner.wait_for_approval:
            self._notice(f"waiting for a person: {reply.command_for(approval_id, data)}")
        else:
            self._detach(f"a person has to answer first: {reply.command_for(approval_id, data)}")

    def _still_open(self, approval_id: str) -> bool:
        """Return whether the request is still open.

        A stream that is read from its beginning also holds requests that were answered long ago.
        """
        try:
            return str(self._approvals.get(approval_id).get("status")) == "pending"
        except ControlPlaneError:
            return True  # sending the answer will show it

    def _ask_approval(self, approval_id: str, data: dict[str, Any]) -> None:
        if approval_id not in self._asked_once:
            self._asked_once.add(approval_id)
            self._line.forget_typed()

        def answered(line: str) -> None:
            self._reply(approval_id, data, reply.typed_reply(line, data))

        self._ask(Question(reply.prompt_for(data), answered, approval_id))

    def _reply(self, approval_id: str, data: dict[str, Any], answer: reply.Reply) -> None:
        """Send a person's or a standing answer. Ask again where there is none yet."""
        if answer.notice:
            self._notice(answer.notice)
        if answer.decision == reply.REJECT:
            self._send(lambda: self._approvals.reject(approval_id, answer.text))
        elif answer.decision == reply.APPROVE and is_question(data):
            self._send(lambda: self._approvals.approve(approval_id, answer=answer.text))
        elif answer.decision == reply.APPROVE:
            self._send(lambda: self._approvals.approve(approval_id, comment=answer.text))
        elif answer.decision == reply.EDIT and (edited := self._edited(data)) is not None:
            self._send(lambda: self._approvals.approve(approval_id, arguments=edited))
        else:
            self._ask_approval(approval_id, data)

    def _edited(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return the arguments as a person leaves them in an editor; None after a notice when nothing was changed."""
        try:
            edited, why = edit_arguments(data.get("tool_args") or {}), "nothing was changed"
        except UsageError as error:
            edited, why = None, error.line()
        if edited is None:
            self._notice(why)
        return edited

    def _send(self, send: Callable[[], object]) -> None:
        try:
            send()
        except ControlPlaneError as error:
            self._notice(error.line())

    # -- the keyboard

    def _ask(self, question: Question) -> None:
        self._line.ask(question, before=self._renderer.end_text())

    def _keyboard_ended(self) -> None:
        if self._manner.chat and self._progress.wants_input:
            self._mark_done()
        elif self._line.question is not None:
            self._detach("standard input has ended; the execution goes on")

    def _input_wanted(self) -> None:
        """Ask for the next message if the agent has answered and waits for one."""
        if not self._progress.wants_input or self._line.question is not None or self._cancelling is not None:
            return
        if self._manner.chat and self._line.can_read:
            self._ask(Question("> ", self._send_message))
        elif not self._manner.chat:
            self._detach("it waits for input: kubiya exec attach -i")

    def _send_message(self, line: str) -> None:
        text = line.strip()
        if text == "/done":
            self._mark_done()
        elif not text:
            self._input_wanted()
        else:
            self._progress.turn_over = False
            self._own_messages.append(text)
            self._send(lambda: self._executions.send_text(self._id, text))

    def _mark_done(self) -> None:
        self._progress.turn_over = False
        self._send(lambda: self._executions.mark_done(self._id))

    # -- leaving

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts > 2:  # even the cancel request hangs
            raise KeyboardInterrupt
        if self._bell >= 0:
            try:
                os.write(self._bell, b"!")
            except BlockingIOError:
                pass

    def _interrupted(self) -> None:
        if self._cancelling is not None:
            self._exit_code = EX_CANCELLED
        elif self._interrupts >= 2 or not self._line.can_read or self._manner.as_json:
            self._cancel()
        else:
            self._line.interrupt()
            self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        """Ask whether to cancel, to leave or to stay. Who stays is asked again for what is still wanted."""

        def answered(line: str) -> None:
            self._interrupts = 0
            word = line.strip().lower()
            if word in ("c", "cancel"):
                self._cancel()
            elif word in ("d", "detach"):
                self._detach("detached; the execution goes on")
            elif self._progress.pending:
                self._next_approval()
            else:
                self._input_wanted()

        self._ask(Question("\n  [c]ancel it (or Ctrl-C again), [d]etach and let it go on, Enter to stay: ", answered))

    def _cancel(self) -> None:
        self._line.withdraw()
        self._cancelling = time.monotonic()
        self._notice("cancelling")
        self._executions.cancel(self._id)

    def _detach(self, why: str) -> None:
        self._line.withdraw()
        if self._manner.as_json:
            result = {"execution_id": self._id, "status": self._progress.status, "detached": why}
            print(json.dumps(result, separators=(",", ":")), flush=True)
        else:
            self._notice(f"{why}. Watch it again: kubiya exec attach {self._id}")
        self._exit_code = EX_TEMPFAIL


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 100  # 0: the terminal does not know its width
    except (OSError, ValueError):
        return 100
