# shellcheck shell=sh
# Sourced by the scripts: finds a Python, and has scripts/_venv.py make an environment from it.
# Sets $root, the checkout. Call `ensure_venv DIRECTORY VERSION EXTRA`; it sets $python.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

# Prints where the interpreter really is. Run, because a name in PATH may be a shim that leads nowhere.
probe='import ensurepip, sys, venv
here = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11) or sys.argv[1] not in ("any", here):
    sys.exit(1)
print(getattr(sys, "_base_executable", sys.executable))'

# find_python VERSION: "3.12", or "any" from 3.11 on. Prints its path, or fails.
find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c "$probe" "$1" 2>/dev/null; then
            return 0
        fi
    done
    # pyenv may have it without having it in PATH.
    for installed in $(pyenv versions --bare 2>/dev/null); do
        if PYENV_VERSION=$installed pyenv exec python -c "$probe" "$1" 2>/dev/null; then
            return 0
        fi
    done
    return 1
}

# ensure_venv DIRECTORY VERSION EXTRA: make it if it is missing, half made or out of date.
ensure_venv() {
    python=$root/$1/bin/python
    if ! base=$("$python" -c "$probe" "$2" 2>/dev/null) && ! base=$(find_python "$2"); then
        echo "stillfresh needs Python 3.11 or newer with its venv module, and found none." >&2
        echo "Install one (on Debian also python3-venv), or set PYTHON to its path." >&2
        exit 1
    fi
    "$base" "$root/scripts/_venv.py" "$root/$1" "$3" || exit 1
}
