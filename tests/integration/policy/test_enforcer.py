"""The enforcer's client against a real little service: what is sent, what counts as a yes, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kubiya_worker import trust
from kubiya_worker.protocol.calls import Context
from kubiya_worker.protocol.execution import Member
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.policy import enforcer
from kubiya_worker.tools.policy.enforcer import Enforcer, Verdict
from tests.support.enforcer import ALLOW, HANGS, Answer, EnforcerService, Raw, self_signed

SHELL = ToolSpec("shell", "", risk="high", category="command_execution", effects=("exec",))
LIMIT = 15.0  # seconds that an answer may take in these tests: the machine may be busy


async def ask(service: EnforcerService, *, timeout: float = LIMIT, key: str = "") -> Verdict:
    client = Enforcer(service.url, key, timeout)
    try:
        return await client.ask({"action": "tool_execution"})
    finally:
        await client.close()


@pytest.fixture
async def service() -> AsyncIterator[EnforcerService]:
    with EnforcerService() as running:
        yield running


async def test_a_yes_is_a_yes_with_its_policies_and_its_latency(service: EnforcerService) -> None:
    service.answer = {"allow": True, "id": "d-7", "policies": ["read-only", {"name": "office-hours"}]}
    verdict = await ask(service, key="k-1")
    assert (verdict.kind, verdict.id, verdict.policies) == ("allow", "d-7", ("read-only", "office-hours"))
    assert 0 < verdict.latency < LIMIT and not verdict.fault
    assert service.paths == ["/enforce"] and service.keys == ["Bearer k-1"]


async def test_a_no_names_the_policy_and_the_reason(service: EnforcerService) -> None:
    service.answer = {"allow": False, "id": "d-8", "policies": ["prod-freeze"], "reason": "until Monday"}
    verdict = await ask(service)
    assert verdict.kind == "deny" and not verdict.fault
    assert verdict.reason == "denied by the policy service (prod-freeze): until Monday"


@pytest.mark.parametrize("allow", [True, False])
async def test_a_person_is_asked_where_the_service_says_so(service: EnforcerService, allow: bool) -> None:
    service.answer = {"allow": allow, "approval_required": True, "policies": ["two-eyes"]}
    assert (await ask(service)).kind == "ask"


NO_ANSWERS: dict[str, Answer] = {
    "500": Raw(b'{"allow": true}', status=500),
    "502": Raw(b"<html>Bad Gateway</html>", status=502),
    "503": Raw(status=503, headers={"Retry-After": "1"}),
    "429": Raw(b'{"allow": true}', status=429),
    "401": Raw(b'{"allow": true}', status=401),
    "403": Raw(b'{"allow": true}', status=403),
    "404": Raw(b'{"detail": "Not Found"}', status=404),
    "201": Raw(b'{"allow": true}', status=201),
    "204": Raw(status=204),
    "redirect": Raw(b'{"allow": true}', status=302, headers={"Location": "http://127.0.0.1:9/enforce"}),
    "redirect that keeps the method": Raw(status=307, headers={"Location": "http://127.0.0.1:9/enforce"}),
    "empty": Raw(),
    "garbage": Raw(bytes(range(256))),
    "a page": Raw(b"<html>It works!</html>", headers={"Content-Type": "text/html"}),
    "half of an answer": Raw(b'{"allow": true', headers={"Content-Length": "14"}),
    "fewer bytes than it says": Raw(b'{"allow": true}', headers={"Content-Length": "9999", "Connection": "close"}),
    "a list": Raw(b'[{"allow": true}]'),
    "a word": Raw(b"true"),
    "null": Raw(b"null"),
    "deep": Raw(b"[" * 100_000),
    "endless": Raw(b" " * 1_000_000 + b'{"allow": true}'),
    "compressed": Raw(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    "dropped": Raw(drop=True),
    "no allow": {"policies": []},
    "allow as a word": {"allow": "true"},
    "allow as a number": {"allow": 1},
    "allow is null": {"allow": None},
    "allow in another case": {"Allow": True},
    "allow further in": {"result": {"allow": True}},
    "approval_required as a word": {"allow": True, "approval_required": "no"},
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_whatever_is_no_clear_answer_is_a_refusal_that_names_the_fault(
    service: EnforcerService, answer: Answer
) -> None:
    service.answer = answer
    verdict = await ask(service)
    assert verdict.kind == "deny" and verdict.fault and not verdict.policies
    assert "could not be asked" in verdict.reason and "\n" not in verdict.reason


@pytest.mark.parametrize(
    "answer",
    [Raw(b'{"allow": true}', delay=HANGS), Raw(b'{"allow": true}', pause=0.2)],
    ids=["silent", "a byte now and then"],
)
async def test_a_slow_service_is_waited_for_as_long_as_it_may_take_and_no_longer(
    service: EnforcerService, answer: Answer
) -> None:
    service.answer = answer
    began = time.monotonic()
    verdict = await ask(service, timeout=0.3)
    assert verdict.kind == "deny" and verdict.fault == "no answer within 0.3 s"
    assert 0.3 <= time.monotonic() - began < HANGS / 2


async def test_a_service_that_is_down_refuses_and_one_that_comes_back_allows() -> None:
    service = EnforcerService()
    client = Enforcer(service.url, timeout=LIMIT)
    with service:
        assert (await client.ask({})).kind == "allow"
    down = await client.ask({})
    assert down.kind == "deny" and down.fault
    with EnforcerService() as again:
        client.url = again.url
        assert (await client.ask({})).kind == "allow"
    await client.close()


async def test_a_kept_connection_that_the_service_has_closed_is_no_refusal(service: EnforcerService) -> None:
    answers: Iterator[Answer] = iter([ALLOW, Raw(drop=True), ALLOW])
    service.answer = lambda _: next(answers)
    client = Enforcer(service.url, timeout=LIMIT)
    assert [(await client.ask({})).kind for _ in range(2)] == ["allow", "allow"]
    assert len(service.questions) == 3
    await client.close()


async def test_connections_are_kept_and_many_calls_at_once_are_answered(service: EnforcerService) -> None:
    client = Enforcer(service.url, timeout=30)
    for _ in range(20):
        await client.ask({})
    assert len(service.connections) == 1
    verdicts = await asyncio.gather(*(client.ask({}) for _ in range(50)))
    assert {v.kind for v in verdicts} == {"allow"}
    await client.close()


async def test_a_name_that_does_not_resolve_and_an_address_that_is_none_are_refusals() -> None:
    for url in ("http://policy.invalid", "http://127.0.0.1:1", "http://[::1", "ftp://127.0.0.1"):
        client = Enforcer(url, timeout=LIMIT)
        verdict = await client.ask({})
        assert verdict.kind == "deny" and verdict.fault, url
        await client.close()


async def test_a_certificate_that_nobody_has_signed_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in trust.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    certificate = self_signed(tmp_path)
    with EnforcerService(certificate=certificate) as service:
        untrusted = await ask(service)
        assert untrusted.kind == "deny" and "CERTIFICATE_VERIFY_FAILED" in untrusted.fault
        assert service.questions == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert (await ask(service)).kind == "allow"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
        assert (await ask(service)).fault


async def test_a_certificate_for_another_host_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path, "127.0.0.9")
    monkeypatch.setenv(trust.VARIABLES[0], str(certificate))
    with EnforcerService(certificate=certificate) as service:
        verdict = await ask(service)
        assert verdict.kind == "deny" and "CERTIFICATE_VERIFY_FAILED" in verdict.fault


def test_the_question_is_what_the_protocol_says() -> None:
    context = Context(
        agent_id="a-1", agent_name="ops", organization_id="org", user={"user_email": "x@example.com", "user_id": "u"}
    )
    asked = enforcer.question(SHELL, {"command": "ls"}, context, execution_id="e-1", tool_execution_id="t-1")
    json.dumps(asked)
    assert asked["action"] == "tool_execution"
    assert asked["tool"] == {
        "name": "shell",
        "arguments": {"command": "ls"},
        "source": "skill",
        "category": "command_execution",
        "risk_level": "high",
    }
    assert asked["user"] == {"email": "x@example.com", "id": "u", "roles": []}
    assert asked["organization"]["id"] == "org" and asked["team"] == {}
    execution = asked["execution"]
    assert (execution["execution_id"], execution["agent_id"], execution["environment"]) == ("e-1", "a-1", "production")


def test_the_question_about_a_members_call_names_the_teams_execution_and_the_way_to_the_member() -> None:
    member = Member("team-run", "logs", ["triage", "logs"], "m", "c", "w", "w")
    context = Context(agent_id="a-2", member=member)
    mcp = ToolSpec("mcp__tracker__close", "", source="mcp", category="elsewhere", risk="unheard of")
    asked = enforcer.question(mcp, {}, context, execution_id="run-2", tool_execution_id="t")
    assert asked["execution"]["execution_id"] == "team-run" and asked["team"]["name"] == "triage"
    assert asked["metadata"]["member_path"] == ["triage", "logs"]
    assert (asked["tool"]["source"], asked["tool"]["category"], asked["tool"]["risk_level"]) == (
        "mcp",
        "general",
        "critical",
    )


def test_the_workers_key_goes_to_the_control_plane_and_to_nobody_else() -> None:
    plane = "https://plane.example.com"
    assert enforcer.key_for(f"{plane}/api/v1/enforcer", None, plane, "kby") == "kby"
    assert enforcer.key_for(f"{plane}:443/api/v1/enforcer", None, plane, "kby") == "kby"
    for other in ("http://plane.example.com", "https://policy.example.com", f"{plane}:8443", f"{plane}.evil.example"):
        assert enforcer.key_for(other, None, plane, "kby") == ""
        assert enforcer.key_for(other, "own", plane, "kby") == "own"
