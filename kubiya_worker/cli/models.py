"""`kubiya models`: list the models that are stored and those of this host's endpoints, and test what a model can do.

Exit codes:

      0  ls: at least one model was listed; test: the model called the tool
      1  test: the model answered, and called no tool
     64  the command line is wrong
     69  no endpoint can be reached
     75  the endpoint wants fewer requests
     77  the key is wrong or missing
     78  there is no endpoint; the endpoint does not have the model; a setting is wrong
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any, Final

import click

from kubiya_worker import trust
from kubiya_worker.cli import choice, completion, kinds, model_definitions, tables
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.options import config_file
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError, UsageError, WorkerError
from kubiya_worker.models import listing, routes
from kubiya_worker.models.base import Endpoint
from kubiya_worker.models.choice import NATIVE, Models, split
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.models.listing import ModelList
from kubiya_worker.models.prices import Prices
from kubiya_worker.models.routes import Routing
from kubiya_worker.process.model_endpoints import endpoint_of, endpoints_of, routes_of
from kubiya_worker.protocol import model_entries
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.proxies import spare_loopback
from kubiya_worker.settings import Settings, sources

NO_ENDPOINT: Final = (
    "Set OPENAI_API_KEY, OPENAI_BASE_URL or LITELLM_API_BASE, give --base-url URL, or start a local server: "
    "`ollama serve`, LM Studio, `llama-server` or `vllm serve`"
)

COLUMNS: Final = (
    field("model", most=60),
    field("origin"),
    Cells("QUEUES", lambda row: row["queues"] or ("all" if row["origin"] == model_definitions.STORED else None), 40),
    Cells("WINDOW", lambda row: f"{row['context_window']:,}" if row["context_window"] else None),
    Cells(
        "PRICE IN / OUT",
        lambda row: f"${row['price']['input']:g} / ${row['price']['output']:g}" if row["price"] else None,
    ),
    Cells("ENDPOINT", lambda row: f"{row['server']}, {row['endpoint']}" if row["server"] else row["endpoint"], 80),
    field("used_by", "USED BY", 40),
    field("note", most=60),
)
output: Final = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
base_url: Final = click.option("--base-url", metavar="URL", help="Ask this endpoint, with the key of OPENAI_API_KEY.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List models, change those that are stored, and test what a model can do."""


def settings_here(config: str | None) -> Settings:
    """Return the settings about models. A queue and a key are not required."""
    values = {o.option.name: o.value for o in sources.origins({}, os.environ, config) if o.value is not None}
    values.pop("api_key_file", None)
    trust.use_ca_bundle(values.get("ca_file"), os.environ)
    spare_loopback(os.environ)
    return Settings(**{"queue_id": "none", "api_key": "", **values})


def endpoint_here(settings: Settings, base_url: str | None) -> Endpoint:
    """Return the typed endpoint, or the configured one; its URL is empty when there is none."""
    if base_url:
        if not base_url.startswith(("http://", "https://")):
            raise UsageError(f"--base-url {base_url!r} is no URL", remedy="Begin it with http:// or https://")
        return Endpoint(base_url.rstrip("/"), settings.openai_api_key or "", gateway=False)
    # A command registers no worker, so the gateway that the control plane would hand out is not known.
    return endpoint_of(settings, Registration(worker_id="", task_queue_name=""))


def endpoints(settings: Settings, configured: Endpoint) -> list[listing.ListedEndpoint]:
    """Return each OpenAI-compatible endpoint of the settings once."""
    headers = endpoints_of(settings, os.environ)
    places = [(configured.base_url, configured.api_key)] if configured.base_url else []
    places += [(r.base_url, r.key) for r in routes_of(settings, os.environ).values() if r.provider == GATEWAY]
    return [
        listing.ListedEndpoint("", url.rstrip("/"), key, headers.of(url).extra_headers)
        for url, key in dict.fromkeys(places)
        if url
    ]


@models.command(short_help="List the models that are stored, and what the endpoints of this host offer.")
@base_url
@config_file
@click.option(
    "--queue",
    shell_complete=completion.names("queues"),
    help="Only those that workers of this queue get from the control plane.",
)
@tables.output()
def ls(base_url: str | None, config: str | None, queue: str | None, output: str) -> int:
    """List the models that the control plane stores, those of queues' own lists, and those that this host offers.

    The last are of the configured endpoint and of local servers: Ollama, LM Studio, llama.cpp, vLLM. With --base-url
    only that endpoint is asked.

    Example: kubiya models ls
    """
    rows, faults = (model_definitions.rows_on(queue), []) if queue else _all(base_url, config)
    if output in (tables.JSON, tables.YAML):
        tables.dump({"models": rows, "faults": [fault for fault, _ in faults]}, output)
    else:
        if rows or not faults:
            tables.show(rows, COLUMNS, output, none="No model is listed.")
        for fault, _ in faults:
            click.echo(f"kubiya: {fault['error']}", err=True)
    return 0 if rows or not faults else faults[0][1]


