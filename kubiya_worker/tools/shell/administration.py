"""This module reads tools of administrators that report, and that can also start programs or write files.

Of those with commands, the commands that may run are listed; of the others, what a word may say.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kubiya_worker.tools.shell.options import Arguments, Options, Place
from kubiya_worker.tools.shell.output_options import OutputOptions, options

Check = Callable[[Arguments, Place], str | None]

_FREE: Final = OutputOptions()
_ANY: Final = re.compile(r".*", re.DOTALL)


@dataclass(frozen=True)
class ListedCommands:
    """The commands of a program, by one word or two; `valued` are its options that take the next word as a value.

    What follows the command is free, but for `output`, and for operands that `operand` does not fit.
    """

    commands: frozenset[str]
    valued: frozenset[str] = frozenset()
    output: OutputOptions = _FREE
    operand: re.Pattern[str] = _ANY

    def check(self, arguments: Arguments, place: Place) -> str | None:
        """Return what the program must not get; None when there is nothing."""
        rest = list(arguments)
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)
            if option in self.valued and rest:
                rest.pop(0)
        named = {" ".join(rest[:count]) for count in (1, 2)}
        if rest and not named & self.commands:
            return f"the command {' '.join(rest[:2])}, which is none of those that are allowed"
        wrong = next((word for word in rest if not word.startswith("-") and not self.operand.fullmatch(word)), None)
        return f"the word {wrong[:80]}" if wrong is not None else self.output.check(arguments, place)


def _listed(commands: str, valued: str = "", output: OutputOptions = _FREE, operand: str = r".*") -> ListedCommands:
    names = frozenset(" ".join(name.split()) for name in commands.split(","))
    return ListedCommands(names, frozenset(valued.split()), output, re.compile(operand, re.DOTALL))


def _each(program: str, verbs: str) -> str:
    return ", ".join(f"{program} {verb}" for verb in verbs.split())


_GITHUB: Final = ", ".join(
    (
        _each("pr", "list view diff checks status comment review merge close reopen edit ready create"),
        _each("issue", "list view status comment create close reopen edit"),
        _each("run", "list view watch rerun cancel download"),
        _each("workflow", "list view run enable disable"),
        _each("release", "list view download"),
        _each("repo", "view list"),
        _each("search", "issues prs repos code commits"),
        "api, auth status, status, label list, cache list, variable list, secret list, gist list, gist view, "
        "ruleset list, org list, project list, version, help",
    )
)
_LISTED: Final[Mapping[str, ListedCommands]] = {
    "gh": _listed(_GITHUB, "-R --repo --hostname", options("-D --dir -O --output")),
    "glab": _listed(
        ", ".join(
            (
                _each("mr", "list view diff note approve merge close reopen update"),
                _each("issue", "list view note create close reopen update"),
                _each("ci", "list status trace get retry cancel"),
                "release list, release view, repo view, repo list, api, auth status, variable list, version, help",
            )
        ),
        "-R --repo",
    ),
    "etcdctl": _listed(
        "get, put, del, endpoint health, endpoint status, endpoint hashkv, member list, member add, member remove, "
        "alarm list, alarm disarm, compaction, defrag, move-leader, snapshot status, lease list, lease timetolive, "
        "user list, user get, role list, role get, auth status, version, help, check perf, check datascale",
        "--endpoints --cacert --cert --key --user --password --command-timeout --dial-timeout -w --write-out",
    ),
    "restic": _listed(
        "snapshots, stats, check, ls, find, diff, cat, list, backup, forget, prune, tag, unlock, version, restore, "
        "copy, cache, help",
        "-r --repo -p --password-file --cacert --limit-upload --limit-download --key-hint --tag --host",
        options("-t --target", "--password-command -o --option --from-password-command"),
    ),
    "borg": _listed(
        "list, info, check, create, prune, compact, diff, delete, break-lock, help",
        "--lock-wait --umask",
        options(refused="--rsh --remote-path"),
    ),
    "rclone": _listed(
        "ls, lsd, lsl, lsf, lsjson, size, about, version, check, tree, cat, listremotes, md5sum, sha1sum, hashsum, "
        "delete, deletefile, mkdir, rmdir, purge, dedupe, help",
        "--transfers --checkers --bwlimit --include --exclude --max-depth --min-age --max-age",
        options(refused="--password-command --config --sftp-ssh --webdav-bearer-token-command --metadata-mapper"),
        operand=r"(?!:)(?!.*,\w+=).*",  # a remote with its settings in the word: `:sftp,ssh="…":`
    ),
    "consul": _listed(
        "members, info, version, kv get, kv put, kv delete, kv export, catalog datacenters, catalog nodes, "
        "catalog services, config list, config read, intention list, intention get, operator raft, rtt, validate, "
        "acl token, acl policy, acl role, services, monitor, snapshot inspect, help",
    ),
    "vault": _listed(
        "status, kv get, kv list, kv put, kv patch, kv delete, kv metadata, list, read, write, delete, token lookup, "
        "token renew, secrets list, auth list, policy list, policy read, audit list, lease lookup, lease renew, "
        "operator members, version, help",
    ),
    "nomad": _listed(
        "status, job status, job history, job inspect, job allocs, job deployments, job plan, job run, job validate, "
        "job stop, job restart, job scale, node status, node drain, node eligibility, alloc status, alloc logs, "
        "alloc fs, alloc stop, alloc restart, alloc exec, server members, deployment status, deployment list, "
        "deployment promote, eval status, eval list, service list, service info, namespace list, var list, var get, "
        "volume status, operator raft, monitor, system gc, version, help",
        "-address -region -namespace",
    ),
    "crictl": _listed(
        "ps, pods, images, inspect, inspecti, inspectp, logs, stats, statsp, info, version, imagefsinfo, pull, stop, "
        "stopp, start, rm, rmp, rmi, exec, help",
        "-r --runtime-endpoint -i --image-endpoint -t --timeout",
        options(refused="--config -c"),
    ),
    "ctr": _listed(
        ", ".join(
            (
                *(_each(name, "ls list info") for name in ("containers", "container", "c")),
                *(_each(name, "ls list check") for name in ("images", "image", "i")),
                *(_each(name, "ls list ps metrics") for name in ("tasks", "task", "t")),
                *(_each(name, "ls list") for name in ("namespaces", "ns", "plugins", "snapshots", "content", "leases")),
                "version, info, events, help",
            )
        ),
        "-n --namespace -a --address --timeout --connect-timeout",
    ),
    "coredumpctl": _listed("list, info, dump", "-n -F -o --output", options("-o --output", "-D --debugger")),
    "machinectl": _listed(
        "list, list-images, status, show, image-status, show-image, start, stop, poweroff, reboot, terminate",
        "-p --property -n --lines -o --output",
    ),
    "busctl": _listed("list, status, tree, introspect, get-property", "--address -H -M --timeout"),
}
_OPTIONS: Final[Mapping[str, OutputOptions]] = {
    **dict.fromkeys(("iptables", "ip6tables"), options(refused="--modprobe -M")),
    "sar": options("-o"),
    "ab": options("-e -g"),
    "siege": options("-l --log", "-R --rc"),
    "tshark": options("-w", "-X -C"),
    "ncdu": options("-o -O"),
    "delta": options(refused="--pager"),
    "fzf": options(refused="--preview --bind --listen --history"),
    "axel": options("-o --output"),
    **dict.fromkeys(("http", "https", "xh", "xhs"), options("-o --output --session --session-read-only")),
    "xsltproc": options("-o --output", "--load-trace"),
    "dpkg-deb": options(
        changes="-x -X -e -R -b --extract --vextract --control --raw-extract --build",
    ),
    "aria2c": options(
        "-d -o -l --dir --out --log --save-session",
        "-i --input-file --conf-path --on-download-start --on-download-complete --on-download-error "
        "--on-download-stop --on-download-pause --on-bt-download-complete --enable-rpc",
    ),
    **dict.fromkeys(
        ("yt-dlp", "youtube-dl"),
        options(
            "-o -P --output --paths --cache-dir --cookies",
            "--exec --exec-before-download --config-location --config-locations --downloader --external-downloader "
            "--downloader-args --external-downloader-args --postprocessor-args --ppa --use-postprocessor "
            "--ffmpeg-location --plugin-dirs --netrc-cmd -a --batch-file --load-info-json",
        ),
    ),
    "aws": options(
        commands="configure set, configure import, configure sso, configure export-credentials, ssm start-session, "
        "ecs execute-command"
    ),
    "gcloud": options(refused="--flags-file", commands="compute ssh, compute scp, components install"),
    "az": options(commands="extension add"),
}
# -e starts a program
_PIDSTAT: Final = Options(plain="dhHIlRrstUuVvw", valued="CGpT", long="human dec=")
_PERF: Final = Options(
    plain="ABadgiInNqrsvRW",
    valued="CFGMTcepotrx",
    long="all-cpus pid= tid= event= call-graph= freq= count= cpu= output= verbose per-core per-socket per-thread "
    "interval-print= timeout= repeat= detailed no-inherit field-separator= metrics= summary max-stack=",
    writes="-o --output",
    ends=True,
)
_PERF_READS: Final = frozenset(
    {"list", "report", "top", "annotate", "diff", "version", "evlist", "buildid-list", "--version", "--help"}
)


def _pidstat(arguments: Arguments, place: Place) -> str | None:
    return _PIDSTAT.read(arguments, place).refused or None


def _perf(arguments: Arguments, place: Place) -> str | None:
    """Return what perf must not get: a program to measure other than `sleep`, and scripts."""
    if not arguments or arguments[0] in _PERF_READS:
        return options("-o --output", "--objdump --addr2line --script").check(arguments[1:], place)
    if arguments[0] not in ("stat", "record"):
        return f"the command {arguments[0]}, which is none of those that are allowed"
    given = _PERF.read(arguments[1:], place)
    if given.refused or not given.operands or given.operands[0] == "sleep":
        return given.refused or None
    return f"the program {given.operands[0]}: give -p, or `sleep` and the seconds"


def _words(pattern: str, why: str, other: OutputOptions = _FREE) -> Check:
    """Return a check that refuses each word in which `pattern` is found."""
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def check(arguments: Arguments, place: Place) -> str | None:
        wrong = next((word for word in arguments if compiled.search(word)), None)
        return f"{wrong[:80]}, {why}" if wrong is not None else other.check(arguments, place)

    return check


_STARTS: Final = "by which it starts a program, or reads commands from a file"
_IMAGES: Final = (
    "apng|avif|bmp|canvas|gif|gradient|heic|histogram|icon?|info|jpe?g|jpg|json|miff|null|p[bgnp]m|pdf|png\\d*|ppm"
    "|rgba?|tiff?|txt|webp|xc|xpm"
)


_MILLER: Final = _words(
    r"\b(?:system|exec)\s*\(|\b(?:tee|emit\w*|print\w*|dump)\b[^;]*(?:>|\|)|^--?(?:prepipex?|load|mload)\b"
    r"|^(?:tee|split)$|^-I$",
    "by which it starts a program or writes files",
)


def _mlr(arguments: Arguments, place: Place) -> str | None:
    """Return what Miller must not get: functions and verbs that start programs or write, and programs from files."""
    for at, word in enumerate(arguments):
        of_verb = list(itertools.takewhile(lambda each: each.startswith("-"), arguments[at + 1 :]))
        if (word in ("put", "filter") and {"-f", "-s"} & set(of_verb)) or (at == 0 and word == "-s"):
            return f"{word} and a program from a file"
    return _MILLER(arguments, place)


def _images(arguments: Arguments, place: Place) -> str | None:
    """Return what ImageMagick must not get: formats that run or delete, files with names, and a file outside."""
    for word in arguments:
        if word.startswith(("|", "@")) or word in ("-script", "-write"):
            return f"{word[:80]}, {_STARTS}"
        form = re.match(r"([A-Za-z][\w-]*):", word)
        if form and not re.fullmatch(_IMAGES, form[1], re.IGNORECASE):
            return f"the format {form[1]}:"
    paths = [arguments[at + 1] for at, word in enumerate(arguments[:-1]) if word == "-path"]
    outside = next(filter(place.outside, paths), None)
    if outside is not None:
        return f"-path {outside[:80]}, which lies outside of the workspace"
    last = re.sub(r"^[A-Za-z][\w-]*:", "", arguments[-1]) if arguments else ""
    return f"{last[:80]}, which lies outside of the workspace" if last and place.outside(last) else None


def _exiftool(arguments: Arguments, place: Place) -> str | None:
    """Return what exiftool must not get: conditions and formats, which are Perl, and whatever writes."""
    allowed = re.compile(
        r"-(?!(?i:if\d*|p|o|w|out|config|execute\d*|stay_open|common_args|use|api|userparam|tagsfromfile"
        r"|geotag|overwrite_original\w*|delete_original\w*|restore_original)(?:[+!]|$))[\w:*#+-]+"
    )
    return next((f"{a[:80]}, {_STARTS}" for a in arguments if a.startswith("-") and not allowed.fullmatch(a)), None)


_GHOSTSCRIPT: Final = re.compile(r"-s(?:OutputFile|StdoutFile|_?\w*File)=(.*)", re.DOTALL)


def _gs(arguments: Arguments, place: Place) -> str | None:
    """Return what Ghostscript must not get: pipes, the end of its own sandbox, and a file outside."""
    for at, word in enumerate(arguments):
        if re.search(r"%pipe%|NOSAFER|DELAYSAFER|--permit", word) or word.startswith("@"):
            return f"{word[:80]}, {_STARTS}"
        named = _GHOSTSCRIPT.fullmatch(word)
        target = named[1] if named else arguments[at + 1] if word == "-o" and at + 1 < len(arguments) else ""
        target = re.sub(r"%\d*d", "1", target)
        if target and place.outside(target):
            return f"{target[:80]}, which lies outside of the workspace"
    return None


_BROWSER: Final = "dump source head mime_header listonly nolist nonumbers dump_head dump_source dump_both version help"


def _browser(arguments: Arguments, place: Place) -> str | None:
    """Return what a text browser must not get: all options but those that print a page."""
    given = Options(words=f"{_BROWSER} width= cols= T= 4 6").read(
        [part for word in arguments for part in (word.split("=", 1) if word.startswith("-width=") else [word])], place
    )
    wrong = next((word for word in given.operands if re.match(r"lynx(?:exec|prog|cgi)|local-cgi", word)), None)
    return given.refused or (f"{wrong[:80]}, {_STARTS}" if wrong else None)


CHECKS: Final[Mapping[str, Check]] = {
    **{name: each.check for name, each in _LISTED.items()},
    **{name: each.check for name, each in _OPTIONS.items()},
    "pidstat": _pidstat,
    "perf": _perf,
    "wrk": _words(r"^(?:-s|--script)", _STARTS),
    "dc": _words(r"^-(?:f|-file)|!(?![<>=])", _STARTS),
    "mlr": _mlr,
    "exiftool": _exiftool,
    **dict.fromkeys(("convert", "magick", "identify", "mogrify", "composite", "montage"), _images),
    "gs": _gs,
    "duckdb": _words(
        r"^\s*\.|\bcopy\b.*\bto\b|\b(?:install|load|attach|export)\b|^--?(?:init|cmd)$",
        "by which it starts a program, writes files or reads commands",
    ),
    "smbclient": _words(r"(?:^|;)\s*!", _STARTS),
    **dict.fromkeys(("lynx", "w3m", "links", "elinks"), _browser),
    **dict.fromkeys(("sendmail", "exim", "exim4"), _words(r"^-(?!(?:t|i|oi|v|bp|f.*|F.*|-version)$)", _STARTS)),
}
