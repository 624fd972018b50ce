"""The program that runs a model's Python: `python -I -S -B runner.py <job.json`. Standard library only.

What the restrictions are worth. A program that is not hostile cannot do by accident what is blocked: imports go through
a hook, and what the blocked modules stand for (starting processes, connecting sockets, removing files) is refused by an
audit hook too, which Python code cannot take away, whatever way it found to the function. It is no sandbox against
somebody who means harm: Python in one process has none (PEP 578). What such a program may read and change is decided by
the kernel (`tools.confinement`); where that cannot be, it needs a worker with a user or a container of its own.
"""

import builtins
import json
import resource
import sys
import traceback
from typing import Any

# What a blocked module stands for: audit events by their beginning.
MEANS: dict[str, tuple[str, ...]] = {
    "subprocess": ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "pty.spawn"),
    "socket": ("socket.",),
    "shutil": ("shutil.",),
    "os": (
        *("os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.kill", "os.remove", "os.rmdir"),
        *("os.rename", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate", "os.putenv", "os.unsetenv"),
        *("pty.spawn", "signal.pthread_kill"),
    ),
}
ALWAYS = ("ctypes.", "sys.setprofile", "sys.settrace")  # with any block: what reaches around all of this
ALIASES: dict[str, tuple[str, ...]] = {
    "os": ("posix",),
    "socket": ("_socket",),
    "subprocess": ("_posixsubprocess",),
    "sys": (),
}
AROUND = ("ctypes", "_ctypes", "importlib", "builtins", "gc", "inspect", "pty", "multiprocessing", "runpy", "code")
FILE_BYTES = 100 << 20


class ModuleRefused(ImportError):
    pass


def limit(memory: int, seconds: float) -> None:
    """Set limits in the kernel; each is lowered only if the host allows it."""
    limits = [("RLIMIT_CORE", 0), ("RLIMIT_CPU", int(seconds) + 1), ("RLIMIT_FSIZE", FILE_BYTES)]
    limits.append(("RLIMIT_NOFILE", 256))
    if sys.platform == "linux":  # macOS takes RLIMIT_AS and does not keep it
        limits.append(("RLIMIT_AS", memory))
    for name, value in limits:
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def restrict(blocked: list[str], allowed: list[str] | None) -> tuple[dict[str, Any], list[bool]]:
    """Return the program's builtins, with an `__import__` that checks first (imports by Python's own modules are free).

    The list switches the audit hook on as soon as it has a member.
    """
    barred = set(blocked)
    for name in blocked:
        barred.update(ALIASES.get(name, ()))
    if blocked:
        barred.update(AROUND)
        if allowed:
            barred.difference_update(set(AROUND) & set(allowed) - set(blocked))
    real = builtins.__import__

    def guarded(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0:
            wanted = [name, *(f"{name}.{part}" for part in fromlist or ())]
            parents = {".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 2)}
            if parents & barred or barred & set(wanted):
                raise ModuleRefused(f"the module {name} may not be imported here")
            if allowed is not None and not parents & set(allowed):
                raise ModuleRefused(
                    f"the module {name} may not be imported here; these may: {', '.join(allowed) or 'none'}"
                )
        return real(name, globals, locals, fromlist, level)

    active: list[bool] = []
    if blocked:
        refused = tuple(event for name in blocked for event in MEANS.get(name, ())) + ALWAYS

        def audit(event: str, arguments: Any) -> None:
            if event.startswith(refused) and active:
                raise PermissionError(f"{event} is not allowed here")

        sys.addaudithook(audit)
    return {**vars(builtins), "__import__": guarded}, active


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())  # to its end: the program itself has no input
    limit(job["memory"], job["seconds"])
    names, active = restrict(job["blocked"], job["allowed"])
    sys.argv = ["program.py"]
    code = None
    try:
        code = compile(job["code"], "program.py", "exec")
        active.append(True)
        exec(code, {"__name__": "__main__", "__builtins__": names})  # noqa: S102  (this is what the file is for)
    except SystemExit:
        raise
    except BaseException as error:
        active.clear()
        own = error.__traceback__.tb_next if code is not None and error.__traceback__ else None
        sys.stdout.flush()
        traceback.print_exception(type(error), error, own)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
