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
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from typing import Any, Final

import click

from kubiya_worker.cli import ndjson
from kubiya_worker.cli.connection import Api
from kubiya_worker.cli.progress import Progress
from kubiya_worker.cli.render import Renderer, is_question, options_of
from kubiya_worker.cli.stream import END, FAILED, Follower, Frame
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.control_plane.errors import ControlPlaneError, Unreachable
from kubiya_worker.errors import EX_OK, EX_TEMPFAIL, UsageError, WorkerError
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names

EX_FAILED: Final = 1
EX_CANCELLED: Final = 130  # as a shell reports Ctrl-C
NO_WORKER_AFTER: Final = 10.0  # seconds without a start before the person hears that no worker takes it
SETTLE: Final = 15.0  # seconds to wait until a cancelled execution reports that it is cancelled
ERROR_SETTLE: Final = 2.0  # seconds between an `error` event and asking whether that was the end

ASK, GRANT, DENY = "ask", "grant", "deny"


@dataclass(frozen=True)
class Manner:
    """The way to watch. `timeout` is in seconds; `approvals` is ASK, GRANT or DENY."""

    approvals: str = ASK
    as_json: bool = False
    live: bool = True  # text as it comes, on stdout
    verbose: bool = False
    output_lines: int | None = 10
    chat: bool = False  # a person answers when it waits for input
    wait_for_approval: bool = True
    timeout: float | None = None
    keyboard: bool = False  # a person types on stdin


