"""The turn of the loop: callbacks, timers, run and stop, debug mode.

A turn: what transports have to send is handed to the ring; one call submits, waits and brings the completions;
each completion is dispatched; timers that are due join the ready queue; and the callbacks that are ready at that
moment are run. What they schedule runs in the next turn. While there are callbacks, and neither we nor the kernel
have anything for the other, and no other thread wants to run, a turn is without that call.
"""

import asyncio
import inspect
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol

from . import borrowed
from .asyncgens import AsyncGenerators
from .borrowed import count_threads
from .handles import Args, Handle, new_threadsafe_handle
from .operations.base import Operation
from .proactor import NO_LIMIT, Proactor
from .reporting import logger
from .timers import Timers
from .wakeup import Wakeup

_DEBUG_STACK_DEPTH = 10


class Flushable(Protocol):
    """Something with writes to send at the end of the turn."""

    def flush(self) -> None:
        """Hand them to the ring."""


class Scheduling(AsyncGenerators):
    """The scheduling API of the event loop, and the turn."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = True  # until everything is there that close() has to take down
        self._ready: deque[Any] = deque()  # of asyncio.Handle, whose attributes are not declared
        self._timers = Timers()
        self._unsent: deque[Flushable] = deque()
        self._stopping = False
        self._thread_id: int | None = None
        self._debug = borrowed.is_debug_mode()
        self._careful = True  # closed or in debug mode: one question instead of two where it is asked very often
        self.slow_callback_duration = 0.1
        self._saved_origin_depth: int | None = None
        self._proactor = Proactor(self._report_operation)
        self._wakeup = Wakeup(self._proactor, self._signalled)
        self._closed = False
        self._careful = self._debug

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} running={self.is_running()} closed={self.is_closed()} "
            f"debug={self.get_debug()}>"
        )

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if not getattr(self, "_closed", True):
            _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
            if not self.is_running():
                self.close()

    # Callbacks

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        """Run the callback in the next turn, after those scheduled before it.

        Raises RuntimeError if the loop is closed, as do all that schedule something.
        """
        if self._careful:
            self._check_closed()
            self._check_thread()
            return self._queue_traced(callback, args, context, "call_soon")
        handle: Any = Handle()
        handle._callback = callback
        handle._args = args
        handle._loop = self
        handle._context = copy_context() if context is None else context
        self._ready.append(handle)
        return handle  # type: ignore[no-any-return]

    def call_soon_threadsafe(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        """Like call_soon(), from any thread."""
        self._check_closed()
        handle: asyncio.Handle
        if self._debug:
            handle = self._queue_traced(callback, args, context, "call_soon_threadsafe", borrowed.ThreadSafeHandle)
        else:
            handle = new_threadsafe_handle(callback, args, self, context)
            self._ready.append(handle)
        self._wakeup.wake()
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run the callback after `delay` seconds, and not before."""
        if delay is None:
            raise TypeError("delay must not be None")
        if self._careful:
            return self._add_checked_timer(self.time() + delay, callback, args, context)
        return self._timers.add(self.time() + delay, callback, args, self, context)

    def call_at(
        self, when: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run the callback when time() has reached `when` (seconds), and not before."""
        if when is None:
            raise TypeError("when cannot be None")
        if type(when) is not float:
            max(when, 0.0)  # raises TypeError for what is no time, which would end the loop later
        if self._careful:
            return self._add_checked_timer(when, callback, args, context)
        return self._timers.add(when, callback, args, self, context)

    def _add_checked_timer(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        self._check_closed()
        self._check_thread()
        self._check_callback(callback, "call_at")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        _hide_callers(handle, 2)
        self._timers.keep(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Note a cancelled timer; asyncio.TimerHandle.cancel() calls this."""
        if handle._scheduled:  # type: ignore[attr-defined]
            self._timers.note_cancelled()

    def time(self) -> float:
        """Return the loop's clock in seconds: time.monotonic()."""
        return time.monotonic()

    def _queue_traced(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        method: str,
        kind: type[asyncio.Handle] = asyncio.Handle,
    ) -> asyncio.Handle:
        self._check_callback(callback, method)
        handle = kind(callback, args, self, context)
        _hide_callers(handle, 2 if kind is asyncio.Handle else 3)  # its own constructor calls asyncio.Handle's
        self._ready.append(handle)
        return handle

    def _check_callback(self, callback: object, method: str) -> None:
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError(f"coroutines cannot be used with {method}()")
        if not callable(callback):
            raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")

    def _check_closed(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")

    def _check_thread(self) -> None:
        if self._thread_id is not None and self._thread_id != threading.get_ident():
            raise RuntimeError("Non-thread-safe operation invoked on an event loop other than the current one")

    def _signalled(self, number: int) -> None:
        """Take the number of a signal that has arrived; see signals.py."""

    # Debug mode

    def get_debug(self) -> bool:
        """Tell whether the loop is in debug mode."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode."""
        self._debug = enabled
        self._careful = self._closed or enabled
        if self.is_running():
            self.call_soon_threadsafe(self._apply_debug)

    def _apply_debug(self) -> None:
        self._track_coroutine_origins(self._debug)
        self._proactor.observer = self._observe if self._debug else None

    def _track_coroutine_origins(self, enabled: bool) -> None:
        if enabled and self._saved_origin_depth is None:
            self._saved_origin_depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(_DEBUG_STACK_DEPTH)
        elif not enabled and self._saved_origin_depth is not None:
            sys.set_coroutine_origin_tracking_depth(self._saved_origin_depth)
            self._saved_origin_depth = None

    # Run and stop

    def is_running(self) -> bool:
        """Tell whether the loop runs, in any thread."""
        return self._thread_id is not None

    def is_closed(self) -> bool:
        """Tell whether the loop was closed."""
        return self._closed

    def stop(self) -> None:
        """Make run_forever() return at the end of the turn."""
        self._stopping = True

    def run_forever(self) -> None:
        """Run turns until stop() is called.

        Raises RuntimeError if the loop is closed or this thread already runs a loop.
        """
        self._check_closed()
        self._check_running()
        self._thread_id = threading.get_ident()
        asyncgen_hooks = sys.get_asyncgen_hooks()
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_started, finalizer=self._asyncgen_abandoned)
            asyncio._set_running_loop(self)
            self._apply_debug()
            self._proactor.start()
            self._wakeup.start()
            try:
                self._first_turn()
                while not self._stopping:
                    self._turn()
            finally:
                self._flush()
                self._proactor.stop()
        finally:
            self._stopping = False
            self._thread_id = None
            asyncio._set_running_loop(None)
            self._track_coroutine_origins(enabled=False)
            sys.set_asyncgen_hooks(*asyncgen_hooks)

    def run_until_complete(self, future: Any) -> Any:
        """Run until the future, or the task made of a coroutine, is done; return its result.

        Raises RuntimeError if the loop is stopped before.
        """
        self._check_closed()
        self._check_running()
        is_new = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self)
        if is_new:
            # What goes wrong is raised here; the task need not complain as well.
            future._log_destroy_pending = False
        future.add_done_callback(self._stop_when_done)
        try:
            self.run_forever()
        except BaseException:
            if is_new and future.done() and not future.cancelled():
                future.exception()  # it is being raised: mark it as retrieved
            raise
        finally:
            future.remove_done_callback(self._stop_when_done)
        if not future.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return future.result()

    def _stop_when_done(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and isinstance(future.exception(), (SystemExit, KeyboardInterrupt)):
            return  # the exception itself ends run_forever()
        self.stop()

    def _check_running(self) -> None:
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if borrowed.get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")

    def close(self) -> None:
        """Drop all callbacks, cancel all operations, and free the ring.

        Raises RuntimeError if the loop is running. Closing a closed loop does nothing.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self._closed:
            return
        if self._debug:
            logger.debug("Close %r", self)
        self._closed = self._careful = True
        self._ready.clear()
        self._timers.clear()
        self._unsent.clear()
        self._proactor.close()
        self._wakeup.close()

    def _turn(self) -> None:
        proactor, timers = self._proactor, self._timers
        if self._unsent:
            self._flush()
        if self._ready or self._stopping:
            # Other threads get the GIL during the call: without it, each would wait the interpreter's 5 ms for it.
            if count_threads() or not proactor.is_idle():
                proactor.turn(0.0)
        else:
            proactor.turn(self._time_left() if timers.heap or timers.new else NO_LIMIT)
        if timers.heap or timers.new:
            timers.move_due(self.time(), self._ready)
        if self._ready:
            self._run_ready()

    def _time_left(self) -> float:
        """Return the seconds until the next delayed call."""
        when = self._timers.next_time()
        return NO_LIMIT if when is None else max(0.0, when - self.time())  # in this order: 0 for a NaN

    def _first_turn(self) -> None:
        """Run what was scheduled before the loop was run, and is due, ahead of all input and output.

        As with asyncio's loop, that comes to its turn even if the loop is to stop at once.
        """
        self._timers.move_due(self.time(), self._ready)
        self._run_ready()
        self._flush()
        self._proactor.turn(0.0)
        if self._stopping:
            self._run_watchers()
        else:
            self._timers.move_due(self.time(), self._ready)
            self._run_ready()

    def _run_watchers(self) -> None:
        """Run those of the ready callbacks that watch descriptors; see watchers.py."""

    def _run_ready(self) -> None:
        """Run the callbacks that are ready now, and not those that they schedule."""
        if self._debug:
            self._run_ready_observed()
            return
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            callback = handle._callback
            args = handle._args  # last: to cancel it, another thread takes the arguments away first
            if args is not None:
                try:
                    if not args:
                        handle._context.run(callback)
                    elif len(args) == 1:  # to unpack arguments costs more than all the rest
                        handle._context.run(callback, args[0])
                    else:
                        handle._context.run(callback, *args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self._report_callback(handle, error)
        handle = args = callback = None  # an error's traceback may refer to this frame, and they to the error

    def _flush(self) -> None:
        unsent = self._unsent
        for _ in range(len(unsent)):
            unsent.popleft().flush()

    def _run_ready_observed(self) -> None:
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            self._current_handle = handle
            started = self.time()
            try:
                handle._run()
            finally:
                self._current_handle = None
            self._log_if_slow(handle, started)
        handle = None  # as above

    def _observe(self, operation: Operation, take: Callable[[], None]) -> None:
        started = self.time()
        take()
        self._log_if_slow(operation, started)

    def _log_if_slow(self, what: object, started: float) -> None:
        duration = self.time() - started
        if duration >= self.slow_callback_duration:
            description = borrowed.describe_handle(what) if isinstance(what, asyncio.Handle) else repr(what)
            logger.warning("Executing %s took %.3f seconds", description, duration)

    def _report_callback(self, handle: Any, error: BaseException) -> None:
        description = borrowed.describe_callback(handle._callback, handle._args, self._debug)
        self.call_exception_handler(
            {"message": f"Exception in callback {description}", "exception": error, "handle": handle}
        )

    def _report_operation(self, error: BaseException, operation: Operation) -> None:
        self.call_exception_handler({"message": f"Exception in completion of {operation!r}", "exception": error})


def _hide_callers(handle: Any, count: int) -> None:
    """Leave out of a handle's origin so many functions that made it for its user."""
    if handle._source_traceback:
        del handle._source_traceback[-count:]
