"""A child for the supervisor: does what its arguments say, one after the other. Standard library; never forks late.

python -I -S scripted_child.py say:hello ready wait

say:TEXT            a line on stdout            err:TEXT          a line on stderr
write:TEXT          without an end of line      env:NAME          the variable, as a line
ready               READY=1                     status:TEXT       STATUS=TEXT
notify:LINE         that line                   exit:CODE         leave at once
kill:NUMBER         this signal to itself       sleep:SECONDS     sleep
await:FILE          go on when it is there      hush              on SIGQUIT, beat no more
beat:SECONDS        from now on WATCHDOG=1 every so often
beats:SECONDS       the same, also when it cannot be sent   stops:SECONDS   STOPPING=1 every so often
spawn:WHAT          a child in its own session: `sleeper`, or `stubborn`, which ignores SIGTERM, or `lost`, whose
                    parent is gone, or `naked`, lost and without an environment, or `kept`, naked and named in
                    SUPERVISOR_KEEP; says `spawned PID`
spam:COUNT:SIZE     so many numbered lines of that many bytes
once:FILE           go on only when FILE does not exist, and make it; else skip the next step
stubborn            ignore SIGTERM              slowly:SECONDS    on SIGTERM, take that long, then exit 0
abort               on SIGTERM, die of SIGABRT  echo              say each signal, exit on SIGTERM with 0
finish:SECONDS      on SIGQUIT, take that long, then exit 0; finish:FILE: until it is there
drain               exit 0 when the supervisor is gone
wait                until killed
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def notify(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def spawn(what: str) -> None:
    program = STUBBORN if what == "stubborn" else SLEEP
    argv = [sys.executable, "-I", "-S", "-c", program]
    env: dict[str, str] | None = {} if what in ("naked", "kept") else None
    if what in ("lost", "naked", "kept"):
        middle = f"import subprocess; print(subprocess.Popen({argv!r}, start_new_session=True, stdout=2).pid)"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", middle], env=env, stdout=subprocess.PIPE, check=True)
        if what == "kept":
            name(int(done.stdout))
        say(f"spawned {int(done.stdout)}")
        return
    child = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE)
    if what == "stubborn":
        assert child.stdout is not None
        child.stdout.readline()
    say(f"spawned {child.pid}")


def name(pid: int) -> None:
    """Name a process as one that may outlive this one."""
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    folder = Path(os.environ["SUPERVISOR_KEEP"])
    folder.mkdir(exist_ok=True)
    (folder / f"{pid}.json").write_text(f'{{"pid": {pid}, "start": "ticks:{start}", "boot": "id:{boot}"}}')


def spam(count: int, size: int) -> None:
    block: list[bytes] = []
    for number in range(count):
        head = b"%08d " % number
        block.append(head + b"x" * (size - len(head) - 1) + b"\n")
        if len(block) == 256 or number == count - 1:
            data = b"".join(block)
            while data:
                data = data[os.write(1, data) :]
            block.clear()


hushed = threading.Event()


def beat(every: float, text: str = "WATCHDOG=1", patient: bool = False) -> None:
    def run() -> None:
        while not hushed.wait(every):
            try:
                notify(text)
            except OSError:
                if not patient:
                    raise

    threading.Thread(target=run, daemon=True).start()


def wait_for(file: str) -> None:
    while not Path(file).exists():
        time.sleep(0.02)


def slowly(seconds: float) -> None:
    def handler(*_: object) -> None:
        time.sleep(seconds)
        say("drained")
        os._exit(0)

    signal.signal(signal.SIGTERM, handler)


def finish(what: str) -> None:
    def end() -> None:
        if what.startswith("/"):
            wait_for(what)
        else:
            time.sleep(float(what))
        say("finished")
        os._exit(0)

    def handler(*_: object) -> None:
        say("finishing")
        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGQUIT, handler)


def echo() -> None:
    def handler(number: int, _: object) -> None:
        say(f"got {signal.Signals(number).name}")
        if number == signal.SIGTERM:
            os._exit(0)

    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"):
        signal.signal(getattr(signal, name), handler)


def drain() -> None:
    def run() -> None:
        select.select([int(os.environ["SUPERVISOR_DEATH_FD"])], [], [])
        os._exit(0)

    threading.Thread(target=run, daemon=True).start()


def wait() -> None:
    while True:
        signal.pause()


def main(steps: list[str]) -> None:
    faulthandler.enable()
    while steps:
        name, _, value = steps.pop(0).partition(":")
        match name:
            case "say":
                say(value)
            case "write":
                os.write(1, value.encode())
            case "err":
                os.write(2, f"{value}\n".encode())
            case "env":
                say(f"{value}={os.environ.get(value)}")
            case "ready":
                notify("READY=1")
            case "status":
                notify(f"STATUS={value}")
            case "notify":
                notify(value)
            case "exit":
                os._exit(int(value))
            case "kill":
                os.kill(os.getpid(), int(value))
            case "sleep":
                time.sleep(float(value))
            case "beat":
                beat(float(value))
            case "beats":
                beat(float(value), patient=True)
            case "stops":
                beat(float(value), "STOPPING=1")
            case "spawn":
                spawn(value)
            case "spam":
                count, size = value.split(":")
                spam(int(count), int(size))
            case "once":
                if Path(value).exists():
                    steps.pop(0)
                else:
                    os.close(os.open(value, os.O_CREAT))
            case "stubborn":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "slowly":
                slowly(float(value))
            case "finish":
                finish(value)
            case "await":
                wait_for(value)
            case "hush":
                signal.signal(signal.SIGQUIT, lambda *_: hushed.set())
            case "abort":
                signal.signal(signal.SIGTERM, lambda *_: os.abort())
            case "echo":
                echo()
            case "drain":
                drain()
            case "wait":
                wait()
            case _:
                sys.exit(f"what is {name}?")


if __name__ == "__main__":
    main(sys.argv[1:])
