"""Makes the peers' own environment: python benchmarks/peers/environment.py.

Ultralytics is under the AGPL, so it never comes into the product's environment: it lives in benchmarks/.peers-venv,
made by ``uv`` from requirements.txt beside this file, and is run as a program of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / ".peers-venv"
PYTHON = FOLDER / "bin" / "python"
REQUIREMENTS = HERE / "requirements.txt"
_STAMP = FOLDER / "requirements.txt"


def peers_python() -> Path | None:
    """Python of the peers' environment, made or renewed where it isn't as required; None where ``uv`` is missing.

    Raises:
        subprocess.CalledProcessError: the packages can't be installed; uv has said why.
    """
    if _STAMP.is_file() and _STAMP.read_text() == REQUIREMENTS.read_text():
        return PYTHON
    uv = find_uv()
    if uv is None:
        return None
    if not PYTHON.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(FOLDER)], check=True)
    command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), "-r", str(REQUIREMENTS)]
    subprocess.run(command, check=True)
    shutil.copy(REQUIREMENTS, _STAMP)
    return PYTHON


def find_uv() -> str | None:
    """The program uv, on the path or beside this interpreter."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def main() -> int:
    """Exit status."""
    try:
        python = peers_python()
    except subprocess.CalledProcessError:
        print(f"error: the packages of {REQUIREMENTS} can't be installed; see above.", file=sys.stderr)
        return 1
    if python is None:
        print("error: uv is not installed. Install it with: pip install uv", file=sys.stderr)
        return 1
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
