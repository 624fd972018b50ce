"""This module reads the arguments of git: its command, and the options that it may be given.

An alias or an unknown command can run anything, and so can dozens of options. Paths are compared by `git_rules`.
"""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.tools.shell.options import Arguments, Options, Place

COMMANDS: Final = frozenset(
    (  # noqa: SIM905
        "add am annotate apply archive blame branch cat-file check-attr check-ignore check-ref-format checkout "
        "cherry cherry-pick clean clone commit count-objects describe diff diff-files diff-index diff-tree fetch "
        "for-each-ref format-patch fsck gc grep hash-object init log ls-files ls-remote ls-tree merge merge-base "
        "merge-tree mv name-rev pull push range-diff rebase reflog remote reset restore rev-list rev-parse revert rm "
        "shortlog show show-branch show-ref stash status switch symbolic-ref tag update-index var verify-commit "
        "verify-tag version whatchanged worktree write-tree config"
    ).split()
)
_BEFORE: Final = frozenset({"--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--version"})
# No option of this name runs a program or an editor, loads a configuration, or writes a file, in any of the commands.
_LONG: Final = """
3way abbrev abbrev-commit abbrev-ref abort absolute-date absolute-git-dir add-header after after-context aggressive
all all-match allow-empty allow-empty-message allow-unrelated-histories always amend ancestry-path anchored and
annotate append apply assume-unchanged atomic attach author author-date-order auto autosquash autostash bare
basic-regexp batch batch-all-objects batch-check before before-context binary bisect blank-boundary boundary branch
branches break break-rewrites broken cached cc check chmod cherry cherry-mark cherry-pick children clear-decorations
color color-moved color-words column combined-all-paths committer compact-summary conflict connectivity-only contains
context continue copies count cover-letter create create-reflog cumulative current dangling date date-order decorate
decorate-refs deduplicate deepen delete deleted dense depth detach diff-algorithm diff-filter directory dirstat dirty
dry-run email end-of-options error-unmatch exact-match exclude exclude-standard exit-code extended-regexp ff ff-only
files-with-matches files-without-match filter find-copies find-copies-harder find-object find-renames first-parent
fixed fixed-strings follow force force-if-includes force-with-lease fork-point format full full-diff full-history
full-index full-name function-context get-all get-regexp git-common-dir git-dir glob grafts graph grep grep-reflog
group guess hard heading heads help histogram hunk-header ignore-all-space ignore-blank-lines ignore-case
ignore-cr-at-eol ignore-matching-lines ignore-missing ignore-other-worktrees ignore-space-at-eol ignore-space-change
ignore-unmatch ignored in-reply-to include-untracked incremental indent-heuristic index index-only initial-branch
intent intent-to-add inter-hunk-context invert-grep invert-match ipv4 ipv6 is-ancestor is-bare-repository
is-inside-git-dir is-inside-work-tree ita-invisible-in-index jobs keep keep-base keep-empty keep-index keep-non-patch
left-only left-right line-number line-porcelain lines list local local-env-vars locked log-size long lost-found
mailmap max-age max-count max-depth max-pack-size max-parents max-results merge merged merges message min-parents
minimal minimal-context mirror mixed modified move multiple name name-objects name-only name-rev name-status
negotiate-only no-abbrev-commit no-all-match no-attach no-auto no-autosquash no-autostash no-checkout
no-assume-unchanged no-color no-column no-commit no-commit-id no-contains no-dangling no-decorate no-edit no-ext-diff
no-ff no-filter no-force no-gpg-sign no-guess no-ignore-removal no-indent-heuristic no-index no-keep-index no-mailmap
no-merged no-merges no-message no-notes no-numbered no-overlay no-patch no-pin no-prefix no-progress no-prune no-quiet
no-rebase no-recurse-submodules no-recursive no-rename-empty no-renames no-renormalize no-reset-author no-signoff
no-single-branch no-stat no-tags no-textconv no-thread no-track no-verify no-walk not notes null numbered
numbered-files numeric numstat objects oneline only only-matching onto or origin orphan others ours overlay parents
patch patch-with-raw patch-with-stat pathspec-file-nul pathspec-from-file patience perl-regexp pickaxe-all
pickaxe-regex points-at porcelain prefix pretty progress prune prune-packed prune-tags push-option quiet quit raw
reapply-cherry-picks really-refresh rebase rebase-merges recount recursive reflog refmap refresh refs
regexp-ignore-case reject relative relative-date remote-only remotes remove-empty rename-empty reset-author resolve
reuse-message reverse revs-only right-only root set-head set-upstream set-upstream-to shallow-exclude shallow-since
shallow-submodules short shortstat show-cdup show-current show-email show-forced-updates show-function show-name
show-notes show-number show-object-format show-origin show-prefix show-pulls show-scope show-toplevel sign-off signoff
simplify-by-decoration simplify-merges since since-as-filter single-branch skip skip-worktree soft sort sparse
spurious squash staged start-number stash stat stat-width stop-at-non-option strategy strategy-option strict
strip-comments subject-prefix summary summary-only symbolic symbolic-full-name symref tag tags tags-only text theirs
thread threaded timestamp tips topo-order track unidiff-zero unified unmerged unreachable unset-upstream unshallow
until untracked untracked-files update update-head-ok update-refs verbose verify version walk-reflogs whitespace
word-diff word-diff-regex word-regexp worktree ws-error-highlight z source stdout
"""
_LETTERS: Final = "0123456789aAbBcCdDeEfFgGhHiIjkKlLmMnNopPqQrRsStTuUvVwWxXyYzZ"
# In these commands a letter runs a program or an editor, or writes a file.
_REFUSED_LETTERS: Final = {
    "clone": "uc",
    "rebase": "xi",
    "grep": "Of",
    "archive": "o",
    "format-patch": "o",
    "add": "ieEp",
    "commit": "epcFtSC",
    "am": "iS",
    "cherry-pick": "eS",
    "revert": "eS",
    "merge": "eFS",
    "tag": "seuF",
    **dict.fromkeys(("log", "diff", "show", "whatchanged", "rev-list"), "O"),
    "checkout": "p",
    "reset": "p",
    "restore": "p",
    "stash": "p",
    "clean": "i",
    "blame": "S",
}


