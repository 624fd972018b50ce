"""Each value is traced to its source, and an error about a bad value names the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError, NotAllowed, UsageError
from kubiya_worker.settings import Settings, origins, resolve
from kubiya_worker.settings.sources import misspelled, validate
from kubiya_worker.settings.table import OPTIONS

KEY = {"KUBIYA_API_KEY": "kby_secret-of-the-test", "QUEUE_ID": "q1"}
GUIDE_FILE = """\
queue_id: "production-queue"
deployment_type: "local"
daemon_mode: true

control_plane:
  url: "https://control-plane.kubiya.ai"
  api_key: "${KUBIYA_API_KEY}"
  heartbeat_interval: 30

temporal:
  host: "temporal-frontend.temporal:7233"
  namespace: "kubiya"
  task_queue: "agent-tasks"

logging:
  level: "INFO"
  max_size_bytes: 104857600
  max_backups: 5

resources:
  max_concurrent_activities: 10
  activity_timeout: "300s"
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / "worker-config.yaml"
        path.write_text(text)
        return str(path)

    return write


def _source(name: str, flags: dict[str, Any], environ: dict[str, str], config: str | None) -> tuple[Any, str]:
    found = next(o for o in origins(flags, environ, config) if o.option.name == name)
    return found.value, found.source


def test_flags_win_over_environment_over_file_over_default(write: Any) -> None:
    config = write("logging:\n  level: ERROR\n")
    environ = {"LOG_LEVEL": "WARNING"}
    assert _source("log_level", {"log_level": "debug"}, environ, config) == ("DEBUG", "--log-level")
    assert _source("log_level", {}, environ, config) == ("WARNING", "LOG_LEVEL")
    assert _source("log_level", {}, {}, config) == ("ERROR", f"{config}:2")
    assert _source("log_level", {}, {}, write("")) == ("INFO", "default")


def test_what_a_template_left_empty_is_as_if_not_given(write: Any) -> None:
    """A template writes `--queue-id=`, QUEUE_ID= or `level:` with nothing behind it."""
    path = write("logging:\n  level: ''\nqueue_id: ${PORT}\n")
    flags, environ = {"queue_id": "", "log_level": " ", "metrics_port": ""}, {"QUEUE_ID": "of-the-variable", "PORT": ""}
    assert _source("queue_id", flags, environ, path) == ("of-the-variable", "QUEUE_ID")
    assert _source("log_level", flags, environ, path) == ("INFO", "default")
    assert _source("metrics_port", flags, environ, path) == (None, "default")
    assert validate(Path(path), environ) == 0


def test_the_gateway_url_wins_over_the_control_plane_url(write: Any) -> None:
    environ = {"CONTROL_PLANE_URL": "https://one.example", "CONTROL_PLANE_GATEWAY_URL": "https://two.example/"}
    assert _source("control_plane_url", {}, environ, write("")) == ("https://two.example", "CONTROL_PLANE_GATEWAY_URL")


def test_the_file_of_the_guide_is_read_as_it_stands(write: Any) -> None:
    settings = resolve({}, {"KUBIYA_API_KEY": "kby_x"}, write(GUIDE_FILE))
    assert settings.queue_id == "production-queue"
    assert settings.api_key == "kby_x"
    assert (settings.temporal_host, settings.task_queue) == ("temporal-frontend.temporal:7233", "agent-tasks")
    assert (settings.daemon_mode, settings.activity_timeout, settings.max_log_size) == (True, 300.0, 104_857_600)


def test_a_variable_of_the_file_is_needed_only_where_the_file_counts(write: Any, tmp_path: Path) -> None:
    """The guide's file names KUBIYA_API_KEY; a key that comes as a file does without it."""
    (tmp_path / "key").write_text("kby_from-a-file\n")
    environ = {"KUBIYA_API_KEY_FILE": str(tmp_path / "key")}
    assert resolve({}, environ, write(GUIDE_FILE)).api_key == "kby_from-a-file"
    with pytest.raises(ConfigurationError, match="the variable KUBIYA_API_KEY is not set"):
        resolve({}, {}, write(GUIDE_FILE))


def test_validate_looks_at_what_something_else_overrides_too(write: Any) -> None:
    config = Path(write("logging:\n  level: LOUD\n"))
    with pytest.raises(ConfigurationError, match=r"logging\.level 'LOUD'"):
        validate(config, {"LOG_LEVEL": "INFO"})
    assert validate(Path(write(GUIDE_FILE)), {"KUBIYA_API_KEY": "kby_x"}) == 13


