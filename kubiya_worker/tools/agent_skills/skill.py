"""Skill `agent_skills`: folders of the Agent Skills standard, read when the model asks for them.

The model gets the name and the description of each. `load_skill` reads its instructions and its other files;
`run_skill_script` runs a script of it, under the same confinement, limits and approvals as any other program.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import network_variables
from kubiya_worker.tools.agent_skills import checkout, folder, given
from kubiya_worker.tools.agent_skills.folder import AgentSkill, FolderInvalid
from kubiya_worker.tools.base import Tool, ToolArgumentsError, ToolContext, ToolResult, refusal
from kubiya_worker.tools.confinement import profile, spawn
from kubiya_worker.tools.files.confinement import Folder, PathRefused
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.shell.allowed_programs import trusted_path
from kubiya_worker.tools.shell.endings import ending
from kubiya_worker.tools.shell.variables import DEFAULT_PATH, tool_environment
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("agent_skills",)
KEYS: Final = {
    "path": "Absolute path on the worker's host: a folder with a SKILL.md, or a folder of such folders",
    "git": "In place of `path`: the https:// address of a repository, without credentials",
    "commit": "The full hash of the commit of `git`",
    "folder": "The folder in the repository (its top)",
    "files": "In place of `path` and `git`: the texts of the files by their paths, such as `report/SKILL.md`; 200 KB",
    "skills": "Names of the skills to offer (all that are there)",
    "scripts": "Whether their scripts may be run (true)",
    "timeout": "Seconds until a script is ended, 1 to 600 (60)",
    **profile.KEYS,
}
LONGEST_TIMEOUT: Final = 600.0
MOST_SKILLS: Final = 50
TEXT_LIMIT: Final = 2_000_000  # bytes of a file that is read
SCRIPT_LIMIT: Final = 5_000_000
# Which program runs a script, by the end of its name. A script with another one must be executable.
INTERPRETERS: Final[Mapping[str, tuple[str, ...]]] = {
    ".py": ("python3",),
    ".sh": ("bash", "sh"),
    ".bash": ("bash",),
    **dict.fromkeys((".js", ".mjs", ".cjs"), ("node",)),
    ".rb": ("ruby",),
    ".pl": ("perl",),
}
NO_RIGHTS: Final = "(allowed-tools gives no rights here: {tools}. The rules of this agent decide, as for every call.)"


async def prepare(skills: Sequence[Mapping[str, Any]]) -> None:
    """Fetch the commits that enabled skills of this type name. What cannot be fetched is told when they are built."""
    for raw in skills:
        configured = raw.get("configuration") or {}
        if str(raw.get("type") or "").strip().lower() not in TYPES or not isinstance(configured, Mapping):
            continue
        url, commit = str(configured.get("git") or ""), str(configured.get("commit") or "")
        if raw.get("enabled", True) is True and checkout.URL.fullmatch(url) and checkout.COMMIT.fullmatch(commit):
            try:
                await asyncio.to_thread(checkout.fetch, url, commit)
            except ConfigurationError:
                continue


def build(skill: Skill, workspace: Path) -> list[Tool]:
    wanted = skill.strings("skills", None)
    place, top = _place(skill, workspace)
    try:
        if top and (place / folder.MANIFEST).is_file():
            skills = [folder.read(place, named=False)]  # its folder is named by a commit, or by the hash of its files
        else:
            skills = folder.skills_in(place, wanted)
    except FolderInvalid as error:
        raise ConfigurationError(
            f"skill {skill.name!r} (agent_skills): {error}", remedy="See https://agentskills.io/specification"
        ) from None
    if len(skills) > MOST_SKILLS:
        raise skill.wrong("skills", f"a list of at most {MOST_SKILLS} names: there are {len(skills)} skills in {place}")
    known = {one.name: one for one in skills}
    tools: list[Tool] = [LoadSkill(known)]
    runner = RunSkillScript(skill, known, workspace)
    return [*tools, runner] if skill.flag("scripts", True) else tools


def _place(skill: Skill, workspace: Path) -> tuple[Path, bool]:
    """Return the folder of the skills, and whether it has the name of a commit or a hash."""
    path, url, files = skill.text("path"), skill.text("git"), skill.configuration.get("files")
    if [bool(path), bool(url), files is not None].count(True) != 1:
        raise skill.wrong("path", "an absolute path, or absent where `git` and `commit`, or `files`, are given")
    if files is not None:
        return _given(skill, files), True
    if path:
        for key in ("commit", "folder"):
            if skill.configuration.get(key) is not None:
                raise skill.wrong(key, "absent with `path`; it belongs to `git`")
        place = Path(path).expanduser()
        if not place.is_absolute() or not place.is_dir():
            raise skill.wrong("path", "the absolute path of a folder on the worker's host")
        if place.resolve().is_relative_to(workspace.resolve()):
            raise skill.wrong("path", "a folder outside of the workspace, in which the model could change it")
        return place, False
    commit, inside = skill.text("commit"), skill.text("folder").strip("/")
    if not checkout.URL.fullmatch(url):
        raise skill.wrong("git", "an https:// address without user name and password")
    if not checkout.COMMIT.fullmatch(commit):
        raise skill.wrong("commit", "the full hash of a commit, 40 or 64 digits: a branch or a tag can be moved")
    if inside and not all(re.fullmatch(r"[A-Za-z0-9_.@-]+", part) and part != ".." for part in inside.split("/")):
        raise skill.wrong("folder", "the path of a folder in the repository")
    top = checkout.place_of(url, commit)
    if not top.is_dir():
        top = checkout.fetch(url, commit)  # fails at once where `prepare` has just failed
    place = top / inside
    if not place.is_dir() or not place.resolve().is_relative_to(top.resolve()):
        raise skill.wrong("folder", "a folder that the commit has")
    return place, not inside


def _given(skill: Skill, files: Any) -> Path:
    """Return the folder of the files that the definition carries."""
    for key in ("commit", "folder"):
        if skill.configuration.get(key) is not None:
            raise skill.wrong(key, "absent with `files`; it belongs to `git`")
    wanted = given.fault(files)
    if wanted:
        raise skill.wrong("files", wanted)
    try:
        return given.write(files)
    except OSError as error:
        raise ConfigurationError(
            f"skill {skill.name!r} (agent_skills): its files cannot be written: {error}",
            remedy="Check the home folder of the worker's user",
        ) from None


class LoadSkill:
    """The tool `load_skill`, with the arguments `{name, file?}`."""

    def __init__(self, skills: Mapping[str, AgentSkill]) -> None:
        self._skills = skills
        listed = [f"- {one.name}: {' '.join(one.description.split())}" for one in skills.values()]
        self.spec = ToolSpec(
            name="load_skill",
            description="Read the instructions of a skill before you do a task that it is for, and the files that "
            "they name. Skills:\n" + "\n".join(listed),
            parameters={
                "type": "object",
                "properties": {
                    "name": {"type": "string", "enum": list(skills)},
                    "file": {"type": "string", "minLength": 1, "description": "A file of the skill, relative to it"},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
            idempotent=True,
            brief=True,
            category="file_operation",
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        skill = self._skills[str(arguments["name"])]
        try:
            if not arguments.get("file") or arguments["file"] == folder.MANIFEST:
                return ToolResult(await asyncio.to_thread(_instructions, skill))
            return ToolResult(await asyncio.to_thread(_text_of, skill, str(arguments["file"])))
        except (PathRefused, OSError) as error:
            return refusal(str(error).rstrip("."))


class RunSkillScript:
    """The tool `run_skill_script`, with the arguments `{name, script, arguments?, input?}`."""

    def __init__(self, skill: Skill, skills: Mapping[str, AgentSkill], workspace: Path) -> None:
        self._skill = skill.name
        self._skills = skills
        self._timeout = skill.number("timeout", 60, 1, LONGEST_TIMEOUT)
        self._search_path = trusted_path(os.environ.get("PATH") or DEFAULT_PATH, outside=workspace)
        self._declared = profile.of_skill(skill, workspace, reads=profile.folders_of_programs(self._search_path))
        limits = self._declared.told()
        self.spec = ToolSpec(
            name="run_skill_script",
            description="Run a script that a skill's instructions name, in the workspace, and read what it prints."
            + (f"\n{limits}" if limits else ""),
            parameters={
                "type": "object",
                "properties": {
                    "name": {"type": "string", "enum": list(skills), "description": "The skill"},
                    "script": {"type": "string", "minLength": 1, "description": "Such as scripts/report.py"},
                    "arguments": {"type": "array", "items": {"type": "string"}, "maxItems": 200},
                    "input": {"type": "string", "description": "What the script reads from standard input"},
                    "sha256": {"type": "string", "description": "Leave it out: the worker fills it in"},
                },
                "required": ["name", "script"],
                "additionalProperties": False,
            },
            risk="critical" if self._declared.confirms else "high",
            category="command_execution",
            timeout=self._timeout + programs.GRACE + 10,
            taints=True,
            effects=("write", "exec", "egress"),
            confirms=self._declared.confirms,
        )

    def expanded(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with the hash of the script, so that an approval holds for this text of it only."""
        try:
            _, data = _script(self._skills[str(arguments["name"])], str(arguments["script"]))
        except (PathRefused, OSError) as error:
            raise ToolArgumentsError(f"{error}") from None
        return {**arguments, "sha256": hashlib.sha256(data).hexdigest()}

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        skill = self._skills[str(arguments["name"])]
        try:
            script, data = await asyncio.to_thread(_script, skill, str(arguments["script"]))
            if arguments.get("sha256") != hashlib.sha256(data).hexdigest():
                return refusal("The script was changed since the call was judged; nothing was run")
            program, words = self._command(script)
            confined = self._declared.applied()
            ended = await programs.run_pipe(
                programs.Pipe(
                    [programs.Program(program, (*words, str(script), *map(str, arguments.get("arguments") or ())))],
                    cwd=context.workspace,
                    env=self._environment(context, skill, temporary=confined is not None),
                    profile=confined and confined.reading(str(skill.folder), *profile.folders_of_interpreter(program)),
                    input_text=None if arguments.get("input") is None else str(arguments["input"]),
                ),
                timeout=self._timeout,
                output_limit=context.keep_limit,
                call_id=context.tool_call_id,
            )
        except (PathRefused, OSError, ValueError, ConfigurationError) as error:
            return refusal(f"{arguments['script']} could not be started: {str(error).rstrip('.')}")
        error_line = f"timed out after {self._timeout:g} seconds" if ended.timed_out else ending(ended.code)
        output = ended.output
        if error_line:
            output += ("" if not output or output.endswith("\n") else "\n") + f"[{error_line}]\n"
            if confined and "Permission denied" in output:
                output += f"[{self._declared.refused(self._skill, '')}]\n"
        metadata = {"exit_code": ended.code, "seconds": round(ended.seconds, 3), "sha256": arguments["sha256"]}
        return ToolResult(output or "[no output]", error=error_line, metadata=metadata)

    def _command(self, script: Path) -> tuple[str, tuple[str, ...]]:
        """Return the program that runs a script, and its words before the script's path."""
        names = INTERPRETERS.get(script.suffix.lower())
        if names is None:
            if not os.access(script, os.X_OK):
                known = ", ".join(INTERPRETERS)
                raise ConfigurationError(
                    f"it is not executable, and its name ends with none of {known}",
                    remedy="Make it executable in the skill's folder (chmod +x), or end its name so",
                )
            return "/usr/bin/env", ("env", "--")
        for name in names:
            program = shutil.which(name, path=os.pathsep.join(self._search_path))
            if program:
                return program, (name,)
        if script.suffix == ".py":
            return sys.executable, ("python3", "-I", "-B")
        raise ConfigurationError(f"this host has no {names[0]}", remedy=f"Install {names[0]} on the worker's host")

    def _environment(self, context: ToolContext, skill: AgentSkill, *, temporary: bool) -> dict[str, str]:
        path = os.pathsep.join(self._search_path)
        base = {"HOME": str(context.workspace), "LANG": "C.UTF-8", "PATH": path, "TERM": "dumb"}
        base |= {"PYTHONDONTWRITEBYTECODE": "1", "SKILL_DIR": str(skill.folder)}
        if temporary:
            base["TMPDIR"] = str(spawn.temporary_folder(context.workspace))
        return {**base, **network_variables.of_worker(os.environ), **tool_environment(context.env)}


