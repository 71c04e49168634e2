"""The engine's Python face: set-up, features, the wait.

A ring belongs to one thread, and the kernel holds us to it. It is made disabled, in any thread, and adopted by
the thread that runs the loop; when another thread runs the loop later, the ring is built anew there.
"""

import errno
import functools
import os
import socket
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ._engine import ffi, lib
from .features import Features
from .unavailable import unavailable

if TYPE_CHECKING:
    from cffi import FFI

# Entries of the submission and the completion queue. On kernels that charge rings against RLIMIT_MEMLOCK the
# first does not always fit: 36, 18, 9 and 4 KiB. More entries bring nothing: what does not fit is staged.
SIZES = ((256, 1024), (128, 512), (64, 256), (16, 64))

# A larger pool is slower, because the kernel walks through all of it: 8,192 buffers of 4 KiB cost a third more
# than 128. Large buffers cost nothing while messages are small, since only what is written becomes resident.
POOL_BUFFERS = 128
POOL_BUFFER_SIZE = 64 * 1024

_FEATURE_NO_IOWAIT = 1 << 17
_FEATURE_REGISTERED_RING = 1 << 13  # Linux 6.3
_OPCODE_FIXED_FD_INSTALL = 54  # came with Linux 6.8, as the fairness of multishot receives did

Event = tuple[int, int, int]
"""A completion: key, result, flags."""

Arrival = tuple[int, int, int]
"""The completion of a receive that goes on: key, where the bytes begin in the pool, where they end."""

Harvest = tuple[Iterator[Arrival], Iterator[Event]]
"""The completions of a turn. The arrivals of an operation come before its other completions."""

_NOTHING: Iterator[tuple[int, int, int]] = iter(())
_NO_FLAGS = (0,)
_UNKNOWN_FLAGS = (-1,)


class Ring:
    """One ring, its pool of receive buffers, and the features that they have.

    Raises UringUnavailable if this machine has no ring for us.
    """

    def __init__(self) -> None:
        self.features = Features.from_environment()
        check_usable()
        self.engine = ffi.gc(lib.ul_new(), lib.ul_free)
        self.forked = False
        self.flags: Sequence[int] = _NO_FLAGS
        """At 0: not zero if the kernel has something that it does not bring before a turn."""
        self._enabled = False
        if self.features.pool and lib.ul_pool_open(self.engine, POOL_BUFFERS, POOL_BUFFER_SIZE) < 0:
            self.features.pool = False
        self._arrivals = lib.ul_arrivals(self.engine)
        self._open()
        self.pool_buffers = POOL_BUFFERS
        self.pool = ffi.buffer(lib.ul_pool_memory(self.engine), POOL_BUFFERS * POOL_BUFFER_SIZE)
        self.pool_view = memoryview(self.pool).toreadonly()
        _rings().add(self)

    def _open(self) -> None:
        for sq_entries, cq_entries in SIZES:
            result = lib.ul_open(self.engine, sq_entries, cq_entries)
            if result != -errno.ENOMEM:
                break
        if result < 0:
            raise unavailable(-result)
        self._enabled = False
        self._capacity = 0  # words known to fit in the array of events
        self._events = lib.ul_events(self.engine)
        # Linux 6.1 does not announce what its threads have done: a send, say, that has often found its socket full.
        announces = lib.ul_features(self.engine) & _FEATURE_REGISTERED_RING
        self.flags = lib.ul_flags(self.engine) if announces else _UNKNOWN_FLAGS
        self._fit_features()

    def _fit_features(self) -> None:
        """Keep of the features wanted those that this ring has."""
        features = self.features
        features.no_iowait &= bool(lib.ul_features(self.engine) & _FEATURE_NO_IOWAIT)
        lib.ul_no_iowait(self.engine, features.no_iowait)
        features.pool = features.pool and lib.ul_pool_attach(self.engine) == 0
        features.multishot_recv &= features.pool
        features.multishot_recv &= bool(lib.ul_has_opcode(self.engine, _OPCODE_FIXED_FD_INSTALL))
        features.multishot_unix &= features.multishot_recv
        features.restrictions = features.restrictions and lib.ul_restrict(self.engine) == 0

    def may_multishot(self, family: int) -> bool:
        """Tell whether a stream socket of this family may be received from by multishot."""
        features = self.features
        if family in (socket.AF_INET, socket.AF_INET6):
            return features.multishot_recv
        features.multishot_unix = features.multishot_unix and ends_unix_multishot()
        return features.multishot_unix and family == socket.AF_UNIX

    def adopt(self) -> Harvest | None:
        """Make the calling thread the ring's owner until release().

        Returns None if the ring is still the one that everything was submitted to. Otherwise a new ring had to
        be built; returned are the last completions of the old one, and what it still had in flight is to be
        submitted again: the kernel gives that up untouched, since it completes nothing behind an owner's back.
        """
        self._check_forked()
        last = None
        if self._enabled and not lib.ul_owned_here(self.engine):
            last = self._read(lib.ul_harvest(self.engine))
            lib.ul_close(self.engine)
            self._open()
        if not self._enabled:
            self._check(lib.ul_enable(self.engine))
            self._enabled = True
        if self.features.registered_fd:
            self.features.registered_fd = lib.ul_register_fd(self.engine) == 0
        return last

    def release(self) -> None:
        """End what adopt() tied to the thread."""
        if not self.forked:
            lib.ul_unregister_fd(self.engine)

    def busy_poll(self, seconds: float) -> None:
        """Look for completions for so long before each wait blocks."""
        lib.ul_busy_poll(self.engine, seconds)

    def turn(self, timeout: float) -> Harvest | None:
        """Submit what is staged, wait for a completion, and hand out all there are.

        timeout is in seconds: 0 does not wait, a negative one waits without a limit. The wait also ends, with
        nothing, when a signal arrives. Returns None if there are none. Pool buffers that completions name are valid
        until the next turn.
        """
        words = lib.ul_turn(self.engine, timeout)
        return self._read(words) if words else None

    def collect(self) -> Harvest:
        """Submit what is staged, and hand out what has completed; pool buffers stay valid until the next turn."""
        return self._read(lib.ul_collect(self.engine))

    def harvested(self) -> Harvest:
        """Hand out the completions of the last turn() or collect() once more."""
        return self._read(lib.ul_harvested(self.engine))

    def turns(self) -> int:
        """Return how often turn() has got as far as the engine."""
        return lib.ul_turns(self.engine)

    def flush(self) -> None:
        """Submit what is staged."""
        self._check(lib.ul_flush(self.engine))

    def finish(self) -> bool:
        """Submit what is staged, and have the kernel finish what it can, before another thread may take the ring.

        Returns whether there are more completions than the ring can keep, so that collect() has to follow.
        """
        result = lib.ul_finish(self.engine)
        self._check(result)
        return result > 0

    def cancel(self, key: int, ticket: int) -> bool:
        """Cancel an operation; on return the kernel has let go of its file and memory.

        Not so in a thread that does not own the ring: there the cancel takes effect when the loop runs again, and
        False is returned. In a forked child there is nothing to cancel: that is the parent's.
        """
        if self.forked:
            return True
        result = lib.ul_cancel(self.engine, key, ticket)
        self._check(result, but=errno.EEXIST)
        return result >= 0

    def cancel_all(self) -> None:
        """Cancel everything in flight, as far as this thread may."""
        self._check(lib.ul_cancel_all(self.engine), but=errno.EEXIST)

    def owned_here(self) -> bool:
        """Tell whether the calling thread may enter the ring."""
        return self._enabled and not self.forked and bool(lib.ul_owned_here(self.engine))

    def close(self) -> None:
        """Give the ring back to the kernel."""
        self.flags = _NO_FLAGS
        if not self.forked:
            lib.ul_close(self.engine)

    def abandon(self) -> None:
        """In a forked child: drop the inherited descriptor, which would keep the parent's sockets open."""
        self.forked = True
        self.flags = _NO_FLAGS
        lib.ul_abandon(self.engine)

    def _read(self, words: int) -> Harvest:
        if words <= 0:
            self._check(words)
            return _NOTHING, _NOTHING
        arrived = lib.ul_arrived(self.engine)
        words -= arrived
        if words > self._capacity:  # the array may have grown
            self._capacity = words
            self._events = lib.ul_events(self.engine)
        return _triples(self._arrivals, arrived), _triples(self._events, words)

    def _check_forked(self) -> None:
        if self.forked:
            raise RuntimeError("This event loop was made before the fork; a child process needs a loop of its own")

    def _check(self, result: int, but: int = 0) -> None:
        if result < 0 and result != -but:
            self._check_forked()
            if result == -errno.ENOMEM:
                raise MemoryError
            raise OSError(-result, os.strerror(-result))


