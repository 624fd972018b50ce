"""Say what a confined process may reach: the system read-only, its workspace, and what a person has declared.

A skill declares with five keys (`KEYS`); `of_skill` reads them. Everything here is a list of what is allowed.
"""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from kubiya_worker.tools import network_variables
from kubiya_worker.tools.confinement import places, support, visible
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.shell.private_files import private_places
from kubiya_worker.tools.skill_configuration import Skill

KEYS: Final = {
    "read_paths": "Ours: absolute paths that programs may read beside the workspace and the system (none)",
    "write_paths": "Ours: absolute paths that programs may change too (none)",
    "grants": "Ours: names of what else programs may do: `ansible`, `aws`, `azure`, `docker`, `gcloud`, `git`, "
    "`helm`, `kubectl`, `packages`, `signals`, `ssh`, `systemctl`, `unix_sockets` (none)",
    "network": "Ours: false closes the network to programs (true)",
    "confinement": 'Ours: `"off"` runs programs unconfined, as sudo needs; a person is then asked before each call, '
    "unless a rule allows it (on)",
}


_NEW_PRIVILEGES: Final = ("sudo", "su", "doas", "pkexec", "run0")


@dataclass(frozen=True)
class NamedGrant:
    """One word for what a kind of work needs. Paths may begin with `~`; `writes` are folders.

    `made_by` names the program that keeps one of these folders: without the program and the folder it is not opened.
    """

    about: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    unix_sockets: bool = False
    signals: bool = False
    made_by: Mapping[str, str] = field(default_factory=dict)

    def opened(self) -> tuple[str, ...]:
        """Return the folders to change on this host: those that are there, and those that a program here would make."""
        return tuple(
            path
            for path in self.writes
            if path not in self.made_by or visible.exists(Path(path).expanduser()) or shutil.which(self.made_by[path])
        )


# Whoever reaches a service's socket can do what that service does; the Docker daemon is root.
GRANTS: Final[Mapping[str, NamedGrant]] = {
    "ansible": NamedGrant(
        "Ansible's settings and folder, the user's SSH keys, and the unix sockets over which it shares connections",
        ("~/.ansible.cfg", "~/.ssh"),
        ("~/.ansible",),
        unix_sockets=True,
    ),
    "aws": NamedGrant("the AWS CLI's configuration and keys", ("~/.aws",), ("~/.aws/cli/cache", "~/.aws/sso/cache")),
    "azure": NamedGrant("the Azure CLI's configuration and tokens", (), ("~/.azure",)),
    "docker": NamedGrant("the Docker daemon, which is root on this host", ("~/.docker",), unix_sockets=True),
    "gcloud": NamedGrant("the Google Cloud CLI's configuration and tokens", (), ("~/.config/gcloud",)),
    "git": NamedGrant("git's credentials and the user's SSH keys", ("~/.git-credentials", "~/.netrc", "~/.ssh")),
    "helm": NamedGrant("Helm's and kubectl's configuration", ("~/.kube",), ("~/.cache/helm", "~/.config/helm")),
    "kubectl": NamedGrant(
        "kubectl's configuration and keys, or the pod's service account",
        ("~/.kube", "/run/secrets/kubernetes.io"),
        ("~/.kube/cache",),
    ),
    "packages": NamedGrant(
        "the caches of npm, pip, uv and others",
        ("~/.npmrc", "~/.config/pip", "~/.config/uv", "~/.local"),
        ("~/.npm", "~/.cache", "~/.local/share/uv", "~/.local/share/pnpm", "~/.bun", "~/.yarn"),
        made_by={
            **{"~/.npm": "npm", "~/.local/share/uv": "uv", "~/.local/share/pnpm": "pnpm"},
            **{"~/.bun": "bun", "~/.yarn": "yarn"},
        },
    ),
    "signals": NamedGrant("ending other processes of the worker's user", signals=True),
    "ssh": NamedGrant("the user's SSH keys", ("~/.ssh",)),
    "systemctl": NamedGrant("the service manager, by D-Bus", unix_sockets=True),
    "unix_sockets": NamedGrant("every service of this host that listens on a unix socket", unix_sockets=True),
}


@dataclass(frozen=True)
class Declared:
    """The keys of a skill: its profile, or None for one that a person has declared as unconfined."""

    profile: Profile | None
    paths: tuple[str, ...] = ()  # as the skill has them, for the model
    grants: tuple[str, ...] = ()
    unconfined_writes: tuple[str, ...] = ()

    @property
    def writes(self) -> tuple[str, ...]:
        """Return what may be written beside the workspace; without a confinement, what an argument may name for it."""
        return self.unconfined_writes if self.profile is None else self.profile.writes

    @property
    def confirms(self) -> bool:
        return self.profile is None

    def applied(self) -> Profile | None:
        """Return the profile that holds on this host now; None: unconfined. Raises ConfigurationError."""
        if self.profile is None or not support.is_active():
            return None
        return replace(self.profile, reads=(*self.profile.reads, *network_variables.files(os.environ)))

    def told(self) -> str:
        """Return what the model is told about the limits; "" where there are none."""
        if self.applied() is None or self.profile is None:
            return ""
        more = f" Also: {', '.join((*self.paths, *self.grants))}." if self.paths or self.grants else ""
        closed = "" if self.profile.network else " There is no network."
        return f"Programs may read the system, and read and change their own folder; nothing else.{more}{closed}"

    def refused(self, skill: str, program: str) -> str:
        """Return what a person has to change when the kernel has refused something to a program."""
        if program in _NEW_PRIVILEGES:
            return f'{program} cannot work confined: a person can set `confinement: "off"` in the skill {skill!r}'
        more = ", ".join((*self.paths, *self.grants)) or "nothing"
        return (
            "refused by the confinement, unless the file's own mode refuses it: programs may read the system and "
            f"change only their own folder; declared besides: {more}. A person can add `read_paths`, `write_paths` or "
            f"`grants` to the skill {skill!r}"
        )


