"""Compile uringloop/csrc into the extension module uringloop._engine.

Run by setuptools; `python build_ffi.py` builds in place, for development.
"""

import subprocess
import tempfile
from pathlib import Path

import cffi

CSRC = Path("uringloop/csrc")
SOURCES = [str(CSRC / f"{name}.c") for name in ("setup", "buffers", "stage", "turn", "datagrams")]
OLDEST_LIBURING = "2.3"
# A function that the headers do not declare must fail here and now, not when the module is imported.
COMPILE = ["-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"]

HELP = f"""
uringloop's engine is C over liburing {OLDEST_LIBURING} or later. To build it, install the tools and headers:
    Debian, Ubuntu:  apt-get install gcc pkg-config liburing-dev
    Fedora:          dnf install gcc pkgconf-pkg-config liburing-devel
    Alpine:          apk add gcc musl-dev linux-headers pkgconf liburing-dev"""


def run(*command: str) -> str:
    """Return what the command prints; end the build with the cause and the cure if it fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed.\n{HELP}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.stderr.strip()}\n{HELP}") from None


def check_links(cflags: list[str], libs: list[str]) -> None:
    """Link the sources alone, with nothing left open.

    An extension module may have open symbols (the interpreter's), so its own link would let a function pass
    that liburing's headers declare and the library does not export.
    """
    with tempfile.TemporaryDirectory() as folder:
        run("cc", "-shared", "-fPIC", *cflags, *SOURCES, *libs, "-Wl,--no-undefined", "-o", f"{folder}/engine.so")


def ffibuilder() -> cffi.FFI:
    """Describe the extension module to cffi; setup.py names this function."""
    package = f"liburing >= {OLDEST_LIBURING}"
    cflags = [*run("pkg-config", "--cflags", package).split(), *COMPILE]
    libs = [*run("pkg-config", "--libs", package).split(), "-lm"]
    check_links(cflags, libs)
    ffi = cffi.FFI()
    ffi.cdef((CSRC / "api.h").read_text())
    ffi.set_source(
        "uringloop._engine",
        '#include "engine.h"',
        sources=SOURCES,
        depends=[str(CSRC / "api.h"), str(CSRC / "engine.h")],
        include_dirs=[str(CSRC)],
        extra_compile_args=cflags,
        extra_link_args=libs,
    )
    return ffi


if __name__ == "__main__":
    ffibuilder().compile(verbose=True)
