# shellcheck shell=bash
# What scripts/demo and scripts/test share: finding a Python, and making .venv. Sourced, from the project's root folder.
# Everything that is said goes to stderr: stdout belongs to the caller.

OLDEST_MINOR=11 # of Python 3: setup.cfg, python_requires
VENV=.venv # the folder of the environment; scripts/test --unit has one of its own

say() { echo "scripts/${0##*/}: $*" >&2; }

die() {
    say "$*"
    exit 78
}

# The name of a Python that is new enough: $PYTHON_PATH, or the oldest that is supported (it has the most wheels).
find_python() {
    local candidate
    for candidate in ${PYTHON_PATH:+"$PYTHON_PATH"} python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c "import sys; sys.exit(sys.version_info < (3, $OLDEST_MINOR))" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    die "needs Python 3.$OLDEST_MINOR or newer; this host has $(python3 --version 2>/dev/null || echo none)." \
        "Install one, or set PYTHON_PATH to one"
}

# What an installation depends on; another answer means: install again.
fingerprint() {
    (
        echo "$PWD" "$1" "${UNLOCKED:-}"
        cat setup.cfg pyproject.toml kubiya_worker/__init__.py
        [ ! -e constraints.txt ] || cat constraints.txt
    ) | cksum
}

# ensure_venv EXTRAS: make $VENV hold this project with `server`, `dev` (which includes it), `dev,deploy` or `unit`, in
# the versions of constraints.txt. With UNLOCKED=1: in the newest versions that setup.cfg allows. Warm, it costs one cksum.
ensure_venv() {
    local extra=$1 more enough stamp
    case $extra in
        server) more="dev dev,deploy" ;;
        dev) more="dev,deploy" ;;
        *) more="" ;;
    esac
    for enough in "$extra" $more; do
        stamp=$VENV/.installed-$enough
        if [ -x "$VENV"/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint "$enough")" ]; then
            return
        fi
    done
    stamp=$VENV/.installed-$extra
    say "installing into $VENV (once)"
    local log=$VENV/install.log
    if ! "$VENV"/bin/python -c "import sys; sys.exit(sys.version_info < (3, $OLDEST_MINOR))" 2>/dev/null; then
        if [ -e "$VENV" ] && [ ! -e "$VENV"/pyvenv.cfg ]; then
            die "there is a $VENV here that is not a Python environment; move it away"
        fi
        rm -rf "$VENV"
        make_venv
    fi
    rm -f "$stamp"
    if ! install_with_uv "$extra" >"$log" 2>&1 && ! install_with_pip "$extra" >>"$log" 2>&1; then
        local reason
        reason=$(grep -i '^ *\(error\|× \)' "$log" | tail -n 1 || true)
        die "the packages could not be installed: ${reason:-$(tail -n 1 "$log")}." \
            "Is a package index reachable? If it lacks versions of constraints.txt, set UNLOCKED=1." \
            "All that was said is in $log"
    fi
    mkdir -p "$VENV"/share/man/man1 # for `man kubiya`, which an editable installation does not bring
    ln -sf ../../../../kubiya_worker/cli/kubiya.1 "$VENV"/share/man/man1/kubiya.1
    fingerprint "$extra" >"$stamp"
}

make_venv() {
    local python
    python=$(find_python) || exit
    if uv venv --quiet --python "$(command -v "$python")" "$VENV" 2>/dev/null; then
        return
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then # Debian's Python comes without
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt_install "$(basename "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')")-venv"
        else
            die "this Python cannot make virtual environments; install python3-venv (Debian, Ubuntu), or uv"
        fi
    fi
    "$python" -m venv "$VENV" || die "$python could not make $VENV"
}

# An editable installation by a path: by setuptools' finder, which is the default, each start of Python takes 15 ms more,
# and the tests start thousands.
BY_PATH=(--config-settings editable_mode=compat)

# uv resolves and installs in a tenth of pip's time. It is fetched when it is not there; where that fails, pip does it all.
install_with_uv() {
    local uv options=(--no-compile-bytecode)
    uv=$(find_uv "$VENV"/bin/python) || return
    use_index "$VENV"/bin/python
    [ "$1" != server ] || options=(--compile-bytecode)
    ! locked || options+=(--constraints constraints.txt) # it checks the hashes too
    "$uv" pip install --python "$VENV"/bin/python "${options[@]}" "${BY_PATH[@]}" -e ".[$1]" || return
    case $1 in
        dev*) compile_most || true ;; # what could not be compiled now is compiled when it is imported
    esac
}

