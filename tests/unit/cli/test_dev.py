"""`kubiya dev` tells, when it is ready, of local models and of the codec server."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from kubiya_worker.cli.dev import DevOutput
from kubiya_worker.doctor import all_checks
from kubiya_worker.doctor.check import PASS, SKIP
from kubiya_worker.launch.stack_plan import Facts
from kubiya_worker.launch.temporal_server import arguments
from kubiya_worker.models import listing

dev = importlib.import_module("kubiya_worker.cli.dev")


@pytest.mark.parametrize(
    ("encrypted", "ui", "says"),
    [
        (False, "http://127.0.0.1:8233", ""),
        (True, None, ""),
        (True, "http://127.0.0.1:8233", "`kubiya server codec` runs"),
        (True, "http://127.0.0.1:9000", "`kubiya server codec --origin http://127.0.0.1:9000` runs"),
    ],
)
def test_it_says_how_encrypted_payloads_are_read(
    encrypted: bool, ui: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = Facts(
        control_plane_url="http://127.0.0.1:7777",
        temporal_address="127.0.0.1:7233",
        temporal_ui_url=ui,
        encrypted=encrypted,
        queue="default",
        api_key="kby_x",
        env_file=Path("env"),
        logs=Path("logs"),
        pid=1,
        seconds=1.0,
    )
    DevOutput(as_json=False).ready(facts)
    told = capsys.readouterr().out
    assert says in told and ("payloads" in told) == bool(says)


@pytest.mark.parametrize(
    ("encrypted", "ui_port", "told"), [(True, 8233, True), (True, None, False), (False, 8233, False)]
)
def test_temporals_page_is_told_of_the_codec_server_where_there_is_something_to_decrypt(
    encrypted: bool, ui_port: int | None, told: bool
) -> None:
    argv = arguments(Path("temporal"), port=7233, ui_port=ui_port, database=None, encrypted=encrypted)
    assert ("--ui-codec-endpoint" in argv) == told


def _facts() -> Facts:
    return Facts(
        control_plane_url="http://127.0.0.1:7777",
        temporal_address="127.0.0.1:7233",
        temporal_ui_url=None,
        encrypted=False,
        queue="default",
        api_key="kby_x",
        env_file=Path("env"),
        logs=Path("logs"),
        pid=1,
        seconds=1.0,
    )


OLLAMA = listing.ModelList(
    listing.ListedEndpoint("Ollama", "http://127.0.0.1:11434/v1"),
    (listing.ListedModel("qwen3:8b"), listing.ListedModel("gemma3")),
)


def test_local_models_are_offered_and_the_default_stays(capsys: pytest.CaptureFixture[str]) -> None:
    DevOutput(as_json=False, local=lambda: [OLLAMA]).ready(_facts())
    told = capsys.readouterr().out
    assert "Ollama at http://127.0.0.1:11434/v1: qwen3:8b, gemma3" in told
    assert "Agents use the demo model. With a local one: kubiya dev --model qwen3:8b" in told
    DevOutput(as_json=True, local=lambda: [OLLAMA]).ready(_facts())
    assert json.loads(capsys.readouterr().out)["local_models"] == {"http://127.0.0.1:11434/v1": ["qwen3:8b", "gemma3"]}
    DevOutput(as_json=True).ready(_facts())
    assert "local_models" not in capsys.readouterr().out


def test_a_local_models_name_leads_to_its_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "local_servers", lambda: [OLLAMA])
    assert dev.local_endpoint("gemma3") == {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}
    assert "gemma3 is served by Ollama" in capsys.readouterr().err
    for other in ("gpt-5", "demo", "anthropic:claude-sonnet-5", "gemma"):
        assert dev.local_endpoint(other) == {}


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL", "LITELLM_API_BASE", "KUBIYA_MODEL_OVERRIDE"])
def test_nothing_is_looked_for_where_an_endpoint_is_configured(name: str) -> None:
    assert dev.is_configured({name: "x"}) and not dev.is_configured({name: " "}) and not dev.is_configured({})


def test_the_doctor_says_which_local_models_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "local_servers", list)
    assert all_checks.local_models().status == SKIP
    monkeypatch.setattr(listing, "local_servers", lambda: [OLLAMA])
    found = all_checks.local_models()
    assert (found.status, found.remedy) == (PASS, "To use one: kubiya dev --model qwen3:8b")
    assert "qwen3:8b, gemma3" in found.message


def test_without_a_model_agents_get_the_demo_model_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.offline_default({}) == {"LITELLM_DEFAULT_MODEL": "demo"}
    assert dev.offline_default({"LITELLM_DEFAULT_MODEL": "mine"}) == {}
    DevOutput(as_json=False, offline=True).ready(_facts())
    assert "agents without model_id use the demo model" in capsys.readouterr().out
    DevOutput(as_json=False).ready(_facts())
    assert "demo model" not in capsys.readouterr().out
