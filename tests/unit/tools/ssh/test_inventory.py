"""The inventory of an ssh skill: what it takes, what it refuses by name, and what the client is given of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server import open_credentials
from kubiya_worker.tools.base import ToolArgumentsError
from kubiya_worker.tools.shell.command_line import parse
from kubiya_worker.tools.skill_configuration import Skill
from kubiya_worker.tools.ssh import client, inventory

PIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwq5mC1Z6H2m1qk3k2qHNZc5q1cR2uYbq7y1vX9aJxP"
KEY = "{{.secret.SSH_KEY}}"


def of(default_hosts: dict[str, Any], **more: Any) -> inventory.Inventory:
    given = {"user": "ops", "private_key": KEY, "hosts": default_hosts, **more}
    return inventory.of_skill(Skill("fleet", "ssh", given))


def test_a_group_stands_for_its_members_and_a_wrong_name_is_told_with_the_nearest() -> None:
    found = of(
        {"web1": {"host_key": PIN}, "web2": {"host_key": PIN}, "db": {"host_key": PIN}},
        groups={"web": ["web1", "web2"]},
    )
    assert found.members(["db", "web"]) == ["db", "web1", "web2"]
    assert found.members(["web1", "web1"]) == ["web1", "web1"]  # an approval is bound to these very arguments
    assert found.members(["web2", "web"]) == ["web2", "web1"]
    with pytest.raises(ToolArgumentsError, match=r"There is no host 'web3' here\. Did you mean web"):
        found.members(["web3"])


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"address": "-oProxyCommand=id"}, "`address` must be"),
        ({"address": "a b"}, "`address` must be"),
        ({"address": "a\nProxyCommand id"}, "`address` must be"),
        ({"address": "%h"}, "`address` must be"),
        ({"address": "$(id)"}, "`address` must be"),
        ({"user": "-l"}, "`user` must be"),
        ({"user": "a b"}, "`user` must be"),
        ({"user": "x\nLocalCommand id"}, "`user` must be"),
        ({"port": 0}, "`port` must be"),
        ({"port": "22"}, "`port` must be"),
        ({"port": True}, "`port` must be"),
        ({"host_key": None}, "`host_key` must be"),
        ({"host_key": []}, "`host_key` must be"),
        ({"host_key": f"{PIN}\nother {PIN}"}, "`host_key` must be"),
        ({"host_key": "ssh-ed25519 not-base64-not-base64-not"}, "`host_key` must be"),
        ({"jump": "nowhere"}, "`jump` 'nowhere' must be another host"),
        ({"jump": "one"}, "`jump` 'one' must be another host"),
        ({"private_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "`hosts.one.private_key` is no reference to a secret"),
        ({"private_key": "{{.env.KEY}}"}, "is no reference to a secret"),
        ({"adress": "10.0.0.1"}, "did you mean `address`"),
        ({"proxy_command": "id"}, "`proxy_command` must be absent"),
    ],
)
def test_what_could_become_an_option_or_is_unclear_is_refused_by_name(about: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace("(", r"\(")) as raised:
        of({"one": {"host_key": PIN, **about}})
    assert "PRIVATE KEY" not in raised.value.line()


@pytest.mark.parametrize("name", ["-F", "a b", "", "a\nb", "*", "!a", "a%h", "a,b", "a" * 64])
def test_names_of_hosts_and_groups_are_plain(name: str) -> None:
    with pytest.raises(ConfigurationError):
        of({name: {"host_key": PIN}})
    with pytest.raises(ConfigurationError):
        of({"one": {"host_key": PIN}}, groups={name: ["one"]})


@pytest.mark.parametrize(
    "more",
    [
        {"groups": {"one": ["one"]}},
        {"groups": {"g": ["two"]}},
        {"groups": {"g": []}},
        {"groups": ["g"]},
        {"user": "-x"},
        {"private_key": None},
        {"hosts": {}},
        {"hosts": {"one": {"host_key": PIN, "jump_only": True}}},
    ],
)
def test_an_inventory_that_says_nothing_clear_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        of({"one": {"host_key": PIN}}, **more)


def test_the_client_learns_nothing_and_asks_nobody() -> None:
    found = of({"one": {"host_key": [PIN], "jump": "gate"}, "gate": {"host_key": PIN, "port": 2222}})
    text = client.configuration(found, Path("/run/x"), "/usr/bin/ssh", "", 10)
    for line in ("StrictHostKeyChecking yes", "BatchMode yes", "UpdateHostKeys no", "GlobalKnownHostsFile none"):
        assert f"  {line}\n" in text
    assert '  UserKnownHostsFile "/run/x/known_hosts"\n' in text
    assert "  ProxyCommand /usr/bin/ssh -F /run/x/config -E /run/x/log-one+gate -W [%h]:%p -- gate\n" in text
    assert client.known_hosts(found) == f"one {PIN}\ngate {PIN}\n"
    assert client.command("/usr/bin/ssh", Path("/run/x"), "one", "id")[-3:] == ("--", "one", "id")


def test_words_are_quoted_for_every_shell() -> None:
    assert client.remote_command(parse("echo 'a b' | sort -r"), "") == "'echo' 'a b' | 'sort' '-r'"
    assert client.remote_command(parse("ls"), "/srv/a b") == "cd '/srv/a b' && 'ls'"
    # In fish a backslash in quotes can hide a quote, so neither stands in quotes.
    assert client.quoted_word("a\\'b!") == "'a'\\\\\\''b'\\!"
    assert client.quoted_word("") == "''"


def test_the_log_decides_what_happened() -> None:
    assert client.fault('Authenticated to h ([10.0.0.1]:22) using "publickey".\n', {}, "h") is None
    changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n"
    assert (client.fault(changed, {}, "h") or ("",))[0] == "host_key_changed"
    unknown = "No ED25519 host key is known for h and you have requested strict checking.\n"
    assert (client.fault(unknown, {}, "h") or ("",))[0] == "host_key_changed"
    assert client.fault("", {"gate": changed}, "h") == client.fault(changed, {}, "gate")
    assert (client.fault("anything else\n", {}, "h") or ("",))[0] == "unreachable"


def test_a_pinned_key_is_no_credential_and_a_private_one_is() -> None:
    def found(**configuration: Any) -> list[open_credentials.OpenCredential]:
        return open_credentials.found_in({"skills": [{"name": "fleet", "configuration": configuration}]})

    assert found(hosts={"a": {"host_key": PIN}, "b": {"host_key": [f"{PIN} root@b"]}}, private_key=KEY) == []
    assert len(found(hosts={"a": {"host_key": f"{PIN}\nsecret"}})) == 1
    assert len(found(private_key="-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----")) == 1
