"""This module reads programs that have commands of their own: docker, kubectl, systemctl, apt, ip and the like.

A command that is not listed is refused, with its name. Not listed are commands that run programs of the host, mount its
folders, or load a configuration that names programs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kubiya_worker.tools.shell.options import Arguments, Options, Place


@dataclass(frozen=True)
class Subcommands:
    """This names the commands of a program, the options of all of them, and those of some.

    `operand` and `value` are patterns for operands and for values of options.
    """

    before: Options  # options before the command
    common: Options
    commands: frozenset[str]
    own: Mapping[str, Options]
    operand: re.Pattern[str] = re.compile(r".*", re.DOTALL)
    value: re.Pattern[str] = re.compile(r".*", re.DOTALL)

    def check(self, arguments: Arguments, place: Place) -> str | None:
        """Return what the program must not get; None when there is nothing."""
        head = self.before.read(arguments, place)
        if head.refused:
            return head.refused
        if not head.operands:
            return None
        words = list(head.operands)
        two = " ".join(words[:2])
        name, rest = (two, words[2:]) if two in self.commands else (words[0], words[1:])
        if name not in self.commands:
            return f"the command {name}, which is none of those that are allowed"
        given = self.own.get(name, self.common).read(rest, place)
        if given.refused:
            return f"{name} and {given.refused}"
        values = [value for _, value in (*head.options, *given.options)]
        wrong = next((o for o in given.operands if not self.operand.fullmatch(o)), "")
        wrong = wrong or next((value for value in values if not self.value.fullmatch(value)), "")
        return f"{name} and {wrong[:80]}" if wrong else None


def _lines(text: str) -> frozenset[str]:
    return frozenset(line.strip() for line in text.split(","))


_DOCKER_RUN: Final = Options(
    plain="itd",
    valued="eluwhm",
    long="interactive tty detach rm init read-only env= label= user= workdir= hostname= name= memory= "
    "memory-swap= cpus= "
    "cpu-shares= pids-limit= pull= platform= quiet entrypoint= stop-timeout= stop-signal= health-cmd= no-healthcheck "
    "ulimit= shm-size= tmpfs= log-driver=",
    ends=True,
)
_DOCKER: Final = Subcommands(
    before=Options(plain="Dv", valued="l", long="debug log-level= version help", ends=True),
    common=Options(
        plain="aqfslt0123456789",
        valued="n",
        long="all quiet filter= format= no-trunc size last= latest follow tail= since= until= timestamps details "
        "no-stream digests tree human summary type= time= timeout= signal= force volumes link stop-signal= verbose "
        "orphans services no-color no-log-prefix index status= help",
    ),
    commands=_lines(
        "ps, images, logs, inspect, stats, top, version, info, port, diff, events, history, start, stop, "
        "restart, kill, "
        "pause, unpause, rm, rmi, wait, rename, tag, pull, search, run, exec, container ls, container ps, "
        "container list, "
        "container inspect, container logs, container stats, container top, container start, container stop, container "
        "restart, container rm, container prune, container run, container exec, image ls, image list, image inspect, "
        "image history, image prune, image rm, image pull, network ls, network list, network inspect, network prune, "
        "volume ls, volume list, volume inspect, volume prune, system df, system info, system events, system prune, "
        "service ls, service ps, service logs, service inspect, node ls, node inspect, stack ls, stack ps, "
        "context ls, context show, compose ps, compose logs, compose ls, compose top, compose images, compose version"
    ),
    own={
        **dict.fromkeys(("run", "container run"), _DOCKER_RUN),
        **dict.fromkeys(
            ("exec", "container exec"),
            Options(plain="itd", valued="euw", long="interactive tty detach env= user= workdir=", ends=True),
        ),
        "top": Options(ends=True),
        "system df": Options(plain="v", long="format= verbose"),
    },
)
_KUBECTL: Final = Subcommands(
    before=Options(
        plain="",
        valued="nv",
        long="namespace= context= cluster= user= request-timeout= v= version help",
        ends=True,
    ),
    common=Options(
        plain="Awfpiq",
        valued="nlLocvtR",
        long="all-namespaces watch watch-only selector= field-selector= output= show-labels show-kind sort-by= "
        "label-columns= no-headers namespace= context= cluster= container= all-containers previous follow tail= since= "
        "since-time= timestamps prefix max-log-requests= limit-bytes= ignore-not-found chunk-size= show-managed-fields "
        "containers cores sum all force grace-period= now wait= timeout= for= dry-run= replicas= "
        "current-replicas= to-revision= revision= overwrite list cascade= ignore-daemonsets delete-emptydir-data "
        "disable-eviction pod-selector= api-group= namespaced= verbs= cached recursive api-version= short client "
        "request-timeout= subresource= allow-missing-template-keys min= max= cpu-percent= type= port= target-port= "
        "name= protocol= image= record minify flatten quiet events field-manager= server-side force-conflicts "
        "resource-version= from-literal= dry-run help",
    ),
    commands=_lines(
        "get, describe, logs, top, top pod, top pods, top node, top nodes, version, cluster-info, api-resources, "
        "api-versions, explain, events, auth can-i, auth whoami, config view, config current-context, config "
        "get-contexts, "
        "config get-clusters, rollout status, rollout history, rollout restart, rollout undo, rollout pause, "
        "rollout resume, scale, autoscale, delete, cordon, uncordon, drain, taint, label, annotate, wait, exec, apply, "
        "create, patch, set image, set resources, set env"
    ),
    own={
        # Behind `--` stands the command of the container, not of this host.
        "exec": Options(
            plain="it", valued="nc", long="stdin tty quiet container= namespace= context= request-timeout=", ends=False
        ),
        **dict.fromkeys(
            ("apply", "create", "delete"),
            Options(
                plain="AR",
                valued="nlfo",
                long="filename= recursive selector= namespace= context= dry-run= dry-run output= server-side "
                "force-conflicts all force grace-period= now wait= timeout= cascade= ignore-not-found from-literal= "
                "field-manager= validate= replicas= image= all-namespaces field-selector= clusterrole= serviceaccount= "
                "role= user= verb= resource= schedule= port=",
            ),
        ),
        "patch": Options(
            valued="npo", long="patch= type= namespace= context= dry-run= output= subresource= field-manager="
        ),
    },
    value=re.compile(r"(?!=?(?:go-template-file|templatefile|jsonpath-file|custom-columns-file)\b).*", re.DOTALL),
)
_UNITS: Final = re.compile(r"[A-Za-z0-9@_.:\\*?\[\]=+%-]+")
_SYSTEMCTL: Final = Subcommands(
    before=Options(
        plain="alqr0123456789",
        valued="tpnoPs",
        long="all full quiet recursive no-pager no-legend plain failed value user system now no-block no-ask-password "
        "type= state= property= lines= output= signal= kill-whom= timestamp= wait reverse after before runtime "
        "show-transaction version help",
    ),
    common=Options(),
    commands=_lines(
        "status, show, cat, is-active, is-enabled, is-failed, is-system-running, list-units, list-unit-files, "
        "list-timers, list-sockets, list-jobs, list-dependencies, list-machines, list-paths, list-automounts, "
        "get-default, "
        "start, stop, restart, reload, try-restart, "
        "reload-or-restart, try-reload-or-restart, kill, enable, disable, reenable, mask, unmask, daemon-reload, "
        "reset-failed, show-environment, help, freeze, thaw, clean, cancel"
    ),
    own={},
    operand=_UNITS,  # no path: it would be the file of a unit
)
_PACKAGES: Final = Subcommands(
    before=Options(
        plain="qysVufmdh",
        long="quiet yes assume-yes simulate dry-run no-act just-print verbose-versions upgradable installed "
        "all-versions "
        "upgradeable no-install-recommends no-install-suggests only-upgrade fix-missing download-only purge "
        "auto-remove "
        "autoremove reinstall allow-downgrades names-only full no-all-versions recurse important version help",
    ),
    common=Options(),
    commands=_lines(
        "list, search, show, showsrc, policy, madison, depends, rdepends, pkgnames, stats, update, upgrade, "
        "full-upgrade, "
        "dist-upgrade, install, remove, purge, autoremove, autoclean, clean, check, showhold, showauto, "
        "showmanual, hold, "
        "unhold, auto, manual"
    ),
    own={},
    operand=re.compile(r"(?!.*\.deb$)[A-Za-z0-9.+:=~*?^$|()_-]+"),  # a path would be a package of the workspace
)
PROGRAMS: Final[Mapping[str, Subcommands]] = {
    "docker": _DOCKER,
    "podman": _DOCKER,
    "nerdctl": replace(_DOCKER, before=replace(_DOCKER.before, valued="ln", long=f"{_DOCKER.before.long} namespace=")),
    "kubectl": _KUBECTL,
    "oc": replace(
        _KUBECTL,
        commands=_KUBECTL.commands
        | _lines(
            "whoami, status, project, projects, adm top, adm top nodes, adm top pods, adm top images, start-build"
        ),
    ),
    "systemctl": _SYSTEMCTL,
    **dict.fromkeys(("apt", "apt-get", "apt-cache", "apt-mark"), _PACKAGES),
}


_IP_BEFORE: Final = frozenset(
    (  # noqa: SIM905
        "-4 -6 -0 -s -ss -stats -statistics -d -details -br -brief -o -oneline -j -json -p -pretty -c -color -r "
        "-resolve "
        "-t -ts -timestamp -iec -h -human -human-readable -V -Version -N -Numeric"
    ).split()
)
_IP_OBJECTS: Final = frozenset(
    "address addr a link l route r ro rule ru neighbour neighbor neigh n maddress maddr tunnel monitor ntable "  # noqa: SIM905
    "token tcp_metrics mroute netconf".split()
)
_IP_VERBS: Final = frozenset("show list lst ls l s sh get help flush".split())  # noqa: SIM905
_IP_CHANGES: Final = frozenset("add del delete replace change append set".split())  # noqa: SIM905
_IP_WORD: Final = re.compile(
    r"dev|via|src|metric|table|scope|proto|onlink|default|up|down|mtu|brd|broadcast|peer|to|from|lookup|priority|pref|lladdr"
    r"|nud|permanent|reachable|host|global|main|local|blackhole|unreachable|alias|promisc|on|off|label|link|txqueuelen"
    r"|[0-9a-fA-F:.]+(/\d+)?|[a-z]+\d+(\.\d+)?|lo|en\w+|eth\w*|wl\w+|br-?\w+|docker\w*|veth\w+"
)


def ip(arguments: Arguments) -> str | None:
    """Return what ip must not get: batches, namespaces, and objects or words that run or load programs."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-f", "-family", "-l", "-loops"):
            rest = rest[1:]
        elif option not in _IP_BEFORE:
            return f"the option {option}"
    if not rest:
        return None
    name, *words = rest
    if name == "netns" and words[:1] in ([], ["list"], ["ls"], ["show"]):
        return None
    if name not in _IP_OBJECTS:
        return f"the object {name}"
    if not words or words[0] in _IP_VERBS or name == "monitor":
        return next((f"the word {word}" for word in words if word.startswith("-")), None)
    if words[0] not in _IP_CHANGES:
        return f"the command {words[0]}"
    return next((f"the word {word}" for word in words[1:] if not _IP_WORD.fullmatch(word)), None)


_HG_COMMANDS: Final = frozenset(
    "status st log diff summary branch branches tags heads annotate blame cat files id identify parents paths "  # noqa: SIM905
    "root tip".split()
)


def hg(arguments: Arguments, place: Place) -> str | None:
    """Return what hg must not get. A repository's own settings can name programs, so one that has any is refused."""
    if not arguments or arguments[0] not in _HG_COMMANDS:
        return f"the command {arguments[0]}" if arguments and arguments[0] != "version" else None
    allowed = re.compile(
        r"-[nrlpvqumadcgwbBfI0-9]+|-[rl]|--(rev|limit|patch|stat|graph|verbose|quiet|user|date|all)(=.*)?"
    )
    wrong = next((a for a in arguments[1:] if a.startswith("-") and not allowed.fullmatch(a)), "")
    if wrong:
        return f"the option {wrong}"
    for folder in (place.cwd, *place.cwd.parents):
        settings = Path(folder, ".hg", "hgrc")
        if settings.exists() and re.search(r"^\s*\[(?!paths\])|%include", settings.read_text(errors="replace"), re.M):
            return f"the settings in {settings}, which could name programs"
    return None
