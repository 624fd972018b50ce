"""Real OpenSSH servers on ports of this host, each with its own host key, run by this user."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# bash reads ~/.bashrc for a command by ssh unless it believes that it runs in another shell. What the file of whoever
# runs the tests prints would be in the output.
NO_STARTUP_FILE = "SetEnv SHLVL=1"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class SshServer:
    """One server. `host_key` is its public key as a skill pins it."""

    folder: Path
    port: int
    authorized: Path
    process: subprocess.Popen[bytes] | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def settings(self, **more: object) -> dict[str, object]:
        """Return the host as an inventory has it."""
        about = {"address": "127.0.0.1", "port": self.port, "user": getpass.getuser(), "host_key": self.host_key}
        return {**about, **more}

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # a server of root does not start without it
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host'}\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nAuthorizedKeysFile {self.authorized}\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"MaxStartups 100\n{NO_STARTUP_FILE}\n" + "".join(f"{line}\n" for line in self.lines)
        )
        assert SSHD
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def change_host_key(self) -> None:
        """Become a host that was installed anew, or somebody in between: another key, the same address."""
        self.stop()
        for name in ("host", "host.pub"):
            (self.folder / name).unlink()
        make_key(self.folder / "host")
        self.start()


def make_key(path: Path, *options: str) -> str:
    """Make a key pair without a passphrase; return the private one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path), *options], check=True)
    return path.read_text()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def servers(folder: Path, count: int) -> Iterator[tuple[list[SshServer], str]]:
    """Yield running servers, and the private key of the account that may log in to them."""
    private = make_key(folder / "account")
    found = []
    for number in range(count):
        own = folder / f"server-{number}"
        own.mkdir()
        make_key(own / "host")
        found.append(SshServer(own, _free_port(), folder / "account.pub"))
    try:
        for server in found:
            server.start()
        yield found, private
    finally:
        for server in found:
            server.stop()
