"""Builds the C programs, and the certificate of the TLS servers: ``python -m perf.build``."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
SOURCES = HERE / "csrc"

FLAGS = ["-O2", "-Wall", "-Wextra", "-Wconversion"]


@dataclass(frozen=True, slots=True)
class Program:
    """What a program is made of: the names of its sources, and its libraries."""

    sources: tuple[str, ...]
    libraries: tuple[str, ...] = ()


LOAD = ("load", "options", "edge", "histogram", "pattern")
"""What all load generators have in common."""

PROGRAMS = {
    "load": Program((*LOAD, "streams", "plain")),
    "load-tls": Program((*LOAD, "streams", "tls"), ("-lssl", "-lcrypto")),
    "load-churn": Program((*LOAD, "churn")),
    "load-udp": Program((*LOAD, "datagrams")),
    "floor": Program(("floor", "ring"), ("-luring",)),
    "floor-udp": Program(("floor_udp", "ring"), ("-luring",)),
}


def build(name: str) -> Path:
    """Return the program, compiled anew if any source or this recipe changed."""
    program, recipe = OUT / name, PROGRAMS[name]
    inputs = [*SOURCES.iterdir(), Path(__file__)]
    changed = max(path.stat().st_mtime for path in inputs)
    if not program.exists() or program.stat().st_mtime < changed:
        OUT.mkdir(exist_ok=True)
        sources = [str(SOURCES / f"{source}.c") for source in recipe.sources]
        subprocess.run(["cc", *FLAGS, "-o", str(program), *sources, *recipe.libraries], check=True)
    return program


def certificate() -> Path:
    """Return a file with a key and the certificate of it that it signed itself."""
    file = OUT / "certificate.pem"
    if not file.exists():
        OUT.mkdir(exist_ok=True)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = ["-subj", "/CN=localhost", "-days", "3650"]
        both = ["-keyout", str(file), "-out", str(file)]
        subprocess.run(["openssl", "req", "-x509", *key, *names, *both], check=True, capture_output=True)
    return file


def main() -> None:
    """Build all of them."""
    for name in PROGRAMS:
        print(build(name))
    print(certificate())


if __name__ == "__main__":
    main()
