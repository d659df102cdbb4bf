"""Where the peers are installed: a virtual environment each, in the user's cache folder."""

import os
import subprocess
import sys
import venv
from pathlib import Path


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "graftwork" / "peers"


def program(package: str, name: str) -> str:
    """The program `name` of a package `NAME==VERSION`, installed where it is not yet.

    A newer release takes its place, with a word about it, where this one cannot be had.
    """
    folder = cache() / package.replace("==", "-")
    mark = folder / "installed"
    if not mark.exists():
        print(f"installing {package} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        if subprocess.run([*pip, package]).returncode != 0:
            print(f"{package} cannot be installed; taking the newest release", file=sys.stderr)
            subprocess.run([*pip, package.partition("==")[0]], check=True)
        mark.touch()
    return str(folder / "bin" / name)


def version(package: str) -> str:
    """The version that is really there."""
    python = program(package, "python")
    name = package.partition("==")[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
