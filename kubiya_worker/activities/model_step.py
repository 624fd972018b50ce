"""One attempt of an activity that asks a model: what it is about, and what it shows people meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from kubiya_worker.activities.attempts import Attempts
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m


@dataclass(frozen=True)
class ModelStep:
    """An attempt. `tag` tells the events of its first model from those of other attempts; later models add to it."""

    call: calls.ModelInput
    context: calls.Context
    conversation: list[m.Message]
    attempts: Attempts
    tag: str
    publisher: Publisher

    def notify(self, name: str, text: str, kind: str, severity: str = "warning") -> None:
        """Show people a notice. Of several with the same name they see one."""
        data = {"severity": severity, "message": text, "kind": kind, "message_id": self.call.message_id}
        self.publisher.emit(ev.event(f"notice:{name}", ev.NOTICE, data))

    def take_back(self, tag: str) -> None:
        """Have clients drop the text that was streamed so far: the model that is asked next streams anew."""
        data = {"message_id": self.call.message_id}
        self.publisher.emit(ev.event(f"reset:{self.call.message_id}:{tag}", ev.RESET_CHUNKS, data))

    def end_chunks_after_text(self) -> None:
        """Send no second text in chunks to clients that cannot take the first back: those of a limited stream."""
        if self.publisher.pace is not None and self.publisher.pace.texts:
            self.publisher.pace.left = 0
