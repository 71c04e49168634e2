"""TLS over a transport: asyncio's implementation, with what it gets wrong put right."""

from __future__ import annotations

import ssl

from ..borrowed import SSLProtocol, SSLProtocolState

_READABLE = (SSLProtocolState.WRAPPED, SSLProtocolState.FLUSHING)


class TLSProtocol(SSLProtocol):  # type: ignore[misc]
    """asyncio's, but for two things.

    asyncio reads the second record, and those that follow, into a slice of a BufferedProtocol's buffer, which for a
    bytearray is a copy: they are lost. And it puts off what one buffer does not hold, which is lost if the stream
    ends meanwhile.

    It also takes for a mistake that the transport, which had paused the protocol before start_tls(), resumes it.
    """

    def resume_writing(self) -> None:
        """Go on to send; or let the protocol go on, if that is who was paused."""
        if self._ssl_writing_paused:
            super().resume_writing()
        else:
            self._app_protocol.resume_writing()

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
