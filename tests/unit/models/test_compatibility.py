"""Compatibility settings: what is known is kept to, what is not is refused by name, and secrets are references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import Endpoint, Models, compatibility, routes
from kubiya_worker.models.compatibility import KEYS, NOTHING, Compatibility

ALL = {
    "stream": False,
    "stream_options": False,
    "tool_choice": "omit",
    "max_tokens_field": "max_completion_tokens",
    "extra_body": {"top_k": 40},
    "extra_headers": {"X-Team": "ops"},
}


def parse(raw: Any, environ: dict[str, str] | None = None, *, agent: bool = False) -> Compatibility:
    return compatibility.parse(raw, "here", environ or {}, agent=agent)


def test_every_key_is_kept() -> None:
    assert set(ALL) == set(KEYS)
    found = parse(ALL)
    assert {key: getattr(found, key) for key in ALL} == ALL
    assert parse(None) == parse({}) == NOTHING


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"streaming": False}, "streaming"),
        ({"stream": "no"}, "here.stream"),
        ({"stream_options": 0}, "here.stream_options"),
        ({"tool_choice": "required"}, "here.tool_choice"),
        ({"max_tokens_field": "max_new_tokens"}, "here.max_tokens_field"),
        ({"extra_body": {"model": "other"}}, "here.extra_body.model"),
        ({"extra_body": ["x"]}, "here.extra_body"),
        ({"extra_headers": {"Host": "other"}}, "here.extra_headers.Host"),
        ({"extra_headers": {"a b": "x"}}, "here.extra_headers.a b"),
        ({"extra_headers": {"X": "a\r\nY: b"}}, "here.extra_headers.X"),
        ({"extra_headers": {"X": None}}, "here.extra_headers.X"),
        ({"extra_headers": {"X": "${GONE}"}}, "GONE is not set"),
        (["stream"], "here has to be a mapping"),
        ("stream: false", "here has to be a mapping"),
    ],
)
def test_what_is_not_known_is_refused_by_name(raw: Any, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(raw)
    assert named in caught.value.line()


def test_a_header_refers_to_a_variable_and_is_not_shown() -> None:
    environ = {"GATEWAY_KEY": "s3cr3t-value"}
    found = parse({"extra_headers": {"X-Key": "${GATEWAY_KEY}", "B": "os.environ/GATEWAY_KEY"}}, environ)
    assert found.extra_headers == {"X-Key": "s3cr3t-value", "B": "s3cr3t-value"}
    assert "s3cr3t-value" not in repr(found) and found.secrets == ("s3cr3t-value", "s3cr3t-value")


def test_an_agent_can_have_sent_only_what_the_worker_offers() -> None:
    environ = {"KUBIYA_API_KEY": "worker-key", "KUBIYA_MODEL_HEADER_TENANT": "tenant-17"}
    found = parse({"extra_headers": {"X-Api-Key": "${KUBIYA_MODEL_HEADER_TENANT}"}}, environ, agent=True)
    assert found.extra_headers == {"X-Api-Key": "tenant-17"}
    for name in ("KUBIYA_API_KEY", "HOME"):
        with pytest.raises(ConfigurationError, match=f"may not use the worker's variable {name}") as caught:
            parse({"extra_headers": {"X": f"${{{name}}}"}}, environ, agent=True)
        assert "worker-key" not in caught.value.line()


@pytest.mark.parametrize(
    "name", ["Authorization", "x-api-key", "Cookie", "X-Secret", "Helicone-Auth", "XAPIKEY", "X-Userkey", "X-PAT"]
)
def test_a_credential_does_not_stand_in_an_agent(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must not hold a credential") as caught:
        Models(Endpoint(), {}).check({"compatibility": {"extra_headers": {name: "sk-literal"}}})
    assert "sk-literal" not in caught.value.line()


ORDINARY = {
    "X-Title": "my app",
    "HTTP-Referer": "https://apps.example.com",
    "x-portkey-provider": "openai",
    "Idempotency-Key": "nightly-1",
    "X-Max-Tokens": "8192",
    "X-Author": "Ada",
    "cf-aig-cache-key": "nightly",
}


def test_a_header_that_only_looks_like_a_credential_may_stand_in_an_agent_and_its_words_are_no_secret() -> None:
    found = parse({"extra_headers": ORDINARY}, agent=True)
    assert (found.extra_headers, found.secrets) == (ORDINARY, ())


def test_a_key_of_a_known_service_is_a_credential_in_any_header() -> None:
    with pytest.raises(ConfigurationError, match="must not hold a credential"):
        parse({"extra_headers": {"X-Custom": "sk-0123456789abcdefghij"}}, agent=True)
    assert parse({"extra_headers": {"X-Custom": "sk-0123456789abcdefghij"}}).secrets == ("sk-0123456789abcdefghij",)


def test_the_later_place_wins_key_by_key() -> None:
    worker = parse({"stream": False, "extra_body": {"a": 1, "b": 1}, "extra_headers": {"X": "1"}})
    agent = parse({"stream": True, "extra_body": {"b": 2}})
    assert worker.with_(agent) == parse({"stream": True, "extra_body": {"a": 1, "b": 2}, "extra_headers": {"X": "1"}})


def test_one_file_for_all_endpoints_and_for_single_ones(tmp_path: Path) -> None:
    path = tmp_path / "compatibility.yaml"
    path.write_text(
        "stream_options: false\nendpoints:\n"
        "  http://127.0.0.1:8080/v1: {stream: false}\n"
        "  gateway.example.com: {extra_headers: {X-Tenant: '${TENANT}'}, stream_options: true}\n"
    )
    found = compatibility.load(str(path), {"TENANT": "tenant-17"})
    assert found.of("http://127.0.0.1:8080/v1/") == parse({"stream_options": False, "stream": False})
    assert found.of("https://gateway.example.com:8443/v1").extra_headers == {"X-Tenant": "tenant-17"}
    assert found.of("https://gateway.example.com/v1").stream_options is True
    assert found.of("http://elsewhere/v1") == parse({"stream_options": False})
    assert found.secrets == ("tenant-17",)
    assert compatibility.load(None, {}).of("http://any/v1") == NOTHING


@pytest.mark.parametrize("text", ["[1]", "a: [", "endpoints: 3", "endpoints: {h: {no: 1}}", "stream: [x]"])
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "compatibility.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"compatibility\.yaml"):
        compatibility.load(str(path), {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        compatibility.load(str(tmp_path / "gone"), {})


def route(**row: Any) -> routes.Route:
    params = {"model": "openai/m", "api_base": "http://h/v1", **row.pop("params", {})}
    return routes.parse({"model_list": [{"model_name": "m", "litellm_params": params, **row}]}, "f", {})["m"]


def test_a_route_has_settings_of_its_own_and_those_that_litellm_has() -> None:
    found = route(compatibility={"stream": False}, params={"extra_headers": {"X": "1"}, "extra_body": {"a": 1}})
    assert found.compatibility == parse({"stream": False, "extra_headers": {"X": "1"}, "extra_body": {"a": 1}})
    with pytest.raises(ConfigurationError, match="no setting 'streem'"):
        route(compatibility={"streem": False})
    with pytest.raises(ConfigurationError, match="not anthropic"):
        native = {
            "model_name": "c",
            "litellm_params": {"model": "anthropic/claude"},
            "compatibility": {"stream": False},
        }
        routes.parse({"model_list": [native]}, "f", {})
