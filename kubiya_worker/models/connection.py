"""This module describes how a provider is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.models.base import IDLE_TIMEOUT
from kubiya_worker.models.compatibility import NOTHING, Compatibility

GATEWAY: Final = "gateway"  # any OpenAI-compatible server at the user's own address
CONNECT_TIMEOUT: Final = 10.0  # seconds
READ_SLACK: Final = 30.0  # seconds added to the idle timeout, so that the session's exact timer ends the call first
OPENAI_HOST: Final = "api.openai.com"


@dataclass(frozen=True)
class Connection:
    """The connection to one provider; `idle_timeout` is in seconds, `metadata` says whether trace keys may be sent."""

    provider: str
    base_url: str
    api_key: str = field(repr=False)
    idle_timeout: float = IDLE_TIMEOUT
    metadata: bool = False
    region: str = ""  # Bedrock only
    compatibility: Compatibility = NOTHING
    # Variables that an agent's headers may refer to.
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    # The worker's variables, for what a provider's package would look up in the process's environment.
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def chat(self) -> bool:
        """Return whether the server speaks OpenAI's chat completions."""
        return self.provider in (GATEWAY, "openai")

    @property
    def official(self) -> bool:
        """Return whether it is OpenAI's own server, which refuses unknown fields."""
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    @property
    def label(self) -> str:
        """Return the name under which answers of a chat endpoint are stored."""
        return "openai" if self.official else "litellm" if self.metadata else "openai-compatible"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that no message may show: the key, and those of headers."""
        headers = tuple(value for value in self.variables.values() if value)
        return (self.api_key, *self.compatibility.secrets, *headers)

    def custom_headers(self, variable: str) -> dict[str, str]:
        """Return the headers of a variable like OPENAI_CUSTOM_HEADERS: a line `Name: value` for each."""
        pairs = (line.partition(":") for line in self.environ.get(variable, "").splitlines())
        return {name.strip(): value.strip() for name, colon, value in pairs if colon}

    @property
    def place(self) -> str:
        """Return the connection's name for people: the host of the endpoint, or the provider's name."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2] or self.provider
