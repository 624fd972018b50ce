"""A wall clock that can be stepped, for the processes that this run starts and for nobody else.

A real step would move the clock of everything on the machine. Instead a library of a few lines, compiled here, is
loaded before the C library of supervisor, worker, command line and control plane: it adds an offset, read from a file,
to what CLOCK_REALTIME says. The monotonic clock stays what it is, as it does when an administrator sets the time.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset; /* nanoseconds */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) offset = found;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        long long all = at->tv_sec * 1000000000LL + at->tv_nsec + *offset;
        at->tv_sec = all / 1000000000LL;
        at->tv_nsec = all % 1000000000LL;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """Raises RuntimeError where it cannot be made; the text says why."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None or not Path("/proc").is_dir():
            raise RuntimeError("there is no C compiler" if compiler is None else "it needs Linux")
        source, library, self._file = folder / "clock.c", folder / "clock.so", folder / "clock"
        source.write_text(SOURCE)
        self._file.write_bytes(bytes(8))
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the clock could not be compiled: {done.stderr.strip()[:200]}")
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}
        self.offset = 0.0

    def install(self) -> None:
        """Install the clock for all processes that are started from now on."""
        os.environ.update(self.environment)

    def step(self, seconds: float) -> None:
        """Set the clock to so many seconds from the machine's own time."""
        self.offset = seconds
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            shared[:] = struct.pack("<q", round(seconds * 1e9))
