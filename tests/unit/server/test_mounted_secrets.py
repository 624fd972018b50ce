"""Keys that Kubernetes mounts from a Secret: read-only files of root's, which the pod's group may read."""

from __future__ import annotations

import base64
import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.private_file import open_to_others
from kubiya_worker.server.auth import ORGANIZATION, ensure_key_file
from kubiya_worker.server.sealing import KeyFile
from tests.support.api import Api


@pytest.mark.parametrize(
    ("owner", "mode", "process", "is_open"),
    [
        (1000, 0o600, 1000, False),
        (1000, 0o640, 1000, True),
        (1000, 0o604, 1000, True),
        (0, 0o440, 1000, False),  # as Kubernetes mounts it for a pod with fsGroup
        (0, 0o640, 1000, False),
        (0, 0o444, 1000, True),
        (0, 0o460, 1000, True),
        (0, 0o440, 0, True),
    ],
)
def test_a_group_may_read_only_what_is_roots(
    owner: int, mode: int, process: int, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: process)
    status = os.stat_result((0o100000 | mode, 1, 1, 1, owner, 1000, 1, 0, 0, 0))
    assert open_to_others(status) is is_open


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_key_of_the_secrets_may_be_mounted() -> None:
    code = (
        "import os, sys; from pathlib import Path; from kubiya_worker.server.sealing import KeyFile;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(len(KeyFile(Path(sys.argv[1])).read()))"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for root alone
        Path(folder).chmod(0o755)
        path = Path(folder) / "secrets-key"
        path.write_bytes(base64.b64encode(os.urandom(32)))
        os.chown(path, 0, 65534)
        path.chmod(0o440)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.strip() == "32", done.stderr


def test_a_key_of_the_secrets_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets-key"
    path.write_bytes(base64.b64encode(os.urandom(32)))
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to others"):
        KeyFile(path).read()


def test_a_key_file_on_a_read_only_mount_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    key = f"kby_{'a' * 64}"
    with Api(tmp_path) as api:
        mounted = tmp_path / "api-key"
        mounted.write_text(key + "\n")
        mounted.chmod(0o400)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "chmod", refuse)
            ensure_key_file(api.plane.stores.keys, mounted, ORGANIZATION)
        assert api.plane.stores.keys.caller(key) is not None
        mounted.chmod(0o644)
        ensure_key_file(api.plane.stores.keys, mounted, ORGANIZATION)
        assert mounted.stat().st_mode & 0o777 == 0o600
