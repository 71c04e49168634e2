"""The sending side of a datagram transport.

Rules of this file:
- A datagram goes by a system call at once: that costs 2.8 us, and a send operation 3.4, 32 of them submitted
  together, without even an address to keep. By sendto(2) from C it costs the same: 2.5 are the kernel's. Only the
  wait for room is an operation.
- Datagrams that found no room wait in the order they came, and those that come meanwhile behind them.
- An unconnected Unix socket is always ready to be written to, even while the receiver's queue is full. So after a
  wait that was of no use there is a delay, where asyncio's loop would try again in every turn.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from ..operations.poll import WRITABLE, Poll
from .flow import FlowControl

if TYPE_CHECKING:
    from .datagram import DatagramTransport

# What a datagram that waits counts for, beside its bytes; as with this version's asyncio.
_HEADER_SIZE = 8 if sys.version_info >= (3, 13) else 0

_FIRST_DELAY = 0.0001  # seconds
_LONGEST_DELAY = 0.01


class DatagramWriter(FlowControl):
    """The sends of a datagram transport, and what waits to be sent."""

    _transport: DatagramTransport

    def __init__(self, transport: DatagramTransport, sock: socket.socket, peer: Any) -> None:
        """`peer` is the address that the socket is connected to: None if it is not, empty if that has no name."""
        super().__init__(transport)
        self._sock = sock
        self._connected = peer is not None
        self._peer_is_nameless = self._connected and not peer
        self._waiting: deque[tuple[bytes, Any]] = deque()
        self._wait: Poll | None = None  # for room
        self._delay = 0.0  # seconds; not 0 after a wait that was of no use
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def send(self, data: bytes, address: Any) -> None:
        """Send a datagram, now or when it is its turn.

        An error of the socket's is told to the protocol, whose own exceptions are the caller's.
        """
        if not self._waiting:
            try:
                if self._send(data, address):
                    return
            except OSError as error:
                self._transport._protocol.error_received(error)
                return
        if self._transport._lost:  # the socket will be closed before there is room
            return
        self._waiting.append((data, address))
        self.size += len(data) + _HEADER_SIZE
        if self._wait is None and self._timer is None:
            self._wait_for_room()
        self._pause_protocol_if_full()

    def drop(self) -> None:
        """Forget what was not sent."""
        self._waiting.clear()
        self.size = 0
        self._end_wait()

    def _send(self, data: bytes, address: Any) -> bool:
        """Send a datagram; return False if there is no room for it now."""
        try:
            if self._connected and (address is None or not self._peer_is_nameless):
                self._sock.send(data)
            else:
                self._sock.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._transport._fatal_error(error, "Fatal write error on datagram transport")
        return True

    def _room(self) -> None:
        sent = self._send_waiting()
        if self._protocol_paused and self.size <= self.low:
            self._resume_protocol()
        if not self._waiting:
            self._delay = 0.0
            self._end_wait()
            if self._transport._closing and not self._transport._lost:
                self._transport._finish(None)
        elif sent:
            self._delay = 0.0
        else:
            self._end_wait()
            self._delay = min(2 * self._delay or _FIRST_DELAY, _LONGEST_DELAY)
            self._timer = self._transport._loop.call_later(self._delay, self._wait_for_room)

    def _send_waiting(self) -> bool:
        """Send as much of what waits as there is room for; return whether that was anything."""
        sent = False
        while self._waiting:
            data, address = self._waiting.popleft()
            size = len(data) + _HEADER_SIZE
            self.size -= size
            try:
                if not self._send(data, address):
                    self._waiting.appendleft((data, address))
                    self.size += size
                    break
            except OSError as error:
                self._transport._tell_error(error)
            sent = True
        return sent

    def _wait_for_room(self) -> None:
        self._timer = None
        self._wait = Poll(self._transport._proactor, self._sock.fileno(), WRITABLE, self._room)
        self._wait.start()

    def _end_wait(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.stop()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
