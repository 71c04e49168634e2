"""Signal handlers, by the byte that a signal writes to the loop's waking socket."""

import asyncio
import errno
import inspect
import signal
import sys
import threading
import warnings
from collections.abc import Callable

from .handles import Args, new_handle
from .reporting import logger
from .scheduling import Scheduling

_NONE = -1


class Signals(Scheduling):
    """The signal API of the event loop."""

    def __init__(self) -> None:
        self._signal_handlers: dict[int, asyncio.Handle] = {}
        super().__init__()

    def add_signal_handler(self, sig: int, callback: Callable[[*Args], object], *args: *Args) -> None:
        """Run the callback in the loop whenever the signal arrives.

        Raises ValueError or RuntimeError for a signal that cannot be caught, TypeError for a bad callback, and
        RuntimeError outside the main thread.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        try:
            signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from None
        self._signal_handlers[sig] = new_handle(callback, args, self, None)
        try:
            signal.signal(sig, _leave_it_to_the_wakeup_fd)
            signal.siginterrupt(sig, False)  # do not make other system calls fail
        except OSError as error:
            del self._signal_handlers[sig]
            if not self._signal_handlers:
                self._release_wakeup_fd()
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Restore the signal's default action; return whether there was a handler."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        if not self._signal_handlers:
            self._release_wakeup_fd()
        return True

    def run_forever(self) -> None:
        """Run turns until stop() is called.

        In the main thread any signal wakes the loop meanwhile: one that arrives just before the loop enters the
        kernel would otherwise have its Python handler run only after the wait.
        """
        claimed = False
        if threading.current_thread() is threading.main_thread() and not self._closed:
            former = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
            claimed = former == _NONE
            if former not in (_NONE, self._wakeup.fileno()):
                signal.set_wakeup_fd(former)  # somebody else's; not ours to take
        try:
            super().run_forever()
        finally:
            if claimed and not self._signal_handlers:
                self._release_wakeup_fd()

    def close(self) -> None:
        """Close the loop and restore the default action of its signals."""
        super().close()
        if sys.is_finalizing():
            self._forget_signal_handlers()
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)

    def _forget_signal_handlers(self) -> None:
        """Leave the signals as they are: the interpreter is going away, and with it what would restore them."""
        if self._signal_handlers:
            message = f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal"
            warnings.warn(message, ResourceWarning, source=self, stacklevel=3)
            self._signal_handlers.clear()

    def _signalled(self, number: int) -> None:
        handle = self._signal_handlers.get(number)
        if handle is None:
            return
        if handle._cancelled:
            self.remove_signal_handler(number)
        else:
            self._ready.append(handle)

    def _release_wakeup_fd(self) -> None:
        try:
            signal.set_wakeup_fd(_NONE)
        except (ValueError, OSError) as error:
            logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _check_signal(self, sig: int) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")


def _leave_it_to_the_wakeup_fd(number: int, frame: object) -> None:
    """Do nothing: the interpreter writes the number to the wakeup descriptor only if there is a handler."""
