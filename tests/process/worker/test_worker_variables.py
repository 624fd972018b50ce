"""Variables of the Kubiya CLI and worker that a running worker keeps to: its id, who waits for it, what failed."""

from __future__ import annotations

import json
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

from kubiya_worker import __version__
from tests.process.worker.conftest import Start
from tests.support.model_endpoint import ModelEndpoint
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Stack, wait_until


def _ids(stack: Stack) -> list[str]:
    return [worker["id"] for worker in stack.call("GET", "/worker-queues/default/workers")]


def test_the_id_that_is_asked_for_stays_over_restarts(stack: Stack) -> None:
    for _ in range(2):
        worker = stack.worker(WORKER_ID="rack-7.worker_1")
        assert "worker_id=rack-7.worker_1" in worker.expect("worker.registered")
        wait_until(lambda: _ids(stack) == ["rack-7.worker_1"], 30, "its heartbeat")
        execution = stack.execute('demo:script [{"text": "hello"}]')
        assert stack.wait(execution)["response"] == "hello"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.lines
    assert _ids(stack) == []


def test_a_killed_worker_comes_back_under_its_id(stack: Stack) -> None:
    first = stack.worker(WORKER_ID="killed-once")
    first.kill()
    second = stack.worker(WORKER_ID="killed-once")
    assert _ids(stack) == ["killed-once"]
    second.signal(signal.SIGTERM)
    assert second.wait() == 0


def test_the_server_takes_no_id_that_is_none(stack: Stack) -> None:
    for wrong in ("", " ", "a/b", "x" * 129, "ä"):
        answer = stack.http.post(
            f"{stack.url}/api/v1/worker-queues/default/start", json={"worker_id": wrong}, timeout=30
        )
        assert answer.status_code == (200 if wrong == "" else 422), (wrong, answer.text)


def test_a_control_plane_that_gives_its_own_ids_is_told_of(start: Start) -> None:
    with ScriptedPlane() as plane:
        worker = start(plane.url, WORKER_ID="mine")
        line = worker.expect("worker.id_not_given")
        assert "asked=mine" in line and "given=worker-1" in line
        worker.expect("worker.registered .*worker_id=worker-1")
        assert plane.expect("/start")[0].body["worker_id"] == "mine"


def test_without_it_nothing_is_asked_for(start: Start) -> None:
    with ScriptedPlane() as plane:
        start(plane.url)
        assert "worker_id" not in plane.expect("/start")[0].body


