"""This module holds the failures that end a turn. Their texts are for the person."""

from __future__ import annotations

from temporalio.exceptions import ActivityError

from kubiya_worker.protocol import names
from kubiya_worker.workflows import activity_failures


class TurnFailed(Exception):
    """The turn cannot go on; the text is for the person.

    `finish` is the turn's finish reason, `kind` the class of the fault, for programs.
    """

    finish = "error"

    def __init__(self, text: str, kind: str = "TurnFailed") -> None:
        super().__init__(text)
        self.kind = kind


class ModelFailed(TurnFailed):
    """A model call failed for good."""

    def __init__(self, error: ActivityError) -> None:
        cause, refused = activity_failures.cause_of(error), activity_failures.kind_of(error) == names.REFUSED
        # What the model itself has answered needs no introduction.
        kind = activity_failures.kind_of(error) or "ModelFailed"
        super().__init__(cause if refused else f"The model could not be called: {cause}", kind)
        self.finish = "content_filter" if refused else "error"


class ConversationTooLong(ModelFailed):
    """The conversation does not fit into the model's window, or that may be why it was refused (`guessed`)."""

    def __init__(self, error: ActivityError, *, guessed: bool = False) -> None:
        super().__init__(error)
        self.guessed = guessed
