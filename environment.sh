# Sourced by tests/run and perf/run: what they need from the system and from PyPI.

# Installs the Debian packages among its arguments that are not there.
need_packages() {
    command -v apt-get >/dev/null || return 0 # another distribution: the build says what is missing
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local root=()
    if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
    "${root[@]}" apt-get update -q
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# Tells whether a Debian package is there.
is_installed() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

# The Pythons that the project is for: 3.11 and so on.
MINORS=(11 12 13 14 15)

# What the engine is built with.
BUILD_PACKAGES=(gcc libc6-dev pkg-config liburing-dev)

# The system's own Python, where there is no other: with headers and virtual environments.
need_python() {
    [ -n "$(pythons)" ] || need_packages python3 python3-dev python3-venv
}

# Debian ships headers, virtual environments and CPython's own tests apart: installs those of the Pythons that are there.
need_parts_of_pythons() {
    local minor
    for minor in "${MINORS[@]}"; do
        if is_installed "python3.$minor"; then
            need_packages "python3.$minor-dev" "python3.$minor-venv" "libpython3.$minor-testsuite"
        fi
    done
}

# Prints the interpreter of each Python that is found on PATH or under pyenv, newest last.
pythons() {
    local minor candidate
    for minor in "${MINORS[@]}"; do
        for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python; do
            if "$candidate" -c "import sys, venv, ensurepip; assert sys.version_info[:2] == (3, $minor)" 2>/dev/null; then
                "$candidate" -c 'import sys; print(sys.executable)'
                break
            fi
        done
    done
}

# Makes a virtual environment of an interpreter, with this project and the extras named, and prints its folder.
make_environment() {
    local python=$1 extras=$2 folder
    folder=.venv-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder" >&2
    "$folder/bin/python" -m pip install -q --disable-pip-version-check -e ".[$extras]" >&2 || return
    echo "$folder"
}
