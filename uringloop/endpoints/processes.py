"""Child processes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from typing import Any

from ..reporting import logger
from ..transports.process import ProcessTransport
from .pipes import Pipes

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Started = tuple[ProcessTransport, asyncio.BaseProtocol]

_NAMES = {subprocess.PIPE: "<pipe>", subprocess.STDOUT: "<stdout>", subprocess.DEVNULL: "<devnull>"}


class Processes(Pipes):
    """The child process API of the event loop."""

    async def subprocess_exec(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> Started:
        """Run a program; see the Python documentation of loop.subprocess_exec. Further arguments are Popen's.

        Raises ValueError for those of text mode and buffering, and what Popen raises if the program does not start.
        """
        _check_binary(universal_newlines, bufsize, text, encoding, errors)
        if shell:
            raise ValueError("shell must be False")
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        return await self._start_process(
            f"execute program {program!r}", protocol_factory, (program, *args), shell=False, **streams, **kwargs
        )

    async def subprocess_shell(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        cmd: str | bytes,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> Started:
        """Run a command in the shell; see loop.subprocess_shell. Otherwise as subprocess_exec()."""
        if not isinstance(cmd, (bytes, str)):
            raise ValueError("cmd must be a string")
        _check_binary(universal_newlines, bufsize, text, encoding, errors)
        if not shell:
            raise ValueError("shell must be True")
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        return await self._start_process(
            f"run shell command {cmd!r}", protocol_factory, cmd, shell=True, **streams, **kwargs
        )

    async def _start_process(
        self, purpose: str, protocol_factory: ProtocolFactory, args: Any, **options: Any
    ) -> Started:
        protocol = protocol_factory()
        if self._debug:
            streams = [_NAMES.get(options[name], options[name]) for name in ("stdin", "stdout", "stderr")]
            # Without the arguments, which may hold secrets.
            logger.debug("%s stdin=%s stdout=%s stderr=%s", purpose, *streams)
        process = subprocess.Popen(args, bufsize=0, **options)
        waiter = self.create_future()
        try:
            transport = ProcessTransport(self, process, protocol, waiter)
        except BaseException:
            with process:  # which closes its pipes and waits for it
                process.kill()
            raise
        try:
            await waiter
        except asyncio.CancelledError:
            transport.close()
            await transport._wait()
            raise
        if self._debug:
            logger.info("%s: %r", purpose, transport)
        return transport, protocol


def _check_binary(
    universal_newlines: bool, bufsize: int, text: bool | None, encoding: str | None, errors: str | None
) -> None:
    """Raise ValueError for what would make the pipes anything but unbuffered streams of bytes."""
    if universal_newlines:
        raise ValueError("universal_newlines must be False")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False")
    if encoding is not None:
        raise ValueError("encoding must be None")
    if errors is not None:
        raise ValueError("errors must be None")
