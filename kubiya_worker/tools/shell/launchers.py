"""This module reads programs that start the program in their operands: env, timeout, xargs, strace and the like.

Such a program passes if the one that it starts does too. `PROGRAMS` holds their options, and how many operands stand
before that program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.tools.shell import command_line, variables
from kubiya_worker.tools.shell.command_line import CommandRefused
from kubiya_worker.tools.shell.options import Options, Place

PROGRAMS: Final[Mapping[str, tuple[Options, int]]] = {
    "env": (Options(plain="i", valued="u", long="ignore-environment unset=", ends=True), 0),
    "nice": (Options(plain="0123456789", valued="n", long="adjustment=", ends=True), 0),
    "nohup": (Options(ends=True), 0),
    "timeout": (
        Options(plain="v", valued="ks", long="foreground preserve-status kill-after= signal= verbose", ends=True),
        1,
    ),
    "time": (Options(plain="pv", valued="f", long="portability verbose format=", ends=True), 0),
    "stdbuf": (Options(valued="ioe", long="input= output= error=", ends=True), 0),
    "ionice": (Options(plain="t", valued="cn", long="class= classdata= ignore", ends=True), 0),
    "setsid": (Options(plain="cfw", long="ctty fork wait", ends=True), 0),
    "sudo": (Options(plain="nEHk", valued="ug", long="non-interactive set-home user= group=", ends=True), 0),
    "chrt": (Options(plain="bfiorR", ends=True), 1),
    "taskset": (Options(plain="ac", long="all-tasks cpu-list", ends=True), 1),
    **dict.fromkeys(("unbuffer", "chronic", "eatmydata"), (Options(ends=True), 0)),
    "ssh-agent": (Options(plain="cdDks", valued="Et", ends=True), 0),
    # The files that these write, or the libraries that they load, are not among their options.
    "strace": (
        Options(
            plain="cCdfFhiknNqrtTvVwxyYzZ",
            valued="aeIOPpsSUX",
            long="attach= abbrev= columns= decode-fds follow-forks inject= kill-on-exit no-abbrev output-separately "
            "quiet raw= relative-timestamps seccomp-bpf signal= stack-trace string-limit= strings-in-hex summary "
            "summary-only summary-sort-by= summary-wall-clock syscall-times timestamps trace= trace-path= verbose= "
            "help version",
            ends=True,
        ),
        0,
    ),
    "ltrace": (Options(plain="bcCfhiLrStTV", valued="aAeDnpsx", long="help version", ends=True), 0),
    "valgrind": (
        Options(
            plain="hqvd",
            long="error-exitcode= errors-for-leak-kinds= help leak-check= num-callers= quiet read-var-info= "
            "show-leak-kinds= show-reachable= time-stamp= tool= trace-children= track-fds= track-origins= verbose "
            "version",
            ends=True,
        ),
        0,
    ),
    **dict.fromkeys(
        ("setarch", "linux32", "linux64", "i386", "i686", "x86_64", "uname26"),
        (
            Options(
                plain="34BFILRSTXZhvV",
                long="32bit 3gb 4gb addr-compat-layout addr-no-randomize fdpic-funcptrs mmap-page-zero "
                "read-implies-exec short-inode sticky-timeouts uname-2.6 verbose whole-seconds list help version",
                ends=True,
            ),
            0,
        ),
    ),
    "prlimit": (
        Options(
            optional="acdefilmnqrstuvxy",
            valued="po",
            long="as core cpu data fsize help locks memlock msgqueue nice nofile noheadings nproc output= pid= raw rss "
            "rtprio rttime sigpending stack verbose version",
            ends=True,
        ),
        0,
    ),
    "choom": (Options(plain="hV", valued="np", long="adjust= pid= help version", ends=True), 0),
    "numactl": (
        Options(
            plain="ahlsH",
            valued="CNPimp",
            long="all cpunodebind= hardware interleave= localalloc membind= physcpubind= preferred= show",
            ends=True,
        ),
        0,
    ),
    "flock": (
        Options(
            plain="FehnosuxV",
            valued="Ew",
            long="close conflict-exit-code= exclusive help no-fork nb nonblock shared timeout= unlock verbose version "
            "wait=",
            ends=True,
        ),
        1,
    ),
    "cpulimit": (Options(plain="bfiqrvz", valued="celpP", long="limit= pid= exe= quiet lazy verbose", ends=True), 0),
    "faketime": (Options(plain="fm", long="help version", ends=True), 1),
    "watch": (
        Options(
            plain="bcCdeghprtvwx",
            valued="nqs",
            long="beep chgexit color differences equexit= errexit exec help interval= no-color no-rerun no-title "
            "no-wrap precise version",
            ends=True,
        ),
        0,
    ),
    "systemd-cat": (
        Options(plain="h", valued="tp", long="identifier= level-prefix= priority= help version", ends=True),
        0,
    ),
    "systemd-inhibit": (
        Options(plain="h", long="list mode= no-legend no-pager what= who= why= help version", ends=True),
        0,
    ),
    **dict.fromkeys(
        ("fakeroot", "catchsegv", "torify", "torsocks", "proxychains", "proxychains4", "rlwrap", "dbus-run-session"),
        (Options(plain="hq", long="help quiet version", ends=True), 0),
    ),
    "entr": (Options(plain="acdnprxz", ends=True), 0),
    "pkexec": (Options(long="user= disable-internal-agent help version", ends=True), 0),
    "runuser": (Options(valued="gGu", long="group= supp-group= user= help version", ends=True), 0),
    "setpriv": (
        Options(
            plain="dhV",
            long="ambient-caps= bounding-set= clear-groups dump groups= help inh-caps= init-groups keep-groups "
            "list-caps nnp no-new-privs pdeathsig= regid= reset-env reuid= rgid= ruid= securebits= version",
            ends=True,
        ),
        0,
    ),
    "unshare": (
        Options(
            plain="cfhimnprTuUCV",
            long="cgroup fork help ipc kill-child map-current-user map-root-user mount mount-proc net pid time user "
            "uts version",
            ends=True,
        ),
        0,
    ),
    "nsenter": (
        Options(
            plain="aCFhimnpTuUV",
            valued="GSt",
            long="all cgroup help ipc mount net no-fork pid preserve-credentials setgid= setuid= target= time user uts "
            "version",
            ends=True,
        ),
        0,
    ),
    "systemd-run": (
        Options(
            plain="GhPqrt",
            valued="u",
            long="collect description= gid= help nice= no-ask-password no-block on-active= on-boot= on-calendar= pipe "
            "pty quiet remain-after-exit same-dir scope service-type= slice= uid= unit= user version wait",
            ends=True,
        ),
        0,
    ),
    "script": (
        Options(
            plain="aefhqV",
            valued="cEo",
            long="append command= echo= flush force help output-limit= quiet return version",
        ),
        1,
    ),
    "xvfb-run": (Options(plain="ahl", long="auto-servernum help listen-tcp", ends=True), 0),
    "doas": (Options(plain="n", valued="u", ends=True), 0),
    "xargs": (
        Options(
            plain="0rtx",
            valued="nLPIsd",
            long="null no-run-if-empty verbose exit max-args= max-procs= max-chars= delimiter= replace",
            ends=True,
        ),
        0,
    ),
}


_MACHINE: Final = re.compile(r"(?:x86_64|i\d86|linux\d\d|aarch64|arm\w*|ppc\w*|s390x?|riscv\w*|mips\w*|uname26)")
_SHELL_SIGNS: Final = re.compile(r"[^\w@%+=:,./~^ -]")  # in a word that a shell reads: what is not itself there


def own_file(name: str, arguments: Sequence[str], place: Place) -> str | None:
    """Return the file outside of the workspace which flock or script would make, or an option that is not known."""
    given = PROGRAMS[name][0].read(arguments, place)
    outside = next((name for name in given.operands[:1] if not name.isdigit() and place.outside(name)), None)
    return given.refused or (f"{outside[:80]}, which lies outside of the workspace" if outside else None)


def takes_variables_away(name: str, arguments: Sequence[str]) -> bool:
    """Return whether a launcher starts its program without some of the variables that this tool sets."""
    return name in ("sudo", "doas") or (name == "env" and any(a.startswith("-") and a != "--" for a in arguments))


def inner(name: str, arguments: Sequence[str]) -> list[str]:
    """Return the command inside a launcher's arguments, empty when there is none.

    Raises CommandRefused if it is unclear.
    """
    options, operands = PROGRAMS[name]
    given = options.read(arguments, Place())
    if name == "env" and given.operands[:1] == ("-",):  # an old way to write -i
        given = options.read(given.operands[1:], Place())
    if given.refused:
        raise CommandRefused(f"{name} is not run with {given.refused}")
    words, index = given.operands, 0
    commands = given.values("-c", "--command") if name == "script" else []
    if commands:
        parsed = command_line.parse(commands[-1])
        if len(commands) > 1 or len(parsed) > 1:
            raise CommandRefused("script is given one program here, without pipes")
        return list(parsed[0].argv)
    if name == "setarch" and words and _MACHINE.fullmatch(words[0]):
        words = words[1:]
    if name == "watch" and not given.has("-x", "--exec"):  # it joins its words for a shell
        wrong = next((word for word in words if _SHELL_SIGNS.search(word)), None)
        if wrong is not None:
            raise CommandRefused(f"watch gives {wrong[:40]!r} to a shell. Use watch -x with the program and its words")
        words = tuple(part for word in words for part in word.split())
    if name in ("env", "sudo"):
        while index < len(words) and re.match(r"[A-Za-z_]\w*=", words[index]):
            variable = words[index].split("=")[0]
            value = words[index].partition("=")[2]
            if not variables.HARMLESS.fullmatch(variable) or not variables.is_harmless_value(variable, value):
                raise CommandRefused(
                    f"{name} must not set {variable} to {value[:40]!r}: programs may run others because of it. "
                    "Variables for output (LANG, LC_ALL, TZ, COLUMNS and the like) may be set"
                )
            index += 1
    started = list(words[index + operands :])
    for mark in (*given.values("-I"), *(value or "{}" for value in given.values("--replace"))):
        replaced = started if started and Path(started[0]).name in PROGRAMS else started[:1]
        if any(mark in word for word in replaced):  # what is read would become a program, or a variable for one
            raise CommandRefused(
                f"xargs must not put what it reads in place of {mark!r} before the program that it runs"
            )
    return started