# Compile what all tests import, once, before many processes want it at the same time. Of the packages left out here,
# which are two thirds of all code, a few tests need a small part: Python compiles that when it is imported. So it does
# for the extra `unit`, with one process that needs little.
compile_most() {
    local rarely='moto|apprise|pip|setuptools|pkg_resources|pygments|playwright|mypy|mypyc|pymdownx|slack_sdk|botocore'
    rarely+='|pydantic_ai|anthropic|google/genai|rich|virtualenv|zensical'
    "$VENV"/bin/python -m compileall -qq -j 0 -x "/site-packages/($rarely)/" "$VENV"/lib
}

# find_uv PYTHON: the name of uv, which that Python's pip installs where the host has none.
find_uv() {
    if uv --version >/dev/null 2>&1; then
        echo uv
        return
    fi
    local own
    own=$(dirname "$1")/uv
    "$own" --version >/dev/null 2>&1 || "$1" -m pip install --quiet --disable-pip-version-check uv >&2 || return
    echo "$own"
}

locked() { [ -e constraints.txt ] && [ -z "${UNLOCKED:-}" ]; }

# use_index PYTHON: uv asks the index that this Python's pip asks.
use_index() {
    local index
    index=${PIP_INDEX_URL:-$("$1" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
}

install_with_pip() {
    local options=(--disable-pip-version-check)
    if locked; then # the versions alone: with a hash anywhere, pip refuses a folder, such as this project
        sed '/^ *--hash/d; s/ *\\$//' constraints.txt >"$VENV"/constraints.txt || return
        options+=(--constraint "$VENV"/constraints.txt)
    fi
    "$VENV"/bin/python -m ensurepip --upgrade && # an environment that uv made has no pip
        "$VENV"/bin/python -m pip install "${options[@]}" "${BY_PATH[@]}" -e ".[$1]"
}

# apt_install PACKAGE…: as root, without questions; says so.
apt_install() {
    say "installing Debian packages: $*"
    if ! { apt-get install -y --no-install-recommends "$@" || { apt-get update && apt-get install -y --no-install-recommends "$@"; }; } >/dev/null 2>&1; then
        say "apt-get could not install $*; going on without"
    fi
}

# unpack PACKAGE PROGRAM…: programs of a Debian package into .venv/bin, by whoever may run apt-get; nothing is installed,
# no service is set up, and what the package recommends stays where it is. With SHARED=FOLDER, that folder of it too.
unpack() {
    local package=$1 folder=.venv/debian
    shift
    say "unpacking Debian package: $package"
    mkdir -p "$folder"
    if ! (cd "$folder" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; } &&
        dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x ./usr/bin ${SHARED:+"$SHARED"} && rm -f "$package"_*.deb) >.venv/unpack.log 2>&1; then
        say "apt-get could not download $package; going on without"
        return
    fi
    local program
    for program in "$@"; do
        ln -sf "../debian/usr/bin/$program" ".venv/bin/$program"
    done
}

# ensure_monitors: have prometheus, promtool and alertmanager on PATH, from Debian's packages where they are missing.
# Only these programs are wanted: 5 s and 19 MB instead of 18 s and 330 MB for Prometheus.
ensure_monitors() {
    command -v apt-get >/dev/null || return 0
    if ! { command -v promtool && command -v prometheus; } >/dev/null; then
        unpack prometheus prometheus promtool
    fi
    if ! { command -v alertmanager || command -v prometheus-alertmanager; } >/dev/null; then
        SHARED=./usr/share/prometheus unpack prometheus-alertmanager prometheus-alertmanager
        rm -f .venv/bin/prometheus-alertmanager # a link, through which the script would replace the program
        # Debian's build reads its templates below /usr/share and nowhere else: it gets one of its own, with them alone.
        cat >.venv/bin/prometheus-alertmanager <<'END'
#!/bin/sh
exec unshare --mount --map-root-user sh -c 'mount -t tmpfs none /usr/share && mkdir /usr/share/prometheus &&
    ln -s "$0/share/prometheus/alertmanager" /usr/share/prometheus/ && exec "$0/bin/prometheus-alertmanager" "$@"' \
    "$(dirname "$(readlink -f "$0")")/../debian/usr" "$@"
END
        chmod +x .venv/bin/prometheus-alertmanager
    fi
}
