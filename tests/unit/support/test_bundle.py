"""The archive: what is in it, that it is checked, and that nothing is left of one that failed."""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError, TemporaryFailure, UsageError, WorkerError
from kubiya_worker.process.redaction_socket import RedactionSocket
from kubiya_worker.support import bundle, bundle_parts
from kubiya_worker.support.bundle_parts import Part
from kubiya_worker.support.known_secrets import Secret

SECRET = Secret("canary-secret", "KUBIYA_API_KEY (this shell)")


def test_a_worker_that_runs_removes_what_only_it_knows(tmp_path: Path) -> None:
    answering = RedactionSocket(str(tmp_path / "status.json"), lambda: ("only-the-worker-knows",))
    try:
        hide = bundle.secret_remover([SECRET], [answering.address])
        coded = base64.b64encode(b"me:only-the-worker-knows").decode()
        assert hide("a canary-secret, only-the-worker-knows b") == "a [redacted], [redacted] b"
        assert "b25seS10aGUt" not in hide(coded) and hide("") == ""
        text = "line without anything\n" * 100_000
        assert hide(text) == text
    finally:
        answering.close()
    assert list(tmp_path.iterdir()) == []
    (member,) = bundle.members([Part("worker.log", "a log", lambda: "only-the-worker-knows")], hide)
    assert (member.name, member.text, member.missing) == ("[redacted]", "", "[redacted]")


def test_words_of_a_worker_whose_secrets_nobody_knows_are_left_out() -> None:
    started_with = {"OPENAI_API_KEY": "***", "LITELLM_API_KEY": "****", "HOME": "/", "EMPTY": ""}
    unknown = bundle_parts.unknown_secrets(started_with, {"LITELLM_API_KEY": "abcd", "OPENAI_API_KEY": "other"})
    assert unknown == ["OPENAI_API_KEY"]
    parts = [Part("workers/q/worker.log", "", lambda: "said"), Part("workers/q/files.txt", "", lambda: "files")]
    log, files = bundle.members(bundle_parts.without_logs(parts, unknown), bundle.secret_remover([]))
    assert (log.text, files.text) == ("", "files") and "OPENAI_API_KEY" in log.missing
    assert [m.text for m in bundle.members(bundle_parts.without_logs(parts, []), str)] == ["said", "files"]


def _packed(hide: bundle.Hide, *made: Part) -> list[bundle.BundleFile]:
    found = bundle.members(made, hide)
    return [bundle.manifest(found, hide, 1), *found]


def _fails() -> str:
    raise PermissionError(13, "Permission denied", "/canary-secret/x")


def test_texts_and_names_are_packed_without_secrets_and_what_fails_is_listed(tmp_path: Path) -> None:
    packed = _packed(
        bundle.secret_remover([SECRET]),
        Part("a.txt", "a", lambda: "x canary-secret y"),
        Part("canary-secret.txt", "b", lambda: "b"),
        Part("canary-secret.txt", "b", lambda: "c"),
        Part("broken.txt", "c", _fails),
    )
    path = tmp_path / "out.tar.gz"
    size = bundle.write(path, packed, [SECRET])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_size == size
    with tarfile.open(path) as tar:
        texts = {entry.name: tar.extractfile(entry).read().decode() for entry in tar}  # type: ignore[union-attr]
    told = json.loads(texts.pop("kubiya-support/manifest.json"))
    assert texts == {
        "kubiya-support/a.txt": "x [redacted] y",
        "kubiya-support/[redacted].txt": "b",
        "kubiya-support/[redacted].txt~": "c",
    }
    assert told["not_there"] == [{"name": "broken.txt", "why": "Permission denied"}]
    assert told["files"][0] == {"name": "a.txt", "about": "a", "bytes": 14}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["canary-secret", "Y2FuYXJ5LXNlY3JldA==", "canary%2Dsecret", r"canary\u002dsecret"])
def test_a_bundle_with_a_secret_in_it_is_not_kept(text: str, tmp_path: Path) -> None:
    packed = _packed(lambda shown: shown, Part("log.txt", "a log", lambda: f"… {text} …"))
    with pytest.raises(WorkerError) as refused:
        bundle.write(tmp_path / "out.tar.gz", packed, [SECRET])
    assert "log.txt held a secret (KUBIYA_API_KEY (this shell))" in refused.value.line()
    assert "canary" not in refused.value.line() and refused.value.exit_code == 70
    assert list(tmp_path.iterdir()) == []


def test_a_secret_in_a_name_is_not_told_again(tmp_path: Path) -> None:
    packed = _packed(lambda shown: shown, Part("canary-secret.txt", "a log", lambda: "x"))
    with pytest.raises(WorkerError) as refused:
        bundle.write(tmp_path / "out.tar.gz", packed[1:], [SECRET])
    assert "a file's name held a secret" in refused.value.line() and "canary" not in refused.value.line()


def test_a_line_with_a_secret_in_a_form_of_its_own_is_left_out() -> None:
    text = "one\nx canary\\u002dsecret y\ntwo\n"
    assert bundle.secret_remover([SECRET])(text) == "one\n[redacted]\ntwo\n"


def test_a_disk_that_is_full_is_one_line_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TemporaryFailure, match="does not fit"):
        bundle.write(tmp_path / "out.tar.gz", _packed(str, Part("a", "a", lambda: "a")), [])
    assert list(tmp_path.iterdir()) == []


def test_where_it_goes(tmp_path: Path) -> None:
    assert bundle.output_path(str(tmp_path), "q1").parent == tmp_path
    assert bundle.output_path(str(tmp_path), "q1").name.startswith("kubiya-support-q1-")
    (tmp_path / "there").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        bundle.output_path(str(tmp_path / "there"), None)
    with pytest.raises(ConfigurationError, match="cannot be written: No such file or directory"):
        bundle.write(tmp_path / "none" / "x.tar.gz", [], [])
    assert (tmp_path / "there").read_text() == "mine"


def test_a_log_is_its_last_whole_lines_across_rotations(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    (tmp_path / "worker.log.1").write_text("".join(f"old {n}\n" for n in range(5)))
    log.write_text("".join(f"new {n}\n" for n in range(5)))
    assert bundle_parts.last(log, 10_000).splitlines() == [
        *(f"old {n}" for n in range(5)),
        *(f"new {n}" for n in range(5)),
    ]
    assert bundle_parts.last(log, 40).splitlines() == [
        "… 4 earlier lines are not here",
        "old 4",
        *(f"new {n}" for n in range(5)),
    ]
    log.write_text("x" * 100)
    assert bundle_parts.last(log, 40).splitlines()[-1] == "x" * 40


def test_what_is_no_regular_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "worker.log")
    (tmp_path / "folder").mkdir()
    for make in (
        partial(bundle_parts.last, tmp_path / "worker.log", 99),
        partial(bundle_parts.content, tmp_path / "worker.log"),
    ):
        with pytest.raises(bundle_parts.PartMissing, match="not a file"):
            make()
    with pytest.raises(bundle_parts.PartMissing, match="not a file"):
        bundle_parts.content(tmp_path / "folder")
    with pytest.raises(bundle_parts.PartMissing, match="not there"):
        bundle_parts.last(tmp_path / "none.log", 99)
