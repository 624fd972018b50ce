"""Temporal's own web page, in a real browser: it reads what is encrypted while a codec server runs, and not before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from kubiya_worker.launch.temporal_server import CODEC_ENDPOINT
from tests.integration.payloads.test_encryption import CANARY, key, write
from tests.support.browser import TIMEOUT, chromium
from tests.support.dev import Dev
from tests.support.stack import BIN, Process

pytestmark = pytest.mark.slow


def test_temporals_page_reads_a_history_while_a_codec_server_runs(tmp_path: Path) -> None:
    dev = Dev(tmp_path, KUBIYA_PAYLOAD_KEYS_FILE=str(write(tmp_path / "payload-keys", f"one {key(1)}")))
    processes = [dev.process]
    try:
        dev.ready()
        prompt = "demo:script " + json.dumps([{"text": f"It is {CANARY}"}])
        assert dev.kubiya("exec", "agent", "ops", prompt).stdout == f"It is {CANARY}\n"
        ui = dev.facts["temporal_ui_url"]
        told = requests.get(f"{ui}/api/v1/settings", timeout=30).json()
        assert told["Codec"]["Endpoint"] == CODEC_ENDPOINT  # there is nothing to set with the ports of `kubiya dev`
        # A shell that was prepared knows the keys' file.
        codec = Process(
            [str(BIN / "kubiya"), "server", "codec", "--port", "0", "--origin", ui],
            {**dev.environment(), "HOME": str(tmp_path)},
            tmp_path,
        )
        processes.append(codec)
        endpoint = codec.expect("codec.listening").partition("url=")[2]
        address = f"{ui}/namespaces/default/workflows/agent-execution-{dev.newest()['id']}"
        with chromium() as browser, browser.new_context() as context:
            context.set_default_timeout(TIMEOUT)
            page = context.new_page()
            cards = page.get_by_test_id("input-and-result").locator(".cm-content")
            page.goto(address)
            page.get_by_test_id("data-encoder-status-error").first.wait_for()  # it has tried
            cards.first.wait_for()
            assert not [text for text in cards.all_inner_texts() if CANARY in text or "prompt" in text]
            page.get_by_test_id("data-encoder-status-error").first.click()
            page.get_by_text("Use my browser setting").click()
            page.get_by_placeholder("Paste your endpoint here").fill(endpoint)
            page.get_by_role("button", name="Apply").click()
            page.get_by_placeholder("Paste your endpoint here").wait_for(state="hidden")
            page.goto(address)
            cards.filter(has_text=CANARY).filter(has_text='"prompt"').wait_for()  # the input
            cards.filter(has_text=CANARY).filter(has_text='"response"').wait_for()  # the result
        dev.stop()
    finally:
        for process in processes:
            process.kill()
