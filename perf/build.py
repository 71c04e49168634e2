"""Builds the C programs: ``python -m perf.build``."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"

LIBRARIES = {"load": [], "floor": ["-luring"]}
"""The programs, and what each is linked with."""


def build(name: str) -> Path:
    """Return the program, compiled anew if its source or this recipe changed."""
    source, program = HERE / f"{name}.c", OUT / name
    changed = max(source.stat().st_mtime, Path(__file__).stat().st_mtime)
    if not program.exists() or program.stat().st_mtime < changed:
        OUT.mkdir(exist_ok=True)
        flags = ["-O2", "-Wall", "-Wextra"]
        command = ["cc", *flags, "-o", str(program), str(source), *LIBRARIES[name]]
        subprocess.run(command, check=True)
    return program


def main() -> None:
    """Build all of them."""
    for name in LIBRARIES:
        print(build(name))


if __name__ == "__main__":
    main()