def test_a_value_can_come_from_a_file_that_the_configuration_names(write: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("kby_from-a-file\n")
    config = write(f"control_plane:\n  api_key: ${{file:{tmp_path}/key}}\n")
    assert resolve({}, {"QUEUE_ID": "q"}, config).api_key == "kby_from-a-file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("qeue_id: x\n", ":1: unknown key 'qeue_id'. Did you mean 'queue_id'?"),
        ("grace_period: 5\n", ":1: unknown key 'grace_period'. The file has no key for it: set KUBIYA_GRACE_PERIOD"),
        ("max_log_size: 5\n", ":1: unknown key 'max_log_size'. Did you mean 'logging.max_size_bytes'?"),
        ("control_plane:\n  ulr: x\n", ":2: unknown key 'control_plane.ulr'. Did you mean 'control_plane.url'?"),
        ("logging:\n  level: LOUD\n", ":2: logging.level 'LOUD' is not one of DEBUG, INFO"),
        ("logging: INFO\n", ":1: logging has to be a mapping"),
        ("queue_id: a\nqueue_id: b\n", ":2: queue_id is there already, in line 1. Remove one of them"),
        ("logging:\n  level: INFO\nlogging:\n  max_backups: 3\n", ":3: logging is there already, in line 1"),
        ("queue_id: [a]\n", ":1: queue_id has to be a single value"),
        ("logging:\n  level: ${NOT_SET}\n", ":2: the variable NOT_SET is not set. export NOT_SET=…"),
        ("logging:\n  level: ${file:/nowhere/key}\n", ":2: the file /nowhere/key cannot be read: No such file"),
        ("temporal:\n  host: http://x\n", ":2: temporal.host 'http://x' is not an address, host:port"),
        ("control_plane:\n  url: http://me:pw@h\n", ":2: control_plane.url 'http://…@h' is not a URL"),
        ("control_plane:\n  url: http://a..b\n", ":2: control_plane.url 'http://a..b' is not a URL"),
        ("[" * 4000, "is nested too deeply. Correct it"),
        ("queue_id: 'a\n", "is not valid YAML"),
        ("resources:\n  activity_timeout: 5 minutes\n", "is not a time from 1 s to 86400 s, such as 90, 300s or 5m"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(write: Any, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({}, KEY, write(text))
    assert said in caught.value.line()


def test_a_secret_can_be_given_as_the_name_of_a_file(write: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-of-the-test\n")
    environ = {**KEY, "OPENAI_API_KEY_FILE": str(tmp_path / "key")}
    assert _source("openai_api_key", {}, environ, write("")) == ("sk-of-the-test", "OPENAI_API_KEY_FILE")


def test_a_bad_secret_is_not_repeated(write: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({}, {"QUEUE_ID": "q", "KUBIYA_API_KEY_FILE": str(tmp_path)}, write(""))
    assert "cannot be read" in caught.value.line()


def test_a_file_that_is_no_yaml_is_refused_with_its_line_and_nothing_of_what_it_holds(write: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({}, KEY, write("queue_id: x\ncontrol_plane: {api_key: sk-canary"))
    assert ":2 is not valid YAML: expected ',' or '}'" in caught.value.line()
    assert "canary" not in caught.value.line()


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve({}, KEY, str(tmp_path / "none.yaml"))


def test_without_queue_or_key_the_error_says_how_to_give_one(write: Any) -> None:
    with pytest.raises(UsageError, match="No queue is given"):
        resolve({}, {"KUBIYA_API_KEY": "k"}, write(""))
    with pytest.raises(NotAllowed, match="No API key is given"):
        resolve({}, {"QUEUE_ID": "q"}, write(""))


def test_the_table_and_the_settings_have_the_same_defaults() -> None:
    settings = Settings(queue_id="q", api_key="k", worker_hostname="")
    for option in OPTIONS:
        if option.name not in ("queue_id", "api_key", "api_key_file"):
            assert (option.default or None) == (getattr(settings, option.name) or None), option.name


def test_each_name_is_of_one_option_only() -> None:
    names = [n for o in OPTIONS for n in (o.name, o.flag, *o.env) if n]
    keys = [o.key for o in OPTIONS if o.key]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))


def test_a_misspelled_variable_is_found_and_others_are_left_alone() -> None:
    environ = {"KUBIYA_METRIC_PORT": "1", "KUBIYA_API_KEY_FILE": "x", "KUBIYA_DEV_DIR": "x", "TEMPORAL_HOSTS": "y"}
    assert misspelled({**environ, "KUBIYA_METRICS_PORT": "1", "LOG_LEVELS": "x"}) == {
        "KUBIYA_METRIC_PORT": "KUBIYA_METRICS_PORT",
        "TEMPORAL_HOSTS": "TEMPORAL_HOST",
    }
    assert misspelled({"KUBIYA_CONTROL_PLANE_URL": "x"}) == {"KUBIYA_CONTROL_PLANE_URL": "CONTROL_PLANE_URL"}


@pytest.mark.parametrize(
    ("named", "url"),
    [("", "https://plane.example/api/v1/enforcer"), ("https://rules.example", "https://rules.example")],
)
def test_the_policy_service_is_the_control_planes_where_none_is_named(named: str, url: str) -> None:
    environ = {**KEY, "CONTROL_PLANE_URL": "https://plane.example", "ENFORCER_SERVICE_URL": named}
    assert resolve({}, environ, "/dev/null").policy_service_url == url
