"""`kubiya mcp edit` and `kubiya mcp rm`: stored MCP servers, and those of the agents and teams that have their own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

import click

from kubiya_worker.cli import apply as changes
from kubiya_worker.cli import choice, completion, definition_files, kinds, mcp_configured, reason
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.api.mcp_servers import McpServersApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.errors import UsageError

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
KIND: Final = "mcp-server"
KEYS: Final = ("mcp_servers", "mcpServers")  # of a definition's `configuration`
of_agent: Final = click.option(
    "--agent", shell_complete=completion.names("agents"), help="Of this agent or team only.  [default: of all]"
)


@dataclass(frozen=True)
class OwnedServer:
    """A server in the definition of an agent or a team: `document` has it under `key`."""

    document: dict[str, Any]
    key: str
    server: Any

    @property
    def owner(self) -> str:
        return f"{str(self.document['kind']).lower()} {self.document['name']}"

    def changed(self, name: str, server: Any) -> dict[str, Any]:
        """Return the document with another server, or without it for None, on the base of what it was."""
        document = copy.deepcopy(self.document)
        servers = document["spec"]["configuration"][self.key]
        if server is None:
            del servers[name]
        else:
            servers[name] = server
        return {**document, "base": self.document["spec"]}


@click.command(context_settings=SETTINGS)
@click.argument("name", shell_complete=completion.names("mcp-servers"))
@of_agent
@reason.option()
def edit(name: str, agent: str | None) -> None:
    """Change an MCP server in $EDITOR: the stored one, or else in all agents and teams that have this very server.

    Example: kubiya mcp edit tickets
    """
    import yaml

    from kubiya_worker.tools.mcp import parse  # loads the sessions with servers, which no help text needs

    api = connect()
    definitions = DefinitionsApi(api)
    known = _Known(api, agent)
    name = known.name(name)
    if name in known.stored:
        kinds.edit_document(api, definitions.get(KIND, name))
        return
    owned = _alike(name, known.owned[name])
    before = yaml.safe_dump(owned[0].server, sort_keys=False, allow_unicode=True)
    text = kinds.edited(before)
    if text is None or text.strip() == before.strip():
        raise UsageError("Nothing was changed", remedy="Save the file in the editor to apply it")
    with definition_files.kept(text) as file:
        try:
            server = yaml.safe_load(text)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{file} is no YAML: {reason[:300]}", remedy="Correct it, and edit again") from error
        if not isinstance(server, dict):
            raise UsageError(f"{file} holds no server", remedy="A server has a command, or a url")
        parse({name: server})  # raises ConfigurationError: nothing wrong is stored
        changes.show(definitions.apply([each.changed(name, server) for each in owned], source=changes.SOURCE))


@click.command(context_settings=SETTINGS)
@click.argument("name", shell_complete=completion.names("mcp-servers"))
@of_agent
@click.option("--force", is_flag=True, help="Take a stored server out of whoever names it, and say so of each.")
@reason.option()
def rm(name: str, agent: str | None, force: bool) -> None:
    """Remove a stored MCP server, or take one out of the agents and teams that have it. `kubiya rollback` restores it.

    Example: kubiya mcp rm tickets --agent ops
    """
    api = connect()
    definitions = DefinitionsApi(api)
    known = _Known(api, agent)
    name = known.name(name)
    if name in known.stored:
        kinds.removed(definitions.delete(KIND, name, force=force))
        return
    owned = known.owned[name]
    changes.show(definitions.apply([each.changed(name, None) for each in owned], source=changes.SOURCE))


class _Known:
    """The stored servers, and those that agents and teams have, by their names; with `agent` only those of this one."""

    def __init__(self, api: Api, agent: str | None) -> None:
        """Ask for them. Raises UsageError for an agent that is not there."""
        documents = [*DefinitionsApi(api).all("agents"), *DefinitionsApi(api).all("teams")]
        if agent is not None:
            only = choice.choose("agent or team", agent, documents, fields=("name",))["name"]
            documents = [each for each in documents if each["name"] == only]
        self.stored = {str(server["name"]) for server in McpServersApi(api).all()} if agent is None else set()
        self.owned: dict[str, list[OwnedServer]] = {}
        for document in documents:
            configuration = (document.get("spec") or {}).get("configuration") or {}
            for key in KEYS:
                for name, server in (configuration.get(key) or {}).items():
                    self.owned.setdefault(name, []).append(OwnedServer(document, key, server))

    def name(self, key: str) -> str:
        """Return a server's name for it or its beginning. Raises UsageError, which lists those that there are."""
        return mcp_configured.chosen_name(key, {*self.stored, *self.owned})


def _alike(name: str, owned: list[OwnedServer]) -> list[OwnedServer]:
    """Return who has the server. Raises UsageError where they have different ones of this name."""
    named = next((each for each in owned if isinstance(each.server, dict) and each.server.get("ref")), None)
    if named is not None:
        stored = named.server["ref"]
        raise UsageError(f"The {named.owner} names the stored server {stored!r}", remedy=f"kubiya mcp edit {stored}")
    if any(each.server != owned[0].server for each in owned):
        owners = ", ".join(each.owner for each in owned[:10])
        raise UsageError(f"There are different servers {name!r}: of {owners}", remedy="Choose with --agent")
    return owned
