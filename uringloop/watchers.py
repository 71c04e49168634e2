"""File descriptor watchers: add_reader, add_writer."""

from __future__ import annotations

import asyncio
import select
import weakref
from collections.abc import Callable
from typing import Any

from .handles import Args, new_handle
from .operations.poll import READABLE, WRITABLE, Poll
from .scheduling import Scheduling


class _Watch:
    """A descriptor watched in one direction: the poll, and the handle that it queues."""

    def __init__(self, loop: Watchers, fileobj: Any, fd: int, events: int, handle: asyncio.Handle) -> None:
        self._ready = loop._ready
        self.fileobj = fileobj
        self.handle = handle
        self.poll = Poll(loop._proactor, fd, events, self._queue)

    def _queue(self) -> None:
        if not self.handle._cancelled:
            self._ready.append(self.handle)


class Watchers(Scheduling):
    """The descriptor watching API of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, _Watch] = {}
        self._writers: dict[int, _Watch] = {}
        self._epoll: select.epoll | None = None
        self._transports: dict[int, weakref.ref[asyncio.BaseTransport]] = {}

    def add_reader(self, fd: Any, callback: Callable[[*Args], object], *args: *Args) -> None:
        """Run the callback in each turn in which `fd` (a descriptor, or an object that has one) is readable.

        It replaces an earlier callback. Raises ValueError for what is no descriptor, RuntimeError for one that a
        transport uses, and OSError (PermissionError for a regular file) for one that cannot be watched.
        """
        self._ensure_fd_no_transport(fd)
        self._watch(self._readers, fd, READABLE, callback, args)

    def remove_reader(self, fd: Any) -> bool:
        """Stop watching for input; return whether it was watched. The descriptor may then be closed at once."""
        self._ensure_fd_no_transport(fd)
        return self._unwatch(self._readers, fd)

    def add_writer(self, fd: Any, callback: Callable[[*Args], object], *args: *Args) -> None:
        """Run the callback in each turn in which `fd` can be written to; otherwise as add_reader()."""
        self._ensure_fd_no_transport(fd)
        self._watch(self._writers, fd, WRITABLE, callback, args)

    def remove_writer(self, fd: Any) -> bool:
        """Stop watching for room to write; return whether it was watched."""
        self._ensure_fd_no_transport(fd)
        return self._unwatch(self._writers, fd)

    def run_forever(self) -> None:
        """Run turns until stop() is called.

        When an exception such as SystemExit ends it, watchers may not have had their call. Their descriptors are
        found ready again by the next run; two calls for one readiness would be wrong.
        """
        try:
            super().run_forever()
        finally:
            self._take_watchers()

    def _run_watchers(self) -> None:
        """Run the watchers that are ready: a program may run its loop for a single turn, again and again."""
        watchers = self._take_watchers()
        others = [*self._ready]
        self._ready.clear()
        self._ready.extend(watchers)
        try:
            self._run_ready()
        finally:
            self._ready.extendleft(reversed(others))

    def _take_watchers(self) -> list[asyncio.Handle]:
        """Remove the watchers' handles from those that are ready, and return them."""
        if not self._ready:
            return []
        handles = {watch.handle for watch in (*self._readers.values(), *self._writers.values())}
        taken = [handle for handle in self._ready if handle in handles]
        for handle in taken:
            self._ready.remove(handle)
        return taken

    def close(self) -> None:
        """Close the loop; all watches end."""
        super().close()
        for watches in (self._readers, self._writers):
            for watch in watches.values():
                watch.poll.stop()
            watches.clear()
        if self._epoll is not None:
            self._epoll.close()

    def _watch(
        self,
        watches: dict[int, _Watch],
        fileobj: Any,
        events: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        self._check_closed()
        fd = _valid_descriptor_of(fileobj)
        make = asyncio.Handle if self._debug else new_handle
        handle = make(callback, args, self, None)
        watch = watches.get(fd)
        if watch is not None:
            watch.handle.cancel()
            watch.handle = handle
            return
        self._check_watchable(fd)
        watch = watches[fd] = _Watch(self, fileobj, fd, events, handle)
        watch.poll.start()

    def _unwatch(self, watches: dict[int, _Watch], fileobj: Any) -> bool:
        if self._closed:
            return False
        watch = watches.pop(_watched_descriptor_of(fileobj, watches), None)
        if watch is None:
            return False
        watch.handle.cancel()
        watch.poll.stop()
        return True

    def _check_watchable(self, fd: int) -> None:
        """Raise the OSError that epoll has for this descriptor.

        The ring would take any: it answers for a regular file, at once, and for a bad one only later.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
        self._epoll.register(fd, 0)
        self._epoll.unregister(fd)

    def _ensure_fd_no_transport(self, fileobj: Any) -> None:
        reference = self._transports.get(descriptor_of(fileobj))
        transport = reference() if reference is not None else None
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fileobj!r} is used by transport {transport!r}")


def descriptor_of(fileobj: Any) -> int:
    """Return the descriptor of an int or of an object with a fileno() method; raise ValueError if it has none."""
    if isinstance(fileobj, int):
        fd = fileobj
    else:
        try:
            fd = int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fileobj!r}") from None
    return fd


def _watched_descriptor_of(fileobj: Any, watches: dict[int, _Watch]) -> int:
    """Return the descriptor that the object had when it was watched: it may have been closed since."""
    if descriptor_of(fileobj) < 0:
        for fd, watch in watches.items():
            if watch.fileobj is fileobj:
                return fd
    return _valid_descriptor_of(fileobj)


def _valid_descriptor_of(fileobj: Any) -> int:
    fd = descriptor_of(fileobj)
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
