# What every script here shares. Sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

# A heading, with the time since the script began.
say() { printf '\n== %d:%02d %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Prints the path of a working interpreter of the given minor version ("3.12"), or fails.
# A name on PATH is run before it is believed: pyenv's shims exist for versions that are not active.
find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python python3 python; do
        "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null || continue
        "$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable))'
        return
    done
    return 1
}

# The version that work is done on: 3.11 where there is one, else the oldest supported one found.
main_version() {
    local version
    for version in 3.11 3.12 3.13; do
        find_python "$version" >/dev/null && { echo "$version"; return; }
    done
    fail "no Python 3.11, 3.12 or 3.13 was found on PATH or under pyenv; install one (Debian: apt-get install python3 python3-venv)"
}

# The virtual environment of a version, or of the main one: .venv, or .venv-3.12 beside it.
venv_of() {
    if [ -z "${1:-}" ] || [ "$1" = "$(main_version)" ]; then echo "$root/.venv"; else echo "$root/.venv-$1"; fi
}

# Makes a virtual environment: make_venv PYTHON DIRECTORY. Debian keeps the venv module's pip in
# a package of its own.
make_venv() {
    local python=$1 directory=$2
    [ -x "$directory/bin/pip" ] && "$directory/bin/python" -c '' 2>/dev/null && return
    rm -rf "$directory"
    "$python" -m venv "$directory" >/dev/null 2>&1 && return
    scripts/system-packages python3-venv || fail "cannot make a virtual environment: the venv module of $python has no pip"
    "$python" -m venv --clear "$directory"
}

# Installs requirements files into a virtual environment, once per content of the files.
install_requirements() {
    local directory=$1 stamp file arguments=()
    shift
    stamp=$(cat "$@" | cksum)
    [ "$(cat "$directory/.requirements" 2>/dev/null)" = "$stamp" ] && return
    for file in "$@"; do arguments+=(-r "$file"); done
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "${arguments[@]}"
    echo "$stamp" >"$directory/.requirements"
}
