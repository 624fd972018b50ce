"""The Kubiya CLI's own configuration as the last place where a key is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.cli.connection import connect
from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.settings import cli_context, origins, resolve

FILE = """\
apiVersion: v1
kind: Config
current-context: prod
contexts:
- name: dev
  context: {api-url: https://dev.example, organization: acme, user: ann}
- name: prod
  context: {api-url: https://plane.example/, organization: acme, user: bob}
users:
- name: ann
  user: {token: kby_token-of-ann}
- name: bob
  user: {token: kby_token-of-bob}
organizations: []
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "config-of-the-cli"
    path.write_text(FILE)
    return path


def test_key_and_url_of_the_current_context(config: Path) -> None:
    found = resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config)})
    assert (found.api_key, found.control_plane_url) == ("kby_token-of-bob", "https://plane.example")
    source = {o.option.name: o.source for o in origins({}, {"KUBIYA_CONFIG": str(config)})}
    assert source["api_key"] == source["control_plane_url"] == f"{config}: context prod"


def test_its_default_place_is_the_home_folder(config: Path) -> None:
    config.parent.joinpath(".kubiya").mkdir()
    config.rename(config.parent / ".kubiya" / "config")
    assert resolve({"queue_id": "q"}, {}).api_key == "kby_token-of-bob"


def test_an_llm_proxy_that_the_context_has_switched_on(config: Path) -> None:
    proxy = "user: bob, litellm-proxy: {enabled: true, config-file: /etc/litellm.yaml, model: small}"
    config.write_text(FILE.replace("user: bob", proxy))
    found = resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config)})
    assert (found.enable_local_proxy, found.proxy_config_file) == (True, "/etc/litellm.yaml")
    assert (found.model_override, found.proxy_config_json) == ("small", None)
    environ = {"KUBIYA_CONFIG": str(config), "KUBIYA_PROXY_CONFIG_JSON": "{}", "KUBIYA_MODEL": "large"}
    found = resolve({"queue_id": "q"}, environ)  # somebody means another one
    assert (found.enable_local_proxy, found.proxy_config_file, found.model_override) == (False, None, "large")
    config.write_text(FILE.replace("user: bob", proxy.replace("true", "false")))
    assert not resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config)}).enable_local_proxy


def test_a_key_that_is_given_leaves_the_whole_context_out(config: Path) -> None:
    """A key must not go to the control plane of another context."""
    found = resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config), "KUBIYA_API_KEY": "kby_mine"})
    assert (found.api_key, found.control_plane_url) == ("kby_mine", "https://control-plane.kubiya.ai")
    key_file = config.parent / "key"
    key_file.write_text("kby_filed\n")
    found = resolve({"queue_id": "q", "api_key_file": str(key_file)}, {"KUBIYA_CONFIG": str(config)})
    assert (found.api_key, found.control_plane_url) == ("kby_filed", "https://control-plane.kubiya.ai")


def test_a_url_that_is_given_wins(config: Path) -> None:
    for name in ("CONTROL_PLANE_URL", "KUBIYA_CONTROL_PLANE_BASE_URL"):
        environ = {"KUBIYA_CONFIG": str(config), name: "http://127.0.0.1:7777"}
        assert resolve({"queue_id": "q"}, environ).control_plane_url == "http://127.0.0.1:7777"


def test_the_guides_variable_wins_over_the_cli_s() -> None:
    environ = {
        "KUBIYA_API_KEY": "k",
        "KUBIYA_CONTROL_PLANE_BASE_URL": "http://b",
        "CONTROL_PLANE_GATEWAY_URL": "http://a",
    }
    assert resolve({"queue_id": "q"}, environ).control_plane_url == "http://a"


def test_the_commands_go_by_it_too(config: Path) -> None:
    api = connect({"KUBIYA_CONFIG": str(config), "HOME": str(config.parent)})
    assert api.base_url == "https://plane.example"
    api.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            FILE.replace("current-context: prod", "current-context: gone"),
            "the current context 'gone' is not in the file",
        ),
        (FILE.replace("token: kby_token-of-bob", "note: x"), "'prod' has no user with a token"),
        (FILE.replace("https://plane.example/", "plane.example"), "api-url 'plane.example' is not a URL"),
        ("users: [\nkby_token-of-bob", "is not valid YAML"),
        ("- a\n- b\n", "has to be a mapping"),
    ],
)
def test_what_is_wrong_is_said_without_the_token(config: Path, text: str, says: str) -> None:
    config.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config)})
    assert says in caught.value.line() and str(config) in caught.value.line() and caught.value.remedy
    assert "kby_" not in caught.value.line()


def test_a_file_that_is_named_has_to_be_there(config: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config) + ".gone"})


def test_without_a_current_context_there_is_no_key(config: Path) -> None:
    config.write_text(FILE.replace("current-context: prod", ""))
    assert cli_context.current({"KUBIYA_CONFIG": str(config)}) is None
    with pytest.raises(NotAllowed, match="No API key is given"):
        resolve({"queue_id": "q"}, {"KUBIYA_CONFIG": str(config)})
