"""One provider's open connections, and the streaming of calls through them. Loaded by hosted.py at the first call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_ai import messages as pai
from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import Model as ProviderModel
from pydantic_ai.models import StreamedResponse

from kubiya_worker.models import adaptation, conversion, faults
from kubiya_worker.models.base import TEXT, THINKING, THOUGHT, Delta, ModelError, ModelReply, ModelRequest
from kubiya_worker.models.connection import Connection

if TYPE_CHECKING:
    from kubiya_worker.models.connection import Make, Shut

T = TypeVar("T")


def open_session(connection: Connection) -> Session:
    """The session for `connection`. ImportError when the provider's package is missing."""
    if connection.chat:
        from kubiya_worker.models import openai

        return Session(connection, *openai.connect(connection))
    from kubiya_worker.models import native

    return Session(connection, *native.connect(connection))


class Session:
    """Streams calls to a provider. `make` builds its model of a name, `shut` closes its connections."""

    def __init__(self, connection: Connection, make: Make, shut: Shut) -> None:
        self._connection = connection
        self._make = make
        self._shut = shut
        self._models: dict[str, ProviderModel] = {}

    async def close(self) -> None:
        await self._shut()

    async def stream(self, name: str, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        """Deltas, then the reply. Raises ModelError."""
        pace = Pace(self._connection, request.settings.get("timeout"))
        response: StreamedResponse | None = None
        texts: list[str] = []
        thoughts = _Thoughts()

        async with AsyncExitStack() as stack:
            try:
                opened: StreamedResponse = await pace.wait(stack.enter_async_context(self._open(name, request)))
                response = opened
                events = aiter(opened)
                while event := await pace.wait(anext(events, None)):
                    for delta in thoughts.of(event):
                        if delta.kind == TEXT:
                            texts.append(delta.content)
                        yield delta
            except Exception as error:
                # An answer which says why it stopped is complete: what fails after that is not paid for twice.
                if response is None or response.finish_reason is None:
                    # Without its cause: a failure's causes are recorded, and the provider's words may hold a key.
                    raise self._fault(error, streaming=response is not None) from None
            answer = response.get()
            details = answer.provider_details or {}
            if answer.finish_reason is None and not details.get("finish_reason"):
                raise faults.unfinished(self._connection.place)
            for delta in thoughts.end():
                yield delta
            finish = answer.finish_reason or ""
            wrong = faults.of_answer(finish, details, self._connection.place, self._connection.secrets)
            if wrong is not None:
                reply = conversion.to_reply(answer, "".join(texts))
                wrong.usage, wrong.model = reply.usage, reply.model
                raise wrong
            yield conversion.to_reply(answer, "".join(texts))

    def _open(self, name: str, request: ModelRequest) -> Any:
        if name not in self._models:
            self._models[name] = self._make(name)
        settings = adaptation.settings_of(name, request, self._connection)
        return model_request_stream(
            self._models[name],
            conversion.to_messages(request.system_prompt, request.messages),
            model_settings=settings,
            model_request_parameters=conversion.to_tools(request.tools),
        )

    def _fault(self, error: Exception, *, streaming: bool) -> Exception:
        if isinstance(error, ModelError):
            return error
        secrets = self._connection.secrets
        return faults.fault(error, self._connection.place, streaming=streaming, secrets=secrets) or error


class Pace:
    """How long to wait for the next thing: the connection's idle timeout, and `limit` seconds for the whole call."""

    def __init__(self, connection: Connection, limit: Any) -> None:
        self._place = connection.place
        self._idle = connection.idle_timeout
        self._limit = float(limit) if isinstance(limit, (int, float)) and limit > 0 else None
        self._started = asyncio.get_running_loop().time()

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """What `awaitable` gives. ModelError when it takes too long."""
        left = math.inf
        if self._limit is not None:
            left = self._started + self._limit - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._idle, left)):
                return await awaitable
        except TimeoutError:
            if self._limit is not None and left < self._idle:
                raise faults.overtime(self._place, self._limit) from None
            raise faults.silence(self._place, self._idle) from None


class _Thoughts:
    """What a person sees of the events of an answer: text and thoughts, each thought with a number and an end.

    Tool calls are shown when they are whole.
    """

    def __init__(self) -> None:
        self._count = 0
        self._open: pai.ThinkingPart | None = None
        self._signature = ""

    def of(self, event: pai.ModelResponseStreamEvent) -> list[Delta]:
        part = event.part if isinstance(event, pai.PartStartEvent) else None
        delta = event.delta if isinstance(event, pai.PartDeltaEvent) else None
        if isinstance(part, pai.ThinkingPart):
            ended = self.end()
            self._open, self._signature = part, part.signature or ""
            return ended + self._thought(part.content)
        if isinstance(delta, pai.ThinkingPartDelta):
            self._signature += delta.signature_delta or ""
            return self._thought(delta.content_delta)
        if isinstance(part, pai.TextPart):
            return self.end() + ([Delta(TEXT, part.content)] if part.content else [])
        if isinstance(delta, pai.TextPartDelta):
            return [Delta(TEXT, delta.content_delta)] if delta.content_delta else []
        return self.end() if part is not None else []

    def _thought(self, content: str | None) -> list[Delta]:
        return [Delta(THINKING, content, self._count)] if content else []

    def end(self) -> list[Delta]:
        """The end of the thought that is under way, if one is; one that says nothing (it is sealed) ends too."""
        if self._open is None:
            return []
        ended = Delta(THOUGHT, self._signature, self._count)
        self._open, self._signature = None, ""
        self._count += 1
        return [ended]
