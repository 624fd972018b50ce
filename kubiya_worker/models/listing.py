"""This module reads the models that OpenAI-compatible endpoints list, and finds local servers by their usual ports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from kubiya_worker.errors import ConfigurationError, NotAllowed, TemporaryFailure, Unavailable, WorkerError
from kubiya_worker.proxies import proxy_for

PORTS: Final[Mapping[str, int]] = {"Ollama": 11434, "LM Studio": 1234, "llama.cpp": 8080, "vLLM": 8000}
LOOPBACK: Final = "127.0.0.1"
LOCAL_TIMEOUT: Final = 0.5  # seconds for a local server, as a person waits for the answer
TIMEOUT: Final = 5.0  # seconds for a configured endpoint
MOST_BYTES: Final = 4_000_000  # bytes of a list; a public gateway has hundreds of models
MOST_MODELS: Final = 2_000

# The server's name from `owned_by` in its list: another program may listen on a usual port.
_OWNERS: Final = {"library": "Ollama", "organization_owner": "LM Studio", "llamacpp": "llama.cpp", "vllm": "vLLM"}
# Fields in which servers give a model's window. The first one counts: the loaded size before the model's largest.
_WINDOWS: Final = (
    *("loaded_context_length", "max_model_len", "n_ctx", "context_length", "context_window", "max_context_length"),
    *("max_input_tokens", "n_ctx_train"),
)


@dataclass(frozen=True)
class ListedModel:
    """One model of a list; `window` is its context in tokens if the server gives it."""

    name: str
    window: int | None = None


@dataclass(frozen=True)
class ListedEndpoint:
    """An OpenAI-compatible server: its name for people, its base URL, its key."""

    label: str
    url: str
    key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ModelList:
    """The models that an endpoint lists, or the error of asking it."""

    endpoint: ListedEndpoint
    models: tuple[ListedModel, ...] = ()
    fault: WorkerError | None = None


def ask(endpoint: ListedEndpoint, *, seconds: float = TIMEOUT, verify: str | bool = True) -> ModelList:
    """Return the endpoint's answer; never raise."""
    try:
        return _ask(endpoint, seconds, verify)
    except WorkerError as error:
        return ModelList(endpoint, fault=error)
    except (requests.RequestException, OSError, ValueError) as error:
        remedy = f"Check that it runs: curl -v {endpoint.url}/models"
        fault = Unavailable(f"{endpoint.url} cannot be reached ({type(error).__name__})", remedy=remedy)
        return ModelList(endpoint, fault=fault)


def ask_all(
    endpoints: Sequence[ListedEndpoint], *, seconds: float = TIMEOUT, verify: str | bool = True
) -> list[ModelList]:
    """Ask all endpoints at the same time; the answers are in the same order."""
    if not endpoints:
        return []
    with ThreadPoolExecutor(len(endpoints), "model-list") as pool:
        return list(pool.map(lambda each: ask(each, seconds=seconds, verify=verify), endpoints))


def local_servers(ports: Mapping[str, int] = PORTS, *, known: Iterable[str] = ()) -> list[ModelList]:
    """Return the servers on this host's loopback addresses that list models, in little more than LOCAL_TIMEOUT seconds.

    `known` are base URLs that are asked elsewhere: they are left out.
    """
    excluded = {_host_and_port(url) for url in known}
    places = [(label, f"http://{LOOPBACK}:{port}/v1") for label, port in ports.items()]
    answers = ask_all(
        [ListedEndpoint(label, url) for label, url in places if _host_and_port(url) not in excluded],
        seconds=LOCAL_TIMEOUT,
    )
    return [answer for answer in answers if answer.models]


def summary(answer: ModelList, most: int = 5) -> str:
    """Return a server and its models as a text for people."""
    names = [" ".join(listed.name.split())[:60] for listed in answer.models]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{answer.endpoint.label} at {answer.endpoint.url}: {', '.join(names[:most])}{more}"


def first_with(model: str, answers: Sequence[ModelList]) -> ListedEndpoint | None:
    """Return the first server that lists `model` under exactly this name."""
    return next((a.endpoint for a in answers if any(model == listed.name for listed in a.models)), None)


def parse(document: Any) -> tuple[ListedModel, ...]:
    """Read a list in OpenAI's form, without entries that have no name; raise ValueError for any other form."""
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise ValueError("no list of models")
    named = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"].strip()]
    return tuple(ListedModel(row["id"].strip(), window_of(row)) for row in named[:MOST_MODELS])


def window_of(row: Mapping[str, Any]) -> int | None:
    """Return the window that an entry of a list names, at its top or under `meta` or `model_info`."""
    places = [row, *(row[key] for key in ("meta", "model_info") if isinstance(row.get(key), dict))]
    for name in _WINDOWS:
        for place in places:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _ask(endpoint: ListedEndpoint, seconds: float, verify: str | bool) -> ModelList:
    with requests.Session() as session:
        local = is_loopback(endpoint.url)  # this host needs no proxy, and must not get a password from ~/.netrc
        session.trust_env = not local
        proxy = None if local else proxy_for(endpoint.url)
        if proxy:
            session.proxies = {urlsplit(endpoint.url).scheme: proxy}
        headers = dict(endpoint.headers)
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        url = f"{endpoint.url}/models"
        with session.get(
            url, headers=headers, timeout=seconds, verify=verify, stream=True, allow_redirects=False
        ) as reply:
            _check(endpoint, reply.status_code)
            raw = reply.raw.read(MOST_BYTES + 1, decode_content=True)
    if len(raw) > MOST_BYTES:
        raise Unavailable(
            f"The model list of {endpoint.url} has more than {MOST_BYTES // 10**6} MB",
            remedy="Check that the address is one of models; if it is, name a model by its id without the list",
        )
    try:
        document = json.loads(raw)
        models = parse(document)
    except ValueError as error:
        raise Unavailable(
            f"{url} answers, but with no list of models", remedy="Check the address: it usually ends in /v1"
        ) from error
    return ModelList(
        ListedEndpoint(_owner(document) or endpoint.label, endpoint.url, endpoint.key, endpoint.headers), models
    )


def _check(endpoint: ListedEndpoint, status: int) -> None:
    if status in (401, 403):
        raise NotAllowed(
            f"{endpoint.url} refuses the key ({status})" if endpoint.key else f"{endpoint.url} needs a key ({status})",
            remedy="Set OPENAI_API_KEY, or LITELLM_API_KEY for a gateway",
        )
    if status == 404:
        raise ConfigurationError(f"{endpoint.url}/models is not there (404)", remedy="Does the address end in /v1?")
    if status == 429:
        raise TemporaryFailure(f"{endpoint.url} limits the number of requests (429)", remedy="Try again in a moment")
    if status != 200:
        raise Unavailable(f"{endpoint.url}/models answers {status}", remedy=f"curl -v {endpoint.url}/models")


def _owner(document: Any) -> str:
    rows = document.get("data") or ()
    words = {str(row.get("owned_by")) for row in rows if isinstance(row, dict)}
    return _OWNERS.get(words.pop(), "") if len(words) == 1 else ""


def _host_and_port(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return LOOPBACK if is_loopback(url) else str(parts.hostname), parts.port


def is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in (LOOPBACK, "localhost", "::1")
