"""Scripts run in a process of their own: for signals, limits and exit statuses."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

from support.kinds import Kind

_PRELUDE = """\
import asyncio, os, signal, socket, sys, threading, time
import {module}

def new_event_loop():
    loop = {module}.{factory}()
    loop.slow_callback_duration = 1000
    return loop

def say(*words):
    print(*words, flush=True)

"""


@contextlib.contextmanager
def child(kind: Kind, script: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script that finds ``new_event_loop`` and ``say`` ready for use.

    Its loops do not say in debug mode that a callback took long, as it may on a loaded machine.
    """
    prelude = _PRELUDE.format(module=kind.module, factory=kind.factory)
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
        PYTHONASYNCIODEBUG="1" if kind.debug else "",
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(kind: Kind, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    with child(kind, script) as process:
        out, err = process.communicate()
        return subprocess.CompletedProcess([], process.returncode, out, err)