def test_the_readiness_socket_is_told_when_it_polls(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "ready.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        worker = stack.worker(KUBIYA_READINESS_SOCKET=str(path))
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            told = json.loads(connection.makefile().read())
    assert (told["pid"], told["queue_id"], told["control_plane_url"]) == (worker.pid, "default", stack.url)
    worker.kill()


def test_what_the_control_plane_does_not_take_is_in_the_file(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    worker = start("http://127.0.0.1:1", KUBIYA_API_LOG_FILE=str(path))
    worker.expect("worker.registration_failed")
    first = json.loads(path.read_text().splitlines()[0])
    assert first["method"] == "POST" and first["url"].endswith("/worker-queues/default/start") and not first["status"]


def test_a_local_proxy_s_models_are_served_where_its_file_says(stack: Stack, tmp_path: Path) -> None:
    with ModelEndpoint() as one, ModelEndpoint() as two:
        path = tmp_path / "litellm.yaml"
        path.write_text(
            f"""model_list:
- model_name: small
  litellm_params: {{model: openai/gpt-4o-mini, api_base: "{one.url}", api_key: os.environ/KEY_OF_ONE}}
- model_name: own
  litellm_params: {{model: hosted_vllm/llama-3, api_base: "{two.url}", api_key: sk-key-of-two}}
"""
        )
        queue = stack.queue("of-a-proxy")
        worker = stack.worker(
            queue,
            OPENAI_BASE_URL="http://127.0.0.1:1",
            KUBIYA_ENABLE_LOCAL_PROXY="true",
            KUBIYA_PROXY_CONFIG_FILE=str(path),
            KEY_OF_ONE="sk-key-of-one",
        )
        for model, endpoint, upstream, key in (
            ("small", one, "gpt-4o-mini", "sk-key-of-one"),
            ("own", two, "llama-3", "sk-key-of-two"),
        ):
            agent = stack.agent(f"of-{model}", model_id=model)
            done = stack.wait(stack.execute("hello", agent=agent, queue=queue))
            assert done["status"] == "completed", done
            assert {request["body"]["model"] for request in endpoint.requests} == {upstream}
            assert {request["headers"]["authorization"] for request in endpoint.requests} == {f"Bearer {key}"}
        agent = stack.agent("of-neither", model_id="gpt-5")
        done = stack.wait(stack.execute("hello", agent=agent, queue=queue))
        assert done["status"] == "failed" and "'gpt-5' is not in the proxy's model_list" in done["error_message"]
        worker.kill()
        assert not any("sk-key-of" in line for line in worker.lines)


def test_a_proxy_that_cannot_be_kept_to_ends_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "litellm.yaml").write_text("model_list: [{model_name: m, litellm_params: {model: azure/x}}]\n")
    told = {"KUBIYA_ENABLE_LOCAL_PROXY": "true", "KUBIYA_PROXY_CONFIG_FILE": str(tmp_path / "litellm.yaml")}
    with ScriptedPlane() as plane:
        worker = start(plane.url, **told)
        assert worker.wait() == 78
        assert not plane.seen and len(worker.lines) == 1
        assert (
            "the provider azure can only be reached through LiteLLM itself" in worker.lines[0]
            and "LITELLM_API_BASE" in worker.lines[0]
        )


def test_a_queue_s_own_models_are_served_unless_the_host_has_an_endpoint(stack: Stack) -> None:
    with ModelEndpoint() as endpoint:
        params = {"model": "openai/up", "api_base": endpoint.url, "api_key": "os.environ/KEY"}
        config = {"model_list": [{"model_name": "small", "litellm_params": params}]}
        own = {"environment_variables": {"KEY": "sk-of-the-queue"}}
        queue = stack.queue("with-models")

        def configure(**config: object) -> None:
            settings = {"enable_local_litellm_proxy": True, "litellm_config": config}
            stack.call("PATCH", f"/worker-queues/{queue}", {"settings": settings})

        configure(**config, **own)
        worker = stack.worker(queue, OPENAI_API_KEY="", OPENAI_BASE_URL="", LITELLM_API_BASE="")
        agent = stack.agent("of-the-queue", model_id="small")
        assert stack.wait(stack.execute("hello", agent=agent, queue=queue))["status"] == "completed"
        (request,) = endpoint.requests
        assert (request["body"]["model"], request["headers"]["authorization"]) == ("up", "Bearer sk-of-the-queue")
        worker.kill()
        worker = stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-of-the-host")
        assert stack.wait(stack.execute("hello", agent=agent, queue=queue))["status"] == "completed"
        request = endpoint.requests[-1]
        assert (request["body"]["model"], request["headers"]["authorization"]) == ("small", "Bearer sk-of-the-host")
        worker.kill()
        configure(**config)  # KEY would be a variable of the host: who edits a queue must not have it
        worker = stack.worker(queue, KEY="sk-of-the-host", OPENAI_API_KEY="", OPENAI_BASE_URL="", LITELLM_API_BASE="")
        assert "the variable KEY is not set" in worker.expect("queue.models_refused")
        worker.kill()


def test_a_stored_model_is_used_and_its_edit_holds_from_the_next_start_on(stack: Stack) -> None:
    """The worker has an endpoint of its own, which serves the names that nobody stores."""
    with ModelEndpoint() as one, ModelEndpoint() as two, ModelEndpoint() as own:
        queue = stack.queue("with-stored-models")

        def apply(url: str, upstream: str) -> None:
            spec = {"model": f"openai/{upstream}", "api_base": url, "api_key": "os.environ/KUBIYA_MODEL_KEY_SMALL"}
            document = {"kind": "Model", "name": "stored-small", "spec": {**spec, "queues": [queue]}}
            stack.call("POST", "/definitions/apply", {"documents": [document]})

        def run(model: str) -> None:
            agent = stack.agent(f"of-{uuid.uuid4().hex[:8]}", model_id=model)
            done = stack.wait(stack.execute("hello", agent=agent, queue=queue))
            assert done["status"] == "completed", done

        def asked(endpoint: ModelEndpoint) -> set[tuple[str, str]]:
            return {(each["body"]["model"], each["headers"]["authorization"]) for each in endpoint.requests}

        variables: dict[str, Any] = {
            "OPENAI_BASE_URL": own.url,
            "OPENAI_API_KEY": "sk-host",
            "KUBIYA_MODEL_KEY_SMALL": "sk-of-small",
        }
        apply(one.url, "first")
        worker = stack.worker(queue, **variables)
        run("stored-small")
        run("any-other")
        assert (asked(one), asked(own)) == ({("first", "Bearer sk-of-small")}, {("any-other", "Bearer sk-host")})
        apply(two.url, "second")
        run("stored-small")  # a worker reads its queue's list when it starts
        assert (asked(one), asked(two)) == ({("first", "Bearer sk-of-small")}, set())
        worker.kill()
        worker = stack.worker(queue, **variables)
        run("stored-small")
        assert asked(two) == {("second", "Bearer sk-of-small")}
        worker.kill()
        assert not any("sk-of-small" in line for line in worker.lines)


def test_a_version_that_the_control_plane_recommends_is_told(stack: Stack, start: Start) -> None:
    ours = ["turn_status"]  # the published control plane, which tells no features, means another product's version
    versions = (("999.1", ours, True), (__version__, ours, False), ("0.0.1", ours, False), ("newest", ours, False))
    for version, features, told in (*versions, ("999.2", [], False)):
        plane = ScriptedPlane(temporal=stack.temporal_address)
        plane.registration["features"] = features
        plane.registration["recommended_package_version"] = version  # which answers for the queue's configuration, too
        with plane:
            worker = start(plane.url)
            worker.expect("worker.ready")
            plane.expect("/config")
            assert any("worker.outdated" in line and version in line for line in worker.lines) is told, version
            worker.kill()
