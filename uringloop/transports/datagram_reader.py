"""The receiving side of a datagram transport: a poll, then a batch received by one system call.

A datagram of a batch costs 0.7 us to receive, and 1.2 by a call of its own; that nothing more is there is seen from
fewer having come than there was room for. Before there were batches, multishot RECVMSG into pool buffers was tried.
Of the 5 us that an echoed datagram costs it saves 0.3, or 1 if there is one in a turn; but where datagrams come
while the loop is busy it costs 2 more, since it is woken for each. And it takes none larger than a pool buffer.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .._engine import ffi, lib
from ..operations import addresses
from ..operations.base import os_error
from ..operations.poll import READABLE, Poll

if TYPE_CHECKING:
    from .datagram import DatagramTransport

_LARGEST_DATAGRAM = 256 * 1024  # bytes, as with asyncio; what is beyond is cut off
_LARGEST_BATCH = 32  # datagrams received in one turn, so that others have theirs
_LARGE = 8 * 1024  # bytes of a datagram of which a batch would not stay in the processor's cache

Datagram = tuple[bytes, Any]
"""What it carries, and where it came from."""


class DatagramReader:
    """Receives datagrams in batches: of one, if they are large or if only the socket module knows their addresses.

    What has been received when reading is paused, or when a callback ends the loop, is held until it is wanted. It
    is held, too, while what the protocol has scheduled at a datagram is still to run: as with asyncio's loop, a
    task that waits for one datagram can ask for the next before that comes. If it has stopped the loop, what
    follows is left for the next run.
    """

    def __init__(self, transport: DatagramTransport, sock: socket.socket) -> None:
        self._transport = transport
        self._sock = sock
        self._engine = transport._proactor.ring.engine
        memory = lib.ul_batch_memory(self._engine)  # of the loop: a batch is copied before it is delivered
        if memory == ffi.NULL:
            raise MemoryError
        self._memory = ffi.buffer(memory, lib.ul_batch_size())
        self._places = lib.ul_batch_places(self._engine)
        self._decodes = sock.family in addresses.FAMILIES
        self._are_large = False
        self._receiving = False
        self._poll: Poll | None = None  # while receiving, but for the time that something is held
        self._held: list[Datagram] = []
        self._goes_on = False  # delivers, or will soon go on

    def start(self) -> None:
        """Begin to receive, or go on."""
        if not self._receiving:
            self._receiving = True
            if self._held or self._goes_on:
                self._go_on_soon()
            else:
                self._start_poll()

    def stop(self) -> None:
        """Deliver nothing until start(); what arrives stays with the kernel as far as it has room."""
        self._receiving = False
        self._stop_poll()

    def _start_poll(self) -> None:
        self._poll = Poll(self._transport._proactor, self._sock.fileno(), READABLE, self._receive)
        self._poll.start()

    def _stop_poll(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.stop()

    def _receive(self) -> None:
        """Receive a batch, or an error."""
        left = _LARGEST_BATCH
        while left and self._poll is not None:
            most = left if self._decodes and not self._are_large else 1
            try:
                datagrams = self._receive_some(most)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._transport._tell_error(error)
                return
            if not datagrams:
                return
            left -= len(datagrams)
            self._are_large = len(datagrams[0][0]) > _LARGE
            if self._deliver(iter(datagrams)) or most > 1:  # what else may be there is found in the next turn
                return

    def _receive_some(self, most: int) -> list[Datagram]:
        if not self._decodes:
            size, address = self._sock.recvfrom_into(self._memory, _LARGEST_DATAGRAM)
            return [(self._memory[:size], address)]
        count = lib.ul_receive_batch(self._engine, self._sock.fileno(), most)
        if count < 0:
            if count == -errno.EAGAIN:  # so often, with large ones, that an exception would be too much
                return []
            raise os_error(count)
        memory, known = self._memory, addresses.known
        places = iter(ffi.unpack(self._places, 4 * count))
        return [
            (memory[start:stop], known[memory[name:name_stop]])
            for start, stop, name, name_stop in zip(places, places, places, places)
        ]

    def _go_on_soon(self) -> None:
        self._stop_poll()  # it would be answered in each turn, for nothing
        if not self._goes_on:
            self._goes_on = True
            self._transport._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Deliver what is held, or else receive again."""
        self._goes_on = False
        if not self._receiving:
            return
        held, self._held = self._held, []
        if held:
            self._deliver(iter(held))
        else:
            self._start_poll()

    def _deliver(self, datagrams: Iterator[Datagram]) -> bool:
        """Deliver until the protocol pauses, schedules something or stops the loop; tell of these two."""
        transport = self._transport
        loop = transport._loop
        run = transport._context.run
        ready = loop._ready
        scheduled = len(ready)
        stopping = loop._stopping
        has_to_wait = False
        self._goes_on = True
        try:
            for data, address in datagrams:
                try:
                    run(transport._protocol.datagram_received, data, address)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # it costs the protocol this datagram, as with asyncio
                    transport._report(error, "Error: protocol.datagram_received() call failed.")
                has_to_wait = len(ready) != scheduled or loop._stopping is not stopping
                if has_to_wait or not self._receiving:
                    break
            return has_to_wait
        finally:
            self._held = list(datagrams)
            self._goes_on = False
            if self._receiving and (self._held or self._poll is None):
                self._go_on_soon()