def _instructions(skill: AgentSkill) -> str:
    """Return what the model reads of a skill: its instructions, then its files."""
    files = skill.files()
    parts = [skill.body]
    if skill.compatibility:
        parts.append(f"Needs: {skill.compatibility}")
    if skill.allowed_tools:
        parts.append(NO_RIGHTS.format(tools=skill.allowed_tools[:300]))
    if files:
        parts.append(
            "Files of this skill, for `file` of load_skill, and scripts for run_skill_script:\n" + "\n".join(files)
        )
    return "\n\n".join(parts)


def _read(skill: AgentSkill, path: str, limit: int) -> bytes:
    with Folder(skill.folder).file(path) as handle, os.fdopen(os.dup(handle), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise PathRefused(f"{path}: has more than {limit} bytes")
    return data


def _text_of(skill: AgentSkill, path: str) -> str:
    data = _read(skill, path, TEXT_LIMIT)
    if b"\0" in data[:8192]:
        raise PathRefused(f"{path}: is a binary file of {len(data)} bytes, for scripts to use")
    return data.decode("utf-8", "replace")


def _script(skill: AgentSkill, path: str) -> tuple[Path, bytes]:
    """Return the path and the content of a script in the skill's folder, all links resolved."""
    data = _read(skill, path, SCRIPT_LIMIT)
    parts = Folder(skill.folder).parts(path)
    whole = Path(os.path.realpath(skill.folder.joinpath(*parts)))
    if not whole.is_relative_to(skill.folder):
        raise PathRefused(f"{path}: leads out of the skill's folder")
    return whole, data