def _all(base_url: str | None, config: str | None) -> tuple[list[dict[str, Any]], list[tuple[dict[str, str], int]]]:
    """Return the rows of all models, and each fault with its exit code.

    Raises ConfigurationError where there is neither an endpoint nor a model.
    """
    api = None if base_url else model_definitions.api_here()
    faults: list[tuple[dict[str, str], int]] = []
    rows: list[dict[str, Any]] = []
    if api is not None:
        try:
            rows = model_definitions.rows(api)
        except WorkerError as error:
            faults.append((model_definitions.fault(error, api), error.exit_code))
    try:
        listed, answers = _listed(base_url, config)
    except ConfigurationError:
        if not rows and not faults:
            raise
        return rows, faults
    faults += [(_fault(answer), answer.fault.exit_code) for answer in answers if answer.fault is not None]
    return [*rows, *listed], faults


@models.command(short_help="Show a model.")
@click.argument("model", shell_complete=completion.names("models"))
@base_url
@config_file
@tables.output(default=tables.YAML)
def get(model: str, base_url: str | None, config: str | None, output: str) -> None:
    """Show the document of a stored model, as `kubiya apply` takes it; of another model of this host's endpoints where
    it is, its window, and its price in USD per million tokens. MODEL may be a name's beginning.

    Example: kubiya models get gpt-4o-mini
    """
    api = None if base_url else model_definitions.api_here()
    stored = model_definitions.stored_name(api, model) if api else None
    if api and stored:
        if output in (tables.JSON, tables.YAML):
            kinds.show_document(DefinitionsApi(api).get(model_definitions.KIND, stored), output)
        else:
            rows = [row for row in model_definitions.rows(api) if row["model"] == stored]
            tables.show(rows, COLUMNS, output)
        return
    try:
        rows, faults = _listed(base_url, config)
    except ConfigurationError:
        if api is None:
            raise
        rows, faults = [], []  # only the control plane can have it: it is not there, which is no fault of a setting
    if not rows and faults and (fault := faults[0].fault) is not None:
        raise fault
    known = {row["model"] for row in rows} | {row["name"] for row in (model_definitions.stored(api) if api else ())}
    names = [{"name": name} for name in sorted(known)]
    name = choice.choose("model", model, names, fields=("name",))["name"]
    matches = [row for row in rows if row["model"] == name]  # several endpoints may have it
    if output in (tables.JSON, tables.YAML):
        tables.dump(matches[0] if len(matches) == 1 else matches, output)
    else:
        tables.show(matches, COLUMNS, output)


def _listed(base_url: str | None, config: str | None) -> tuple[list[dict[str, Any]], list[ModelList]]:
    """Return the models of all endpoints, and the endpoints that failed. Raises ConfigurationError without any."""
    settings = settings_here(config)
    prices = Prices.load(settings.model_prices_file)
    named = endpoints(settings, endpoint_here(settings, base_url))
    answers = listing.ask_all(named, verify=trust.bundle(os.environ) or True)
    if not base_url:
        answers += listing.local_servers(known=[place.url for place in named])
    if not answers:
        raise ConfigurationError("No model endpoint is configured", remedy=NO_ENDPOINT)
    rows = [_row(answer, listed, prices) for answer in answers for listed in answer.models]
    return rows, [answer for answer in answers if answer.fault is not None]


def _fault(answer: ModelList) -> dict[str, str]:
    assert answer.fault is not None
    return {"endpoint": answer.endpoint.url, "error": answer.fault.line()}


def _row(answer: ModelList, listed: listing.ListedModel, prices: Prices) -> dict[str, Any]:
    local = listing.is_loopback(answer.endpoint.url)
    return {
        "model": listed.name,
        "origin": model_definitions.WORKER,
        "endpoint": answer.endpoint.url,
        "server": answer.endpoint.label or None,
        "context_window": listed.window or (None if local else prices.context(listed.name)),
        "price": None if local else _price(prices, listed.name),
        "queues": [],
        "used_by": [],
        "note": None,
    }


def _price(prices: Prices, model: str) -> dict[str, float] | None:
    """Return the price of a short request in USD per million tokens; None when it is not known."""
    read, written = prices.nanos(model, Usage(1000, 0)), prices.nanos(model, Usage(0, 1000))
    return None if read is None or written is None else {"input": read / 1e6, "output": written / 1e6}