class Watch:
    def __init__(self, api: Api, execution_id: str, manner: Manner, began: float | None = None) -> None:
        self._api = api
        self._id = execution_id
        self._manner = manner
        self._began = time.monotonic() if began is None else began
        self._attached = began is None
        self._progress = Progress()
        # On a terminal everything goes to one stream. Otherwise stdout gets only the answer, so that it can be piped.
        self._screen = sys.stdout if manner.live and not manner.as_json else sys.stderr
        self._paint = Paint.for_stream(self._screen)
        self._renderer = Renderer(
            self._paint,
            width=_width(),
            verbose=manner.verbose,
            live=manner.live,
            output_lines=manner.output_lines,
        )
        self._question: Callable[[str], None] | None = None
        self._asked = ""  # the prompt before the cursor
        self._held = ""  # output that came meanwhile, until its line is complete
        self._asks_about = ""  # the approval that `_question` is about, if any
        self._seen: set[str] = set()  # approvals whose arguments are on the screen
        self._asked_once: set[str] = set()
        self._typed = b""
        self._mine: list[str] = []  # messages typed here, which must not be shown a second time
        self._keyboard_open = manner.keyboard
        self._interrupts = 0
        self._cancelling: float | None = None  # when the cancellation was requested (monotonic seconds)
        self._error_at: float | None = None
        self._warned = False
        self._leave: int | None = None  # the exit code, once it is clear

    def run(self) -> int:
        """Watch until the execution is over or the person leaves. Return the exit code.

        Raises WorkerError when the control plane refuses.
        """
        follower = Follower(self._id, self._api.open_stream)
        reader, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        follower.start()
        try:
            while self._leave is None:
                sources = [follower.fileno(), reader]
                if self._question is not None and self._keyboard_open:
                    sources.append(sys.stdin.fileno())
                ready, _, _ = select.select(sources, [], [], 0.5)
                if reader in ready:
                    os.read(reader, 64)
                    self._interrupted()
                for frame in follower.taken():
                    if self._leave is None:
                        self._take(frame)
                if sys.stdin.fileno() in ready if self._keyboard_open else False:
                    self._read_keyboard()
                self._clock()
            return self._leave
        finally:
            self._close_question()
            signal.signal(signal.SIGINT, before)
            follower.close()
            bell, self._bell = self._bell, -1
            os.close(bell)
            os.close(reader)

    # -- events

    def _take(self, frame: Frame) -> None:
        if frame.event_type == FAILED:
            raise frame.error or WorkerError("The stream failed")
        if frame.event_type == END:
            self._over()
            return
        self._progress.take(frame)
        approval_id = str(frame.data.get("approval_id"))
        answered = frame.event_type == ev.APPROVAL_RESOLVED and self._asks_about == approval_id
        if answered or (self._question == self._said and not self._progress.wants_input):
            self._close_question()
        if frame.event_type == ev.MESSAGE and frame.data.get("content") in self._mine:
            self._mine.remove(str(frame.data["content"]))
        elif frame.event_type == ev.APPROVAL_REQUESTED and self._question is not None:
            pass  # shown under another open question, its arguments would get that question's answer
        else:
            self._show(frame)
            self._seen.add(approval_id)
        match frame.event_type:
            case ev.APPROVAL_REQUESTED:
                self._approval(approval_id, frame.data)
            case ev.APPROVAL_RESOLVED:
                self._next_approval()
            case ev.ERROR:
                self._error_at = time.monotonic()
            case ev.STATUS | ev.MESSAGE:
                self._input_wanted()

    def _show(self, frame: Frame) -> None:
        if self._manner.as_json:
            line = ndjson.line_of(frame, self._id, verbose=self._manner.verbose)
            if line is not None:
                print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), file=sys.stderr, flush=True)
            return
        self._write(self._renderer.feed(frame, self._progress))

    def _write(self, text: str) -> None:
        """Write text to the screen.

        While a question is open, only complete lines are written, each on its own line, and the question is repeated
        below.
        """
        if self._asked:
            self._held += text
            if self._held.endswith("\n"):
                text, self._held = f"\n{self._held}{self._asked}", ""
            else:
                return
        if text:
            self._screen.write(text)
            self._screen.flush()

    def _note(self, text: str) -> None:
        if not self._manner.as_json:
            self._write(self._renderer.notice(text))

    def _over(self) -> None:
        """Finish after the last event: show the answer and the footer, set the exit code."""
        self._close_question()
        progress, took = self._progress, None
        incomplete = (
            not progress.answer or not progress.usage or (progress.status != ex.COMPLETED and not progress.error)
        )
        if incomplete or self._attached:
            try:
                execution = self._api.execution(self._id)
                progress.finish({**execution, "error": progress.error})
                took = _seconds_between(execution) if self._attached else None
            except ControlPlaneError:
                pass  # the events have to suffice
        seconds = time.monotonic() - self._began if took is None else took
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
            self._write(self._renderer.footer(progress, self._id, seconds))
            if not self._manner.live and progress.answer:
                print(progress.answer.rstrip("\n"), flush=True)
        if progress.status == ex.COMPLETED:
            self._leave = EX_OK
        else:
            self._leave = EX_CANCELLED if self._cancelling is not None else EX_FAILED

    def _clock(self) -> None:
        """Act on limits of time that have passed."""
        now = time.monotonic()
        if self._leave is not None:
            return
        if self._cancelling is not None and now - self._cancelling > SETTLE:
            self._note("it was asked to cancel and has not said so yet")
            self._leave = EX_CANCELLED
        elif self._error_at is not None and now - self._error_at > ERROR_SETTLE:
            self._error_at = None
            try:
                if ex.is_final(str(self._api.execution(self._id).get("status"))):
                    self._over()  # a server that sends no `done` after an `error`
            except Unreachable:
                self._error_at = now
        elif self._manner.timeout is not None and now - self._began > self._manner.timeout:
            self._detach(f"{self._manner.timeout:g} s are over; the execution goes on")
        elif not self._warned and not self._progress.started and now - self._began > NO_WORKER_AFTER:
            self._warned = True
            self._note("no worker has taken it yet. Is one running?  kubiya worker start --queue-id …")

    # -- approvals

    def _next_approval(self) -> None:
        """Ask about the first open approval, and show its arguments if they were held back."""
        for approval_id, data in list(self._progress.pending.items())[:1]:
            if self._question is None and approval_id not in self._seen and not self._manner.as_json:
                self._seen.add(approval_id)
                self._write(self._renderer.approval(data))
            self._approval(approval_id, data)

    def _close_question(self) -> None:
        """Withdraw the open question; the next output begins on a new line."""
        self._question, self._asks_about = None, ""
        self._end_prompt("\n")

    def _end_prompt(self, end: str) -> None:
        """Leave the line of the prompt. `end` is the line end if the terminal has not shown one."""
        if self._asked:
            held, self._held, self._asked = self._held, "", ""
            self._write(end + held)

    def _approval(self, approval_id: str, data: dict[str, Any]) -> None:
        manner = self._manner
        if self._question is not None:
            return  # one at a time; the next is asked when this one is answered
        if not self._still_open(approval_id):
            return
        if manner.approvals == GRANT and data.get("tool_name") == names.RAISE_BUDGET:
            self._note("not granted: --approve is for tools, not for more budget")
            self._answer(lambda: self._api.reject(approval_id, "kubiya exec --approve does not raise budgets"))
        elif manner.approvals == GRANT and is_question(data):
            self._note("not answered: --approve is for tools, not for questions")
            self._answer(lambda: self._api.reject(approval_id, "nobody is there to answer (kubiya exec --approve)"))
        elif manner.approvals == GRANT:
            self._note("granted, as --approve says")
            self._answer(lambda: self._api.approve(approval_id, comment="kubiya exec --approve"))
        elif manner.approvals == DENY:
            self._answer(lambda: self._api.reject(approval_id, "kubiya exec --deny"))
        elif self._keyboard_open and not manner.as_json:
            self._ask_approval(approval_id, data)
        elif manner.wait_for_approval:
            self._note(f"waiting for a person: {_command(approval_id, data)}")
        else:
            self._detach(f"a person has to answer first: {_command(approval_id, data)}")

    def _still_open(self, approval_id: str) -> bool:
        """Return whether the request is still open.

        A stream that is read from its beginning also holds requests that were answered long ago.
        """
        try:
            return str(self._api.get_approval(approval_id).get("status")) == "pending"
        except ControlPlaneError:
            return True  # sending the answer will show it

    def _ask_approval(self, approval_id: str, data: dict[str, Any]) -> None:
        if approval_id not in self._asked_once:
            self._asked_once.add(approval_id)
            self._forget_typed()  # text typed before the question was shown is no answer to it
        if is_question(data):
            self._prompt("  your answer: ")
            self._question, self._asks_about = lambda line: self._answer_question(approval_id, data, line), approval_id
            return
        tool = one_line(str(data.get("tool_name")), 60)
        self._prompt(f"  run {tool}? [y]es, [n]o, [e]dit, or say why not: ")

        def answered(line: str) -> None:
            word = line.strip()
            if word.lower() in ("y", "yes"):
                self._answer(lambda: self._api.approve(approval_id))
            elif word.lower() in ("n", "no"):
                self._answer(lambda: self._api.reject(approval_id))
            elif word.lower() in ("e", "edit"):
                try:
                    edited, why = edit_arguments(data.get("tool_args") or {}), "nothing was changed"
                except UsageError as error:
                    edited, why = None, error.line()
                if edited is None:
                    self._note(why)
                    self._ask_approval(approval_id, data)
                else:
                    self._answer(lambda: self._api.approve(approval_id, arguments=edited))
            elif word:
                self._answer(lambda: self._api.reject(approval_id, word))
            else:
                self._ask_approval(approval_id, data)

        self._question, self._asks_about = answered, approval_id

    def _answer_question(self, approval_id: str, data: dict[str, Any], line: str) -> None:
        """Send the answer to a question; the number of an option stands for the option."""
        options, text = options_of(data), line.strip()
        if not text:
            self._ask_approval(approval_id, data)
            return
        chosen = options[int(text) - 1] if text.isdecimal() and 1 <= int(text) <= len(options) else text
        self._answer(lambda: self._api.approve(approval_id, answer=chosen))

    def _forget_typed(self) -> None:
        self._typed = b""
        try:
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        except (termios.error, OSError, ValueError):
            pass  # no terminal

    def _answer(self, send: Callable[[], object]) -> None:
        self._question, self._asks_about = None, ""
        try:
            send()
        except ControlPlaneError as error:
            self._note(error.line())

    # -- the keyboard

    def _prompt(self, text: str) -> None:
        self._write(self._renderer.end_text() + self._paint.bold(text))
        self._asked = self._paint.bold(text.lstrip("\n"))

    def _read_keyboard(self) -> None:
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            self._keyboard_open = False
            if self._manner.chat and self._progress.wants_input:
                self._mark_done()
            elif self._question is not None:
                self._detach("the keyboard is gone; the execution goes on")
            return
        self._typed += data
        while b"\n" in self._typed and self._question is not None:
            line, _, self._typed = self._typed.partition(b"\n")
            question, self._question, self._asks_about = self._question, None, ""
            self._end_prompt("")
            question(line.decode(errors="replace"))

    def _input_wanted(self) -> None:
        """Ask for the next message if the agent has answered and waits for one."""
        if not self._progress.wants_input or self._question is not None or self._cancelling is not None:
            return
        if self._manner.chat and self._keyboard_open:
            self._prompt("> ")
            self._question = self._said
        elif not self._manner.chat:
            self._detach("it waits for input: kubiya exec attach -i")

    def _said(self, line: str) -> None:
        text = line.strip()
        if text == "/done":
            self._mark_done()
        elif not text:
            self._input_wanted()
        else:
            self._progress.turn_over = False
            self._mine.append(text)
            self._answer(lambda: self._api.say(self._id, text))

    def _mark_done(self) -> None:
        self._progress.turn_over = False
        self._answer(lambda: self._api.mark_done(self._id))

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
            self._leave = EX_CANCELLED
        elif self._interrupts >= 2 or not self._keyboard_open or self._manner.as_json:
            self._cancel()
        else:
            question, self._asks_about = self._question, ""
            self._end_prompt("")
            self._prompt("\n  [c]ancel it (or Ctrl-C again), [d]etach and let it go on, Enter to stay: ")

            def answered(line: str) -> None:
                self._interrupts = 0
                word = line.strip().lower()
                if word in ("c", "cancel"):
                    self._cancel()
                elif word in ("d", "detach"):
                    self._detach("detached; the execution goes on")
                else:
                    self._question = None if self._progress.pending else question
                    self._next_approval()

            self._question = answered

    def _cancel(self) -> None:
        self._close_question()
        self._cancelling = time.monotonic()
        self._note("cancelling")
        self._api.cancel(self._id)

    def _detach(self, why: str) -> None:
        self._close_question()
        if self._manner.as_json:
            result = {"execution_id": self._id, "status": self._progress.status, "detached": why}
            print(json.dumps(result, separators=(",", ":")), flush=True)
        else:
            self._note(f"{why}. Watch it again: kubiya exec attach {self._id}")
        self._leave = EX_TEMPFAIL