def _triples(array: "FFI.CData", words: int) -> Iterator[tuple[int, int, int]]:
    if not words:
        return _NOTHING
    numbers = iter(ffi.unpack(array, words))
    return zip(numbers, numbers, numbers)


@functools.cache
def check_usable() -> None:
    """Send one operation through a small ring; raise UringUnavailable if any step is refused.

    Done once in a process: a syscall filter may allow the set-up of a ring and refuse its use.
    """
    engine = ffi.gc(lib.ul_new(), lib.ul_free)
    result = lib.ul_open(engine, *SIZES[-1]) or lib.ul_enable(engine) or lib.ul_self_test(engine)
    if result < 0:
        raise unavailable(-result)


@functools.cache
def ends_unix_multishot() -> bool:
    """Tell whether a multishot receive from a Unix socket is told of the end of the stream.

    Kernels before 2026 can lose it when it comes together with data. Tried out once in a process, in the order of
    events that shows it: both come after the receive was armed, and before the kernel looks again.
    """
    ring = Ring()
    ring.adopt()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lib.ul_stage_recv_multishot(ring.engine, 1, ours.fileno())
        ring.turn(0)
        theirs.send(b"last")
        theirs.shutdown(socket.SHUT_WR)
        results = []
        while harvest := ring.turn(0):
            results += [result for _, result, _ in harvest[1]]
        ring.cancel_all()
    ring.release()
    ring.close()
    return results == [0]


@functools.cache
def _rings() -> "weakref.WeakSet[Ring]":
    """Return the rings of this process, having arranged that a forked child abandons them."""
    rings: weakref.WeakSet[Ring] = weakref.WeakSet()

    def abandon_all() -> None:
        for ring in rings:
            ring.abandon()

    os.register_at_fork(after_in_child=abandon_all)
    return rings
