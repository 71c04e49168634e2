"""CPython's own asyncio tests, run on our loop: each module of them in a process of its own; see cpython/."""

import os
import pathlib
import subprocess
import sys

import pytest
from cpython import modules

import uringloop

LIMIT = 300.0
"""Seconds that a module may take."""

SHIPPED = modules.shipped()
MISSING = (
    f"This Python comes without its tests ({modules.PACKAGE}); Debian has them in the package "
    f"libpython{sys.version_info.major}.{sys.version_info.minor}-testsuite."
)


@pytest.mark.skipif(SHIPPED is None, reason=MISSING)
def test_that_all_modules_are_known() -> None:
    """A new Python's new tests are either run or left out for a reason."""
    assert not (SHIPPED or set()) - set(modules.RUN) - set(modules.NOT_RUN)


@pytest.mark.timeout(LIMIT + 30)
@pytest.mark.parametrize("module", modules.RUN)
def test_module(module: str, tmp_path: pathlib.Path) -> None:
    if SHIPPED is None:
        pytest.skip(MISSING)
    if module not in SHIPPED:
        pytest.skip(f"Python {sys.version_info.major}.{sys.version_info.minor} has no {module}")
    status, output = _run(module, tmp_path)
    if status:
        pytest.fail(f"python -m cpython {module}: status {status}\n{output}", pytrace=False)


@pytest.mark.parametrize("missing", ["test", modules.PACKAGE])
def test_without_cpythons_tests_all_is_skipped_and_the_reason_said(missing: str) -> None:
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-k", "test_module or test_that_all_modules_are_known"]
    script = f"""
import sys
import pytest
sys.modules[{missing!r}] = None  # makes the import fail
sys.exit(pytest.main({[*options, __file__]!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(modules.RUN) + 1} skipped" in done.stdout
    assert done.stdout.count(MISSING) == 2  # once for each of the two tests


def _run(module: str, folder: pathlib.Path) -> tuple[int | str, str]:
    """Return how the process ended, and what it printed."""
    roots = [pathlib.Path(__file__).parent, pathlib.Path(uringloop.__file__).parents[1]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, roots))}
    output = folder / "output"
    with output.open("w") as file:
        try:
            status: int | str = subprocess.run(
                [sys.executable, "-m", "cpython", module],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                timeout=LIMIT, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            status = f"still running after {LIMIT:.0f} seconds"
    return status, output.read_text(errors="replace")
