"""The last line of the screen: a question that stands there, and what a person types at it.

Output that comes while a question is open is written above it, line by line, and the question is repeated below.
"""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Question:
    """A question has a prompt; `answered` gets the typed line, `about` is the id of the approval it is about."""

    prompt: str
    answered: Callable[[str], None]
    about: str = ""


class QuestionLine:
    """Writes output and asks one question at a time. `can_read` is false once standard input has ended."""

    def __init__(self, screen: TextIO, bold: Callable[[str], str], *, can_read: bool) -> None:
        self.can_read = can_read
        self.question: Question | None = None
        self._screen, self._bold = screen, bold
        self._prompt = ""  # what stands before the cursor; it stays until the line is left
        self._pending = ""  # output that came meanwhile, until its line is complete
        self._typed = b""

    def write(self, text: str) -> None:
        """Write text to the screen; beside an open question only complete lines, each on a line of its own."""
        if self._prompt:
            self._pending += text
            if not self._pending.endswith("\n"):
                return
            text, self._pending = f"\n{self._pending}{self._prompt}", ""
        if text:
            self._screen.write(text)
            self._screen.flush()

    def ask(self, question: Question, before: str = "") -> None:
        """Ask in place of what is open. `before` ends the output that stands in the line."""
        self.write(before + self._bold(question.prompt))
        self._prompt = self._bold(question.prompt.lstrip("\n"))
        self.question = question

    def withdraw(self) -> None:
        """Take the open question back; the next output begins on a new line."""
        self.question = None
        self._leave("\n")

    def interrupt(self) -> None:
        """Take the open question away after Ctrl-C, whose echo stands in its line."""
        self.question = None
        self._leave("")

    def read(self) -> bool:
        """Read what was typed and hand complete lines to what was asked. Return false when standard input has ended."""
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            self.can_read = False
            return False
        self._typed += data
        while b"\n" in self._typed and self.question is not None:
            line, _, self._typed = self._typed.partition(b"\n")
            question, self.question = self.question, None
            self._leave("")
            question.answered(line.decode(errors="replace"))
        return True

    def forget_typed(self) -> None:
        """Drop what was typed before a question was shown: it is no answer to it."""
        self._typed = b""
        try:
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        except (termios.error, OSError, ValueError):
            pass  # no terminal

    def _leave(self, end: str) -> None:
        """Leave the line of the prompt. `end` is the line end if the terminal has not shown one."""
        if self._prompt:
            output, self._pending, self._prompt = self._pending, "", ""
            self.write(end + output)