_VALUED_LETTERS: Final = {
    **dict.fromkeys(("commit", "tag", "merge", "stash"), "m"),
    "clone": "bo",
    "push": "o",
    "grep": "e",
}
_ATTACHED: Final = "SGLUMBCX"  # letters behind which the rest of the word is a value


def check(arguments: Arguments) -> str | None:
    """Return what git must not get; None when there is nothing."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        option = arguments[index]
        if option == "-C":
            index += 1
        elif option not in _BEFORE:
            return f"the option {option} before its command"
        index += 1
    if index >= len(arguments):
        return None
    command, rest = arguments[index], list(arguments[index + 1 :])
    if command == "config":
        return None if _reads_configuration(rest) else "config, unless it only reads"
    if command == "stash" and rest[:1] in (["show"], ["list"]):  # their -p shows, the one of stash itself asks
        command = "stash show"
    if command not in COMMANDS and command != "stash show":
        return f"the command {command}"
    found = _options(command).read(rest, Place())
    if found.refused:
        return f"{command} and {found.refused}"
    return next((f"the address {argument}" for argument in rest if re.match(r"[A-Za-z0-9+.-]+::", argument)), None)


_CONFIG: Final = Options(
    plain="lz",
    long="list get get-all get-regexp get-urlmatch get-color get-colorbool show-origin show-scope name-only show-names "
    "null local global system worktree type= bool int bool-or-int path expiry-date default= all regexp includes "
    "no-includes fixed-value",
)
_CONFIG_READS: Final = (
    "-l --list --get --get-all --get-regexp --get-urlmatch --get-color --get-colorbool".split()  # noqa: SIM905
)


def _reads_configuration(arguments: Arguments) -> bool:
    """Return whether `git config` reads: with one of its options for that, one of its commands, or a single name."""
    words = list(arguments)
    reads = words[:1] in (["get"], ["list"])
    given = _CONFIG.read(words[1:] if reads else words, Place())
    if given.refused or (given.has("--includes") and not reads and not given.has(*_CONFIG_READS)):
        return False
    return reads or given.has(*_CONFIG_READS) or (len(given.operands) == 1 and "." in given.operands[0])


def _options(command: str) -> Options:
    """Return what a command may be given.

    Only values that belong to their option in every version are skipped. Any other word behind an option is read as one
    of its own, so that no option hides as the value of another.
    """
    refused = _REFUSED_LETTERS.get(command, "")
    valued = _VALUED_LETTERS.get(command, "")
    plain = "".join(letter for letter in _LETTERS if letter not in refused + valued + _ATTACHED)
    attached = "".join(letter for letter in _ATTACHED if letter not in refused + valued)
    return Options(plain=plain, valued=valued, optional=attached, long=_long(command))


def _long(command: str) -> str:
    """Return the long options of a command: those of all, without those that this command takes for something else."""
    refused = {
        "add": ("patch", "interactive"),
        "clone": ("recursive",),
        "commit": ("patch", "edit"),
        "checkout": ("patch",),
        "reset": ("patch",),
        "restore": ("patch",),
        "stash": ("patch",),
        "rebase": ("interactive",),
        "apply": ("directory",),
    }.get(command, ())
    return " ".join(word for word in _LONG.split() if word not in refused)