def _command(approval_id: str, data: dict[str, Any]) -> str:
    """Return the command that answers a request from another terminal."""
    if is_question(data):
        return f'kubiya approvals answer {approval_id} "…"   (or deny)'
    return f"kubiya approvals approve {approval_id}   (or deny, edit)"


def edit_arguments(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Let a person edit the arguments in $EDITOR. Return the new ones; None when nothing was changed.

    Raises UsageError when there is no editor, or it fails.
    """
    text = json.dumps(arguments, ensure_ascii=False, indent=2)
    while True:
        try:
            edited = click.edit(text + "\n", extension=".json")
        except (click.ClickException, OSError) as error:
            said = error.format_message() if isinstance(error, click.ClickException) else str(error)
            raise UsageError(f"The editor did not work: {said}", remedy="Set EDITOR to one that is there") from error
        if edited is None or edited.strip() == json.dumps(arguments, ensure_ascii=False, indent=2):
            return None
        try:
            parsed = json.loads(edited)
        except ValueError as error:
            click.echo(f"  That is not JSON: {error}", err=True)
            text = edited.rstrip("\n")
            if not click.confirm("  Edit again?", default=True, err=True):
                return None
            continue
        if isinstance(parsed, dict):
            return None if parsed == arguments else parsed
        click.echo("  Arguments are a JSON object", err=True)


def _seconds_between(execution: dict[str, Any]) -> float | None:
    """Return the seconds that an execution took by its own times; None when they are missing."""
    try:
        ended = datetime.fromisoformat(str(execution["completed_at"]))
        return max(0.0, (ended - datetime.fromisoformat(str(execution["created_at"]))).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 100  # 0: the terminal does not know its width
    except (OSError, ValueError):
        return 100
