"""The transport of a child process: its pipes, its signals and its end, told to one protocol.

Rules of this file:
- connection_made() comes first: it is scheduled before anything that could tell more.
- Data goes to the protocol at once; what happens only once goes by call_soon(), in the order in which it happened.
- connection_lost() comes last: when the process has ended and all its pipes are closed.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import subprocess
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..children import Child
from ..reporting import logger
from .base import wake
from .read_pipe import ReadPipeTransport
from .write_pipe import WritePipeTransport

if TYPE_CHECKING:
    from ..sockets import Sockets


class _PipeProtocol(asyncio.Protocol):
    """Hands on to the process's protocol what comes from one of its pipes."""

    def __init__(self, process: ProcessTransport, fd: int) -> None:
        self._process = process
        self._fd = fd

    def data_received(self, data: bytes) -> None:
        self._process._protocol.pipe_data_received(self._fd, data)

    def pause_writing(self) -> None:
        self._process._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._process._protocol.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._process._pipe_lost(self._fd, exc)


class ProcessTransport(asyncio.SubprocessTransport):
    """A child process; see the Python documentation of asyncio.SubprocessTransport."""

    def __init__(
        self,
        loop: Sockets,
        process: subprocess.Popen[bytes],
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None],
    ) -> None:
        """Take over a process that was started; `waiter` is set when the protocol has been told.

        Raises OSError without a descriptor for a pidfd; the process is the caller's, then.
        """
        super().__init__({"subprocess": process})
        self._loop = loop
        self._protocol: Any = protocol
        self._context = contextvars.copy_context()
        self._pid = process.pid
        self._returncode: int | None = None
        self._exit_waiters: list[asyncio.Future[int]] = []
        self._child = Child(loop, process, self._exited)
        self._closing = False
        self._call("connection_made", self)
        self._pipes: dict[int, ReadPipeTransport | WritePipeTransport] = {}
        if process.stdin is not None:
            self._pipes[0] = WritePipeTransport(loop, process.stdin, _PipeProtocol(self, 0))
        if process.stdout is not None:
            self._pipes[1] = ReadPipeTransport(loop, process.stdout, _PipeProtocol(self, 1))
        if process.stderr is not None:
            self._pipes[2] = ReadPipeTransport(loop, process.stderr, _PipeProtocol(self, 2))
        self._open_pipes = set(self._pipes)
        loop.call_soon(wake, waiter)

    def __repr__(self) -> str:
        state = "running" if self._returncode is None else f"returncode={self._returncode}"
        names = ("stdin", "stdout", "stderr")
        pipes = "".join(f" {names[fd]}={pipe!r}" for fd, pipe in self._pipes.items())
        return f"<{type(self).__name__} pid={self._pid} {state}{pipes}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if not getattr(self, "_closing", True):
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._child.kill()
            self._child.release()

    def get_pid(self) -> int:
        """Return the process's number."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Return the exit code, minus the number of the signal that ended the process, or None if it runs."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> ReadPipeTransport | WritePipeTransport | None:
        """Return the transport of the pipe to stdin (0), from stdout (1) or from stderr (2), or None."""
        return self._pipes.get(fd)

    def send_signal(self, signal: int) -> None:
        """Send a signal, unless the process has ended. Raises ProcessLookupError after connection_lost()."""
        if self._protocol is None:
            raise ProcessLookupError
        self._child.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM; see send_signal()."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; see send_signal()."""
        self.send_signal(signal.SIGKILL)

    def is_closing(self) -> bool:
        """Tell whether the transport is closing or closed."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Make another protocol be told from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def close(self) -> None:
        """Kill the process if it runs, and close the pipes."""
        if self._closing:
            return
        self._closing = True
        if self._returncode is None:
            if self._loop.get_debug():
                logger.warning("Close running child process: kill %r", self)
            self._child.kill()
        if self._loop.is_closed():  # it tells of nothing any more, and the pipes are closed when they are dropped
            self._child.release()
            return
        for pipe in self._pipes.values():
            pipe.close()

    async def _wait(self) -> int:
        """Wait until the process has ended; return its return code. asyncio.subprocess.Process calls this."""
        if self._returncode is not None:
            return self._returncode
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._exit_waiters.append(waiter)
        return await waiter

    def _exited(self, returncode: int) -> None:
        self._returncode = returncode
        if self._loop.get_debug():
            logger.info("%r exited with return code %r", self, returncode)
        self._call("process_exited")
        self._finish_if_over()  # first: for who waited, a process that is all over gets no signals any more
        for waiter in self._exit_waiters:
            if not waiter.done():
                waiter.set_result(returncode)
        self._exit_waiters.clear()

    def _pipe_lost(self, fd: int, error: BaseException | None) -> None:
        self._call("pipe_connection_lost", fd, error)
        self._open_pipes.remove(fd)
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        if self._returncode is not None and not self._open_pipes:
            self._loop.call_soon(self._connection_lost, context=self._context)

    def _connection_lost(self) -> None:
        self._closing = True
        try:
            self._protocol.connection_lost(None)
        finally:
            self._protocol = None
            del self._child  # a reference cycle

    def _call(self, name: str, *args: object) -> None:
        self._loop.call_soon(getattr(self._protocol, name), *args, context=self._context)
