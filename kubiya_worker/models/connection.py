"""How a provider is reached, and the two things that each provider's module gives a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kubiya_worker.models.base import IDLE_TIMEOUT
from kubiya_worker.models.compatibility import NOTHING, Compatibility

if TYPE_CHECKING:
    from pydantic_ai.models import Model as ProviderModel

    Make = Callable[[str], ProviderModel]  # the provider's model of a name
    Shut = Callable[[], Awaitable[None]]  # closes its connections

GATEWAY: Final = "gateway"  # any OpenAI-compatible server at an address of the user's
CONNECT_TIMEOUT: Final = 10.0  # seconds
READ_SLACK: Final = 30.0  # seconds over the idle timeout, which the session keeps more exactly
OPENAI_HOST: Final = "api.openai.com"


@dataclass(frozen=True)
class Connection:
    """How to reach one provider. `idle_timeout` in seconds; `metadata` tells whether trace keys may be sent."""

    provider: str
    base_url: str
    api_key: str = field(repr=False)
    idle_timeout: float = IDLE_TIMEOUT
    metadata: bool = False
    region: str = ""  # Bedrock only
    compatibility: Compatibility = NOTHING
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)  # that an agent's headers may refer to

    @property
    def chat(self) -> bool:
        """Whether OpenAI's chat completions are spoken there."""
        return self.provider in (GATEWAY, "openai")

    @property
    def official(self) -> bool:
        """Whether it is OpenAI's own server, which refuses fields that it does not know."""
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no message repeats: the key, and those of headers."""
        headers = tuple(value for value in self.variables.values() if value)
        return (self.api_key, *self.compatibility.secrets, *headers)

    @property
    def place(self) -> str:
        """What a person calls it: the host of the endpoint, or the provider's name."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2] or self.provider
