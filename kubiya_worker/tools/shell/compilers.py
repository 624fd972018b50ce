"""This module reads the arguments of C compilers and linkers, and lets only known ones through.

They read further arguments from `@file`, load plugins, and start programs that an option names (`-B`, `-wrapper`,
`-specs`, `-fuse-ld`). What a source includes is read by the compiler, wherever that lies.
"""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.tools.shell.options import Arguments, Options, Place

NAME: Final = re.compile(r"(?:[\w.]+-)*(?:gcc|g\+\+|cc|c\+\+|c[89]9|clang|clang\+\+)(?:-[\d.]+)?")
_WITH_FILE: Final = ("-o", "-MF")  # it is written; the value is attached, or the next word
_WITH_VALUE: Final = frozenset(
    "-I -L -D -U -l -x -u -e -isystem -iquote -idirafter -include -imacros -MT -MQ -arch -target".split()  # noqa: SIM905
)
_LINKER: Final = (
    r"-rpath(?:[,=][^,@]+)?|-rpath-link[,=][^,@]+|--as-needed|--no-as-needed|-O\d|--gc-sections|-z,\w+|--start-group"
    r"|--end-group|-Bstatic|-Bdynamic|-s|-S|--strip-all|--strip-debug|--build-id(?:=\w+)?|-soname[,=][^,@/]+"
    r"|--no-undefined|--export-dynamic|-E|--whole-archive|--no-whole-archive|--hash-style=\w+|--sort-common"
    r"|--allow-multiple-definition|--no-allow-shlib-undefined|--warn-common|--print-memory-usage"
)
_FLAGS: Final = (
    r"(?:no-)?(?:PIC|pic|PIE|pie|plt|openmp|lto|exceptions|rtti|omit-frame-pointer|strict-aliasing|common|data-sections"
    r"|function-sections|unroll-loops|tree-vectorize|fast-math|wrapv|builtin|freestanding|hosted|signed-char"
    r"|unsigned-char|syntax-only|permissive|concepts|coroutines|inline|inline-functions|analyzer|stack-protector"
    r"|stack-protector-strong|stack-protector-all|stack-clash-protection|strict-overflow|trapv|short-enums"
    r"|asynchronous-unwind-tables|unwind-tables|math-errno|gnu89-inline|char8_t|color-diagnostics|verbose-asm)"
    r"|lto=[\w]+|sanitize=[a-z,-]+|no-sanitize=[a-z,-]+|visibility=\w+|cf-protection(?:=\w+)?|max-errors=\d+"
    r"|diagnostics-color(?:=\w+)?|message-length=\d+|abi-version=\d+|template-depth=\d+|exec-charset=[\w-]+"
    r"|input-charset=[\w-]+"
)
_KNOWN: Final = re.compile(
    r"-|-[cSEgsvPwH]|-###|-g[\w-]*|-O(?:\d|s|g|z|fast)?|-W(?![lap],)[\w=+#-]*|-[IDULl].+|-std=[\w+]+|-ansi"
    r"|-pedantic(?:-errors)?|-pthread|-pipe|-shared|-static(?:-[\w+]+)?|-rdynamic|-nostdlib|-nostdinc(?:\+\+)?"
    r"|-nodefaultlibs|-nostartfiles|-pie|-no-pie|-r|-M|-MM|-MD|-MMD|-MP|-MG|-save-temps|-print-[a-z-]+(?:=[\w.+-]+)?"
    r"|-dump(?:version|fullversion|machine)|-d[MDNUI]|--version|--help(?:=[\w,^]+)?|-traditional(?:-cpp)?"
    r"|-m(?!llvm)[\w.-]+(?:=[\w.,+-]+)?|-f(?:"
    + _FLAGS
    + r")|-Wl(?:,(?:"
    + _LINKER
    + r"))+|-stdlib=[\w+]+|--sysroot=.+",
    re.DOTALL,
)


def check(arguments: Arguments, place: Place) -> str | None:
    """Return what a compiler must not get; None when there is nothing."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word.startswith("@"):
            return f"{word[:80]}, which is a file with further arguments"
        if not word.startswith("-"):
            continue
        writing = next((option for option in _WITH_FILE if word.startswith(option)), None)
        if writing:
            file = word.removeprefix(writing) or (rest.pop(0) if rest else "")
            if place.outside(file):
                return f"{writing} {file[:80]}, which writes outside of the workspace"
        elif word in _WITH_VALUE:
            value = rest.pop(0) if rest else ""
            if value.startswith(("@", "-")):
                return f"{value[:80]} behind {word}, which may be a further option or a file with some"
        elif not _KNOWN.fullmatch(word):
            return f"the option {word[:80]}, which is none of those that are allowed"
    return None


def preprocessor(arguments: Arguments, place: Place) -> str | None:
    """Return what cpp must not get: it writes to its second operand."""
    outside = next((word for word in arguments if not word.startswith(("-", "/usr/")) and place.outside(word)), "")
    return check(arguments, place) or (f"{outside[:80]}, which lies outside of the workspace" if outside else None)


_AR: Final = re.compile(r"-?[dmpqrstx][abcDfiNoPsSTuUvV]*")


def ar(arguments: Arguments, place: Place) -> str | None:
    """Return what ar must not get; None when there is nothing."""
    if not arguments or arguments[0] in ("--version", "--help"):
        return None
    if not _AR.fullmatch(arguments[0]):
        return f"{arguments[0][:80]}: its first word must be an operation, such as rcs"
    wrong = next((word for word in arguments[1:] if word.startswith(("-", "@"))), "")
    if wrong:
        return f"the word {wrong[:80]}"
    operation = arguments[0].lstrip("-")[:1]
    files = [word for word in arguments[1:] if place.outside(word)][:1] if operation in "dmqrs" else []
    return f"{files[0][:80]}, which it would change outside of the workspace" if files else None


_LD: Final = Options(
    words="o= l= L= e= z= m= shared static r s S x dynamic-linker= rpath= soname= pie no-pie v V",
    long="version help as-needed no-as-needed gc-sections start-group end-group whole-archive no-whole-archive "
    "build-id strip-all strip-debug export-dynamic",
    writes="-o",
)
_AS: Final = Options(
    plain="gWvD", valued="oI", long="32 64 warn fatal-warnings noexecstack gen-debug version help", writes="-o"
)


def _binary(options: Options, arguments: Arguments, place: Place) -> str | None:
    if file := next((word for word in arguments if word.startswith("@")), ""):
        return f"{file[:80]}, which is a file with further arguments"
    glued = [word for word in arguments if re.match(r"-[lL].", word)] if options is _LD else []
    return options.read([word for word in arguments if word not in glued], place).refused or None


def ld(arguments: Arguments, place: Place) -> str | None:
    """Return what ld must not get; None when there is nothing."""
    return _binary(_LD, arguments, place)


def assembler(arguments: Arguments, place: Place) -> str | None:
    """Return what `as` must not get; None when there is nothing."""
    return _binary(_AS, arguments, place)
