"""These tests count the C library's arenas in a process with many threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Threads that wait for each other, each with memory of its own; glibc tells of every arena.
PROGRAM = """
import ctypes, re, sys, threading
from kubiya_worker.process import host
libc = ctypes.CDLL(None)
if "held" in sys.argv:
    assert host.limit_arenas()
together = threading.Barrier(12)
def work():
    together.wait()
    libc.malloc(5000)
    together.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[t.start() for t in threads]
[t.join() for t in threads]
libc.fopen.restype = ctypes.c_void_p
out = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fflush(ctypes.c_void_p(out))
"""


def arenas(*argv: str, **environ: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
def test_threads_share_two_arenas() -> None:
    assert arenas() > 3
    assert arenas("held") == 2
