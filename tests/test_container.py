"""The seccomp profile for containers: it lets io_uring in, and is what does so."""

import ctypes.util
import json
import pathlib
import subprocess
import sys

import pytest

CONTAINER = pathlib.Path(__file__).parent.parent / "container"
PROFILE = CONTAINER / "seccomp.json"

pytestmark = pytest.mark.skipif(
    ctypes.util.find_library("seccomp") is None, reason="libseccomp, which applies the profile, is not installed"
)


def confined(profile, *command):
    return subprocess.run(
        [sys.executable, CONTAINER / "confine.py", profile, *command], capture_output=True, text=True, timeout=30
    )


def probe(profile):
    script = "import uringloop; found = uringloop.probe(); print(found.available, found.errno)"
    completed = confined(profile, sys.executable, "-c", script)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_io_uring_is_available_under_the_profile():
    assert probe(PROFILE) == "True 0\n"


def test_it_is_not_without_the_three_calls(tmp_path):
    profile = json.loads(PROFILE.read_text())
    added = profile["syscalls"].pop(0)
    assert added["names"] == ["io_uring_setup", "io_uring_enter", "io_uring_register"]
    default = tmp_path / "default.json"
    default.write_text(json.dumps(profile))
    assert probe(default) == "False 1\n"


def test_what_containers_may_not_do_is_refused():
    command = ["unshare", "--user", "true"]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("this machine refuses it to everybody")
    completed = confined(PROFILE, *command)
    assert completed.returncode != 0
    assert "not permitted" in completed.stderr