@models.command(short_help="Test what a model can do at its endpoint.")
@click.argument("model", shell_complete=completion.names("models"))
@base_url
@config_file
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=120.0,
    show_default=True,
    help="Time limit of a call, in seconds.",
)
@output
def test(model: str, base_url: str | None, config: str | None, timeout: float, output: str) -> int:
    """Make a few small calls to MODEL, with a real streamed tool call, and show what its endpoint can do.

    MODEL is written as for an agent: a stored model, a name of the endpoint, or provider:name (anthropic, openai,
    google, bedrock). The calls are made from here, with the keys of this shell.

    Example: kubiya models test gpt-4o-mini
    """
    from kubiya_worker.models import trial

    if model == DEMO_MODEL:
        raise UsageError("The demo model is a script; there is nothing to try", remedy="Name a model of an endpoint")
    settings = settings_here(config)
    routing = _routing(settings, model, base_url)
    configured = _serving(settings, model, base_url, routing)
    candidates = Models(
        configured,
        prices=Prices.load(settings.model_prices_file),
        routing=routing,
        endpoints=endpoints_of(settings, os.environ),
    )
    chosen: dict[str, Any] = {"timeout": timeout}
    marked = bool(candidates.cached_for(model, chosen)) or "api.openai.com" in configured.base_url
    began = time.monotonic()

    async def go() -> tuple[str, trial.ModelTrial]:
        try:
            selected = candidates.select(model)
            return selected.label, await trial.run(
                selected, model, chosen, marked=marked, chat=split(model)[0] in (GATEWAY, "openai")
            )
        finally:
            await candidates.close()

    label, outcome = asyncio.run(go())
    seconds = time.monotonic() - began
    cost = candidates.nanos(model, outcome.usage, outcome.model)
    if output == "json":
        print(json.dumps(trial.wire(outcome, model, label, seconds, cost), ensure_ascii=False))
    else:
        _print_outcome(label, outcome, seconds, cost)
    if outcome.fault is not None:
        fault: WorkerError = trial.as_worker_error(outcome.fault)
        if output == "json":
            return fault.exit_code
        raise fault
    return 0 if outcome.passed else 1


def _routing(settings: Settings, model: str, base_url: str | None) -> Routing:
    """Return the endpoints of single models, as a worker of this host would have them."""
    if base_url:
        return Routing()
    own = routes_of(settings, os.environ)
    api = None if model in own else model_definitions.api_here()
    entries = [model_entries.entry_of(each) for each in model_definitions.stored(api)] if api else []
    stored = routes.stored(entries, "the stored model", os.environ)
    return Routing({**stored, **own}, only=bool(own))


def _serving(settings: Settings, model: str, base_url: str | None, routing: Routing) -> Endpoint:
    """Return the configured endpoint, or else the local server that lists the model. Raises ConfigurationError."""
    configured = endpoint_here(settings, base_url)
    configured = Endpoint(
        configured.base_url, configured.api_key, idle_timeout=settings.model_idle_timeout, gateway=configured.gateway
    )
    if configured.base_url or split(model)[0] in NATIVE or routing.covers(model):
        return configured
    servers = listing.local_servers()
    place = listing.first_with(model, servers)
    if place is None:
        names = [listed.name for answer in servers for listed in answer.models]
        here = f"Local servers have: {one_line(', '.join(names), 200)}" if names else NO_ENDPOINT
        raise ConfigurationError(f"There is no endpoint for the model {model!r}", remedy=here)
    return Endpoint(place.url, "", idle_timeout=settings.model_idle_timeout, gateway=False)


def _print_outcome(label: str, outcome: Any, seconds: float, nanos: int | None) -> None:
    from kubiya_worker.models.trial import CHECKS, NO, YES

    paint = Paint.for_stream(sys.stdout)
    if outcome.fault is not None:
        return
    print(paint.bold(one_line(label, 100)))
    marks = {YES: paint.green(paint.symbol("✓", "ok")), NO: paint.red(paint.symbol("✗", "!!"))}
    for name in CHECKS:
        check = outcome.ability(name)
        print(f"  {marks.get(check.status, paint.dim('-'))} {name:20} {paint.dim(one_line(check.detail, 140))}")
    price = f", ${nanos / 1e9:.4f}" if nanos else ""
    spent = f"{outcome.calls} calls, {outcome.usage.total_tokens:,} tokens{price}, {seconds:.1f} s"
    print(f"  {spent}{'' if outcome.passed else ': an agent with this model can use no tool'}")


models.add_command(model_definitions.edit, "edit")
models.add_command(model_definitions.rm, "rm")
models.add_command(model_definitions.history, "history")
