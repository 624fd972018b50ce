"""These tests check which values of a host are known as secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.support import known_secrets


def _values(home: Path, config: Path | None = None, **environ: str) -> set[str]:
    return {secret.value for secret in known_secrets.collect({"shell": environ}, config, home)}


def test_variables_with_a_secrets_name_and_the_files_that_they_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    found = _values(
        tmp_path,
        KUBIYA_API_KEY="kby_one",
        SOME_TOKEN="token-two",
        db_password="three33",
        OPENAI_API_KEY_FILE=str(tmp_path / "key"),
        TEMPORAL_TLS_KEY=str(tmp_path / "key"),
        LITELLM_API_KEY_FILE=str(tmp_path / "none"),
        PATH="/usr/bin",
        SHORT_KEY="abc",
    )
    assert found == {"kby_one", "token-two", "three33", "from-a-file"}


def test_passwords_in_addresses_whatever_the_variables_name(tmp_path: Path) -> None:
    found = _values(
        tmp_path,
        HTTPS_PROXY="http://me:pass%2Fword@proxy:3128",
        SOURCE="git+https://ghtoken@github.com/x/y",
        REMOTE="ssh://somebody@host/x",
        BROKEN="http://[me:x@",
    )
    assert found == {"pass%2Fword", "pass/word", "ghtoken", "[me:x@"}


def test_a_configuration_file_valid_or_not_and_whoever_wins(tmp_path: Path) -> None:
    config, key = tmp_path / "config.yaml", tmp_path / "filed"
    key.write_text("filed-secret")
    config.write_text(
        f"control_plane:\n  api_key: 'plain-secret'\nunknown_key: misspelt-secret\nx: [{{my_token: listed-secret}}]\n"
        f"note: ${{file:{key}}}\npassword: pre-${{VAR}}\nurl: https://u:addressed@h\n"
    )
    found = _values(tmp_path, config, KUBIYA_API_KEY="kby_wins", VAR="by-variable")
    assert found == {
        *("plain-secret", "misspelt-secret", "listed-secret", "filed-secret", "addressed"),
        *("pre-${VAR}", "by-variable", "kby_wins"),
    }
    config.write_text("control_plane: {\n  api_key: unparsable-secret\n\t- x")
    assert _values(tmp_path, config) == {"unparsable-secret"}


def test_keys_in_a_configuration_of_litellm_s(tmp_path: Path) -> None:
    row = "{model_name: m, litellm_params: {model: x, api_key: %s}}"
    (tmp_path / "litellm.yaml").write_text(f"model_list: [{row % 'sk-filed'}]\n")
    told = '{"model_list": [{"model_name": "m", "litellm_params": {"api_key": "sk-told"}}]}'
    found = _values(tmp_path, KUBIYA_PROXY_CONFIG_FILE=str(tmp_path / "litellm.yaml"), KUBIYA_PROXY_CONFIG_JSON=told)
    assert found == {"sk-filed", "sk-told", told}


def test_what_a_container_was_given(tmp_path: Path) -> None:
    """Paths in its variables are of its own file system: a file of this host that has the same name is not meant."""
    here = tmp_path / "api-key"
    here.write_text("of-this-host")
    variables = {
        "OPENAI_API_KEY": "sk-in-the-open",
        "KUBIYA_API_KEY_FILE": str(here),
        "TEMPORAL_TLS_KEY": "/run/kubiya/TEMPORAL_TLS_KEY",
        "HTTPS_PROXY": "http://me:passing@proxy",
        "PATH": "/usr/bin",
    }
    files = {"KUBIYA_API_KEY_FILE": b"kby_from-its-file\n", "TEMPORAL_TLS_KEY": b"private-key"}
    found = {secret.value.strip() for secret in known_secrets.of_container(variables, files, "container c")}
    assert found == {"sk-in-the-open", "kby_from-its-file", "private-key", "passing"}
    assert (
        known_secrets.is_secrets("KUBIYA_API_KEY_FILE")
        and known_secrets.is_secrets("SOME_TOKEN")
        and not known_secrets.is_secrets("PATH")
    )


def test_tokens_of_the_kubiya_cli_s_own_configuration(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("users:\n- name: ann\n  user: {token: default-token}\n")
    (tmp_path / "other").write_text("users:\n- name: bob\n  user: {token: named-token}\n")
    assert _values(tmp_path, KUBIYA_CONFIG=str(tmp_path / "other")) == {"default-token", "named-token"}


def test_the_local_stacks_key_and_those_of_services(tmp_path: Path) -> None:
    for name in ("dev/key", "services/kubiya-worker-q/api-key"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"secret of {name}\n")
    assert _values(tmp_path) == {"secret of dev/key", "secret of services/kubiya-worker-q/api-key"}


@pytest.mark.parametrize("value", ["redacted", "[redacted]", "      "])
def test_words_that_every_bundle_has_are_no_secrets(value: str, tmp_path: Path) -> None:
    assert _values(tmp_path, MY_KEY=value) == set()


def test_a_secret_is_not_shown_by_its_repr() -> None:
    assert "hidden-value" not in repr(known_secrets.Secret("hidden-value", "X"))
