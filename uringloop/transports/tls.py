"""TLS over a transport: asyncio's implementation, with what it gets wrong put right."""

from __future__ import annotations

import asyncio
import ssl

from ..borrowed import SSLProtocol, SSLProtocolState

_READABLE = (SSLProtocolState.WRAPPED, SSLProtocolState.FLUSHING)


class TLSProtocol(SSLProtocol):  # type: ignore[misc]
    """asyncio's, but for some things.

    asyncio reads the second record, and those that follow, into a slice of a BufferedProtocol's buffer, which for a
    bytearray is a copy: they are lost. And it puts off what one buffer does not hold, which is lost if the stream
    ends meanwhile.

    When a stream ends while reading is paused, asyncio flushes what the protocol has yet to get, and shuts down,
    when reading goes on: even if the protocol has closed and will not, and even if it pauses again before it has
    all. And a protocol that aborts when it is given what is flushed makes close() fail.

    Until some 3.14, it gives up no more on a peer that has said that it closes, but does not read what is left.

    It also takes for a mistake that the transport, which had paused the protocol before start_tls(), resumes it.
    """

    _shutdown_timeout_handle: asyncio.TimerHandle | None

    def resume_writing(self) -> None:
        """Go on to send; or let the protocol go on, if that is who was paused."""
        if self._ssl_writing_paused:
            super().resume_writing()
        else:
            self._app_protocol.resume_writing()

    def eof_received(self) -> bool:
        """Flush, and shut down; keep open while a protocol that has paused reading has yet to get something."""
        super().eof_received()
        return bool(self._state == SSLProtocolState.FLUSHING)

    def _start_shutdown(self) -> None:
        """Close; if the stream has ended, without what a protocol that has paused reading did not get."""
        if self._state == SSLProtocolState.FLUSHING:
            self._app_transport._closed = True
            if self._app_reading_paused:
                self._do_flush()
        else:
            super()._start_shutdown()

    def _do_flush(self) -> None:
        """Give the protocol what it has yet to get, and shut down; unless it aborts, or pauses without closing."""
        self._do_read()
        if self._state != SSLProtocolState.FLUSHING:
            return
        if not self._app_reading_paused or self._app_transport.is_closing():
            self._set_state(SSLProtocolState.SHUTDOWN)
            self._do_shutdown()

    def _on_shutdown_complete(self, shutdown_exc: BaseException | None) -> None:
        """Close when everything is sent, for which the peer has as much time as it had to answer."""
        super()._on_shutdown_complete(shutdown_exc)
        if shutdown_exc is None and self._shutdown_timeout_handle is None:
            self._shutdown_timeout_handle = self._loop.call_later(
                self._ssl_shutdown_timeout, self._check_shutdown_timeout
            )

    def _do_read__buffered(self) -> None:
        """Read all that has come, one buffer after the other."""
        while True:
            with memoryview(self._app_protocol_get_buffer(self._get_read_buffer_size())) as lent:
                size = lent.nbytes
                count, ended = self._fill(lent.cast("B"))
            if count:
                self._app_protocol_buffer_updated(count)
            if ended:
                self._call_eof_received()
                self._start_shutdown()
            if ended or count < size or self._app_reading_paused or self._state not in _READABLE:
                return
            if not self._app_protocol_is_buffer:
                self._do_read__copied()
                return

    def _fill(self, view: memoryview) -> tuple[int, bool]:
        """Read what has come, or fits; return how many bytes, and whether they are the last."""
        if not view:
            raise RuntimeError("get_buffer() returned an empty buffer")
        filled = 0
        try:
            while filled < len(view):
                count = self._sslobj.read(len(view) - filled, view[filled:])
                if not count:
                    return filled, True  # a close_notify
                filled += count
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass
        return filled, False
