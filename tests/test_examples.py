"""The programs under examples/ do what they say."""

import datetime
import os
import pathlib
import signal
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def start(name):
    command = [sys.executable, "-W", "error", "-u", str(EXAMPLES / f"{name}.py")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(name):
    with start(name) as process:
        printed, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    assert not complaints
    return printed.splitlines()


def test_hello_world():
    assert output("hello_world") == ["Hello World"]


def test_display_date():
    dates = [datetime.datetime.fromisoformat(line) for line in output("display_date")]
    assert 2 <= len(dates) <= 5  # fewer than five if the machine stood still meanwhile


def test_watch_descriptor():
    assert output("watch_descriptor") == ["Received: abc"]


def test_streams():
    assert output("streams") == ["Send: Hello", "Received: Hello", "Send: World", "Received: World"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals(name):
    with start("signals") as process:
        assert process.stdout.readline().startswith("Press Ctrl-C")
        os.kill(process.pid, getattr(signal, name))
        printed, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    assert printed == f"got signal {name}: exit\n"


def test_all_examples_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "hello_world", "display_date", "watch_descriptor", "streams", "signals",
    }  # fmt: skip
