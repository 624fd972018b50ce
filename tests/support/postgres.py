"""A PostgreSQL server for tests: real, on a free port, unsafe on disk. Each test has a schema of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from kubiya_worker.server.store.address import PostgresAddress

DEBIAN = Path("/usr/lib/postgresql")
HOMES = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/pgsql-*/bin")
SETTINGS = (
    # Not synchronous_commit=off too: a crash of the server would then lose what it has acknowledged.
    *("-c", "fsync=off", "-c", "full_page_writes=off"),
    *("-c", "shared_buffers=32MB", "-c", "max_connections=100", "-c", "listen_addresses=127.0.0.1,127.0.0.2"),
)


@functools.cache
def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where it is not installed."""
    for folder in (*sorted(DEBIAN.glob("*/bin"), reverse=True), *map(Path, HOMES)):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _user() -> str | None:
    """Return whom the server runs as: it refuses root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class PostgresServer:
    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = _user()
        if self._user:
            shutil.chown(self._folder, self._user)
        data = str(self._folder / "data")
        subprocess.run(
            [
                str(found / "initdb"),
                "-D",
                data,
                "-U",
                "kubiya",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        argv = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port), *SETTINGS]
        argv += ["-c", f"unix_socket_directories={self._folder}"]
        self._process = subprocess.Popen(argv, stdout=log, stderr=log, user=self._user, cwd="/")
        log.close()
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready).returncode:
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def want_passwords(self) -> None:
        """Create the user `guarded`, whom the server asks for a password."""
        import psycopg

        with psycopg.connect(self.address().url, autocommit=True) as connection:
            connection.execute("create role guarded login password 'right'")
            rules = self._folder / "data" / "pg_hba.conf"
            rules.write_text(f"host all guarded all scram-sha-256\n{rules.read_text()}")
            connection.execute("select pg_reload_conf()")

    def use_tls(self, certificate: Path, key: Path) -> None:
        """Serve with TLS from now on, for those who ask for it."""
        data = self._folder / "data"
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            (data / name).write_bytes(source.read_bytes())
            (data / name).chmod(0o600)
            if self._user:
                shutil.chown(data / name, self._user)
        with (data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        self.stop()
        self.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT ends its connections, SIGQUIT is as a crash."""
        self._process.send_signal(how)
        self._process.wait(60)

    def kill(self) -> None:
        """Kill the server with all its processes, at once."""
        server = psutil.Process(self.pid)
        server.suspend()  # it would start others
        for process in [*server.children(recursive=True), server]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(60)

    def remove(self) -> None:
        if self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, schema: str = "", port: int | None = None) -> PostgresAddress:
        asked = f"?options=-csearch_path%3D{schema}" if schema else ""
        return PostgresAddress(f"postgresql://kubiya@127.0.0.1:{port or self.port}/postgres{asked}")

    def program(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, such as pg_dump."""
        argv = [str(self._programs / name), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def database(self) -> PostgresAddress:
        """Return the address of a new database."""
        name = f"d_{secrets.token_hex(6)}"
        self.program("createdb", "--host=127.0.0.1", f"--port={self.port}", "--username=kubiya", name)
        return PostgresAddress(f"postgresql://kubiya@127.0.0.1:{self.port}/{name}")

    def fresh(self) -> PostgresAddress:
        """Return the address of a new schema, which nobody else uses."""
        import psycopg

        name = f"t_{secrets.token_hex(6)}"
        with psycopg.connect(self.address().url, autocommit=True) as connection:
            connection.execute(f"create schema {name}".encode())
        return self.address(name)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()
