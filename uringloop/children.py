"""A child process, by its pidfd: noticed when it ends, reaped, signalled.

A pidfd names one process for ever. So there is no handler of SIGCHLD and no thread, loops in several threads do not
meet, and no signal goes to a stranger that has got the number of a child that is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

from .operations.poll import READABLE, Poll
from .reporting import logger

if TYPE_CHECKING:
    from .watchers import Watchers

_UNKNOWN = 255
"""The return code, as asyncio has it, of a child whose status somebody else has fetched."""


class Child:
    """A child that runs, until it is reaped."""

    def __init__(self, loop: Watchers, process: subprocess.Popen[bytes], ended: Callable[[int], object]) -> None:
        """Watch the process; `ended` is called with its return code, Popen's.

        Raises OSError if there is no descriptor left for a pidfd.
        """
        self._process = process
        self._ended = ended
        self._pidfd = -1
        self._poll: Poll | None = None
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:  # it has ended, and with SIGCHLD ignored the kernel keeps no status
            loop.call_soon(lambda: ended(self._status_lost()))
            return
        self._poll = Poll(loop._proactor, self._pidfd, READABLE, self._reap)
        self._poll.start()

    def send_signal(self, number: int) -> None:
        """Send a signal; does nothing if the child has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):  # reaped by somebody else; _reap() is about to find out
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the child is one that we may not signal, having taken another user's rights."""
        with contextlib.suppress(PermissionError):
            self.send_signal(signal.SIGKILL)

    def release(self) -> None:
        """Watch the child no longer, and close the pidfd."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.stop()
            os.close(self._pidfd)
            self._pidfd = -1

    def _reap(self) -> None:
        try:
            status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            code = self._status_lost()
        else:
            if status is None:
                return
            code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        self._process.returncode = code
        self.release()
        self._ended(code)

    def _status_lost(self) -> int:
        """Return what Popen knows of the child that is no child any more: its user may have called wait()."""
        if self._process.returncode is None:
            logger.warning("Child process %d: its exit status was read elsewhere, taken for 255", self._process.pid)
            self._process.returncode = _UNKNOWN
        return self._process.returncode
