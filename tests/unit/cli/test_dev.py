"""What `kubiya dev` says when it is ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.cli.dev import Screen
from kubiya_worker.launch.stack import Facts
from kubiya_worker.launch.temporal_server import arguments


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
    Screen(as_json=False).ready(facts)
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