def of_skill(
    skill: Skill,
    workspace: Path,
    *,
    reads: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    judges_lines: bool = False,
) -> Declared:
    """Return what a skill declares. `reads` and `writes` are further paths that its other keys imply.

    One that `judges_lines` checks what an argument names for writing, so its `write_paths` count unconfined too.
    Raises ConfigurationError.
    """
    word = skill.configuration.get("confinement")
    if word not in (None, True, False, "on", "off"):  # YAML reads `off` as false
        raise skill.wrong("confinement", '"on" or "off"')
    declared = {key: _paths(skill, key, workspace) for key in ("read_paths", "write_paths")}
    names = skill.strings("grants", ()) or ()
    for name in names:
        if name not in GRANTS:
            near = difflib.get_close_matches(name, GRANTS, 1)
            hint = f". Did you mean {near[0]}?" if near else ""
            raise skill.wrong("grants", f"a list of: {', '.join(GRANTS)}{hint}")
    network = skill.flag("network", True)
    if word in ("off", False):
        unused = (
            ("read_paths", "grants", "network") if judges_lines else ("read_paths", "write_paths", "grants", "network")
        )
        for key in unused:
            if skill.configuration.get(key) is not None:
                raise skill.wrong(key, 'absent with `confinement: "off"`, which allows everything')
        return Declared(None, unconfined_writes=_full((*declared["write_paths"], *writes)))
    profile = make(
        workspace,
        reads=(*declared["read_paths"], *reads),
        writes=(*declared["write_paths"], *writes),
        grants=names,
        network=network,
    )
    return Declared(profile, (*declared["read_paths"], *declared["write_paths"]), names)


def make(
    workspace: Path,
    *,
    reads: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    grants: tuple[str, ...] = (),
    network: bool = True,
) -> Profile:
    """Return the profile with paths and grants by name."""
    chosen_grants = [GRANTS[name] for name in grants]
    return Profile(
        workspace=str(workspace),
        reads=_full((*reads, *(path for grant in chosen_grants for path in grant.reads))),
        writes=_full((*writes, *(path for grant in chosen_grants for path in grant.opened()))),
        private=_private(workspace),
        network=network,
        unix_sockets=any(grant.unix_sockets for grant in chosen_grants),
        signals=any(grant.signals for grant in chosen_grants),
    )


def folders_of_programs(search_path: Iterable[str]) -> tuple[str, ...]:
    """Return what programs need that lie in folders of the search path: these, and the libraries beside them."""
    folders: list[str] = []
    for folder in search_path:
        beside = Path(folder).parent
        folders.append(folder)
        if Path(folder).name == "shims":  # of pyenv, rbenv, asdf: each calls the version manager, which lies beside
            folders.append(str(beside))
        if Path(folder).name == ".bin" and beside.name == "node_modules":  # npm's links into the packages beside
            folders.append(str(beside))
        if Path(folder).name == "bin":
            folders += _virtual_environment(beside) or [str(beside / "lib")]
    return tuple(folders)


def _virtual_environment(folder: Path) -> list[str]:
    """Return a virtual environment with the Python that it was made from; empty for another folder."""
    try:
        lines = (folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    values = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    home = Path(values.get("home") or folder / "bin")
    # Only an installation of Python: the file may be one that a model has written.
    base = [str(home), str(home.parent / "lib")] if home.name == "bin" and visible.exists(home / "python3") else []
    return [str(folder), *base]


def folders_of_interpreter(program: str) -> tuple[str, ...]:
    """Return what a Python needs to start: its own installation, and the one that its environment was made from."""
    folders = [program, *((sys.prefix, sys.base_prefix) if program == sys.executable else ())]
    for path in (program, os.path.realpath(program)):
        folders += [str(Path(path).parent), *folders_of_programs([str(Path(path).parent)])]
    return tuple(dict.fromkeys(folders))


def folder_to_change(folder: Path) -> tuple[str, ...]:
    """Return the folder that a person has chosen to work in, unless it holds the system: that may only be read."""
    whole = os.path.realpath(folder)
    system = any(Path(whole).is_relative_to(place) for place in places.NEVER_CHANGED)
    above = any(
        Path(place).is_relative_to(whole) for place in (*places.NEVER_CHANGED, str(Path.home()), "/home", "/var")
    )
    return () if system or above else (whole,)


def _private(workspace: Path) -> tuple[str, ...]:
    private = (*private_places(os.environ, Path.home()), *support.private())
    return tuple(dict.fromkeys(str(place) for place in private if place != workspace))


def _full(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(Path(path).expanduser()) for path in paths)


def _paths(skill: Skill, key: str, workspace: Path) -> tuple[str, ...]:
    paths = skill.strings(key, ()) or ()
    for path in paths:
        whole = Path(path).expanduser()
        if not whole.is_absolute() or ".." in whole.parts:
            raise skill.wrong(key, f"a list of absolute paths, or paths that begin with ~; {path!r} is neither")
        real = Path(os.path.realpath(whole))  # `resolve` raises for links in a circle
        if not real.is_relative_to(workspace) and any(real.is_relative_to(place) for place in _private(workspace)):
            raise skill.wrong(key, f"a list of paths outside of the worker's own folders; {path!r} lies in one")
    return paths
