"""
Make an environment with stillfresh and one of its extras, unless it stands already.

A stamp inside is written last and names everything the environment was made
from. Without the right stamp it is made anew, so an interrupted run, a moved
checkout or another version of a dependency needs no care.
"""

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read `DIRECTORY EXTRA` from the command line."""
    directory, extra = Path(sys.argv[1]), sys.argv[2]
    stamp = directory / "stamp"
    wanted = fingerprint(extra)
    # One at a time. The lock is on this very file and ends with the process: none is left over.
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == wanted):
            version = "{}.{}".format(*sys.version_info)
            tell(f"Setting up {directory.name} with Python {version} (about a minute)...")
            make(directory, extra)
            stamp.write_text(wanted)


def fingerprint(extra: str) -> str:
    """Hash what the environment depends on: place, interpreter and dependencies."""
    project = (ROOT / "pyproject.toml").read_text().partition("\n[tool.")[0]
    pins = (ROOT / "constraints.txt").read_text()
    parts = [str(ROOT), sys.version, sys.base_prefix, extra, project, pins]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def make(directory: Path, extra: str) -> None:
    """Install the build backend first: a build in isolation would take its newest version."""
    venv.create(directory, clear=True, with_pip=True)
    install(directory, "hatchling", "editables")
    install(directory, "--no-build-isolation", "--editable", f"{ROOT}[{extra}]")


def install(directory: Path, *arguments: str) -> None:
    """Run pip, and show what it said only when it failed."""
    pip = [f"{directory}/bin/python", "-m", "pip", "--disable-pip-version-check", "install"]
    command = [*pip, "--constraint", f"{ROOT}/constraints.txt", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tell(done.stdout.decode(errors="replace"))
        tell(f"pip failed to install {arguments[-1]}; see above. The next run tries again.")
        sys.exit(1)


def tell(line: str) -> None:
    """Speak on stderr: stdout belongs to the command that needs the environment."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
