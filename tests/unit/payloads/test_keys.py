"""The file of payload keys is read line by line, and a mistake in it is named with its line."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.payloads.keys import KeyRing, UnknownKey, parse

ONE, TWO = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_line_encrypts_and_all_are_known(tmp_path: Path) -> None:
    ring = KeyRing(written(tmp_path / "keys", f"# made by hand\n\nnew {ONE}\nold {TWO}\n"))
    assert ring.first[0] == "new"
    assert ring.has("old") and not ring.has("other")
    assert ring.texts == (ONE, TWO)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        (ONE, "keys:1 is not 'ID BASE64'"),
        (f"a/b {ONE}", "keys:1 is not 'ID BASE64'"),
        (f"one {ONE} two", "keys:1 is not 'ID BASE64'"),
        (f"one {ONE[:-8]}", "is 27 bytes, not 32 bytes"),
        (f"one {base64.b64encode(bytes(16)).decode()}", "is 16 bytes, not 32 bytes"),
        ("one not-base64!", "is no base64"),
        (f"one {ONE}\n\none {TWO}", "keys:3: a second key has the id 'one'"),
    ],
)
def test_what_is_no_key_is_named_by_its_line(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "keys")
    assert says in caught.value.message
    assert caught.value.exit_code == 78
    assert ONE[:20] not in caught.value.line()


def test_both_alphabets_of_base64_are_read() -> None:
    secret = bytes(range(224, 256))
    for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
        assert parse(f"x {encoded.decode()}", "keys")[0].secret == secret


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o640, 0o660, 0o602])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}.*") as caught:
        KeyRing(written(tmp_path / "keys", f"one {ONE}\n", mode))
    assert caught.value.remedy == f"chmod 600 {tmp_path / 'keys'}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_of_root_may_be_read_by_a_group_as_kubernetes_has_it() -> None:
    code = (
        "import os, sys; from pathlib import Path; from kubiya_worker.payloads.keys import _read;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(len(_read(Path(sys.argv[1]))[0]))"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for root alone
        Path(folder).chmod(0o755)
        path = written(Path(folder) / "keys", f"one {ONE}\n", 0o440)
        os.chown(path, 0, 65534)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.strip() == str(len(f"one {ONE}\n")), done.stderr


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path, says in (
        (tmp_path / "fifo", "is not a file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            KeyRing(path)
    (tmp_path / "binary").touch(0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not text"):
        KeyRing(tmp_path / "binary")


def test_a_key_that_was_added_is_found_without_a_restart(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", f"one {ONE}\n")
    ring = KeyRing(path)
    with pytest.raises(UnknownKey, match="'two', which is not in"):
        ring.find("two")
    written(path, f"broken\none {ONE}\n")
    with pytest.raises(UnknownKey, match="keys:1"):
        ring.find("two")
    assert ring.find("one")  # the keys from before serve on
    written(path, f"one {ONE}\ntwo {TWO}\n")
    assert ring.find("two")


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", f"one {ONE}\n")
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\nfrom kubiya_worker.errors import WorkerError\n"
        "from kubiya_worker.payloads.keys import KeyRing\n"
        "try: KeyRing(Path(sys.argv[1]))\n"
        "except WorkerError as error: print(error.exit_code, error.line())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.startswith("78 Payload keys are configured") and "kubiya-worker[encryption]" in done.stdout
