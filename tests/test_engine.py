"""The C engine by itself: its compiler warns of nothing, and it stands what a program asks of it at random."""

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parent / "uringloop" / "csrc"
SOURCES = sorted(CSRC.glob("*.c"))
DRIVER = sorted((HERE / "engine").glob("*.c"))
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def compile_c(*arguments):
    flags = {
        kind: subprocess.run(["pkg-config", f"--{kind}", "liburing"], capture_output=True, text=True, check=True)
        for kind in ("cflags", "libs")
    }
    cflags, libs = (flags[kind].stdout.split() for kind in ("cflags", "libs"))
    command = ["cc", f"-I{CSRC}", *cflags, *map(str, arguments), *libs, "-lm", "-lpthread"]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory):
    """Skip without them. A program that does nothing tells, since only they can fail it."""
    program = tmp_path_factory.mktemp("sanitizers") / "nothing"
    command = ["cc", *SANITIZED, "-x", "c", "-", "-o", program]
    completed = subprocess.run(command, input="int main(void) { return 0; }", capture_output=True, text=True)
    if completed.returncode != 0:
        pytest.skip(f"the compiler has no sanitizers: {completed.stderr}")


@pytest.mark.parametrize("source", [*SOURCES, *DRIVER], ids=lambda path: path.name)
def test_the_compiler_has_nothing_to_warn_of(source, tmp_path):
    compile_c(*STRICT, "-O2", "-c", source, "-o", tmp_path / "object.o")


@pytest.mark.timeout(180)  # it is compiled first, and the driver gives up by itself after a minute and a half
def test_whatever_is_asked_of_it_nothing_is_lost(tmp_path, sanitizers):
    """For URINGLOOP_TESTS_DRIVE seconds, if not 3, under the sanitizers. A failure names the seed to repeat."""
    program = tmp_path / "drive"
    compile_c(*SANITIZED, *DRIVER, *SOURCES, "-o", program)
    seed = str(random.randrange(1_000_000))
    seconds = os.environ.get("URINGLOOP_TESTS_DRIVE", "3")
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    environment.pop("LD_PRELOAD", None)
    driven = subprocess.run([program, seed, seconds], env=environment, capture_output=True, text=True)
    assert driven.returncode == 0, driven.stderr
    print(driven.stdout)


def test_the_driver_asks_for_everything_that_the_engine_offers():
    declared = set(re.findall(r"\b(ul_\w+)\(", (CSRC / "api.h").read_text()))
    driven = (HERE / "engine" / "drive.c").read_text()
    assert "ul_turn" in declared
    assert {name for name in declared if f"{name}(" not in driven} == set()
