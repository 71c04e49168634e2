"""Operations in flight: submit, cancel, dispatch, drain.

The lifetime rule lives here. An operation is in the table exactly while the kernel may still answer it, from its
submission to its last completion (the one without F_MORE). The table keeps the object alive, and the object what
the kernel may touch; nothing of it is freed, used again or closed before.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterator

from .operations.base import CANCELED, F_MORE, Operation
from .outbox import Outbox
from .ring import Arrival, Event, Ring

Observer = Callable[[Operation, Callable[[], None]], None]

NO_LIMIT = -1.0
"""The timeout of a turn that waits until something completes."""

_DRAIN_TURNS = 100
_DRAIN_WAIT = 0.1  # seconds; only what is being worked on in a kernel thread is not cancelled at once


class Proactor:
    """The table of operations in flight, over one ring."""

    def __init__(self, report: Callable[[BaseException, Operation], None]) -> None:
        """`report` is told of an exception that an operation let out of `complete()`."""
        self.ring = Ring()
        self._engine = self.ring.engine
        self.outbox = Outbox(self._engine)
        self._operations: dict[int, Operation] = {}
        self._cancelling: set[int] = set()
        self._later: deque[Callable[[], None]] = deque()
        self._turns = 0
        self._expectant = True
        self._arrivals: Iterator[Arrival] = iter(())
        self._events: Iterator[Event] = iter(())
        self._report = report
        self.observer: Observer | None = None
        """Calls what takes an operation's completion, in the dispatcher's stead, in debug mode."""

    def submit(self, operation: Operation) -> None:
        """Stage the operation; the next turn hands it to the kernel."""
        self._expectant = True
        operation.ticket = ticket = operation.prepare(self._engine)
        if ticket < 0:
            raise MemoryError
        self._operations[operation.key] = operation

    def submit_later(self, submit: Callable[[], None]) -> None:
        """Have a receive that found no pool buffer submitted again, by this function, when it is its turn.

        In each turn so many are as there are buffers. More would be refused again, turn after turn, at a cost that
        grows with the square of the connections that are busy at a time.
        """
        self._later.append(submit)

    def cancel(self, operation: Operation) -> bool:
        """Cancel the operation if it is in flight.

        On return the kernel holds neither its file nor its memory, so both may be closed or changed; False is
        returned if that could not be had, since this is not the thread that runs the loop. The last completion
        still comes: -ECANCELED, or the result if that was there first.
        """
        key = operation.key
        if key not in self._operations or key in self._cancelling:
            return True
        self._expectant = True
        self._cancelling.add(key)
        return self.ring.cancel(key, operation.ticket)

    def is_in_flight(self, operation: Operation) -> bool:
        """Tell whether the operation's last completion is still to come."""
        return operation.key in self._operations

    def in_flight(self) -> int:
        """Return how many operations are in flight, the loop's own apart."""
        return sum(not operation.resident for operation in self._operations.values())

    def is_idle(self) -> bool:
        """Tell whether a turn that does not wait would neither submit nor bring anything."""
        return not (self._expectant or self.ring.flags[0] or self.outbox.pending or self._later)

    def turn(self, timeout: float) -> None:
        """Submit, wait up to timeout seconds (or NO_LIMIT), and dispatch what has completed."""
        if self._later:
            timeout = 0.0
            for _ in range(min(len(self._later), self.ring.pool_buffers)):
                self._later.popleft()()
        outbox = self.outbox
        if outbox.pending:
            outbox.stage()
        try:
            harvest = self.ring.turn(timeout)
            if harvest is not None:
                self._arrivals, self._events = harvest
            self._turns += 1
            self._expectant = harvest is not None
            if outbox.staged:
                outbox.settle()  # a sender may submit or cancel something
        except BaseException:
            # A signal's handler has raised, most likely at the end of the wait that the signal has ended.
            if self._turns != self.ring.turns():
                self._arrivals, self._events = self.ring.harvested()
                self._turns = self.ring.turns()
            raise
        if harvest is not None:
            self.dispatch()

    def dispatch(self) -> None:
        """Hand each completion to its operation.

        Should one raise SystemExit or KeyboardInterrupt, the others stay and are dispatched next time.
        """
        operations = self._operations
        observer = self.observer
        for key, start, stop in self._arrivals:
            if observer is None:
                operations[key].arrived(start, stop)
            else:
                operation = operations[key]
                observer(operation, functools.partial(operation.arrived, start, stop))
        for key, result, flags in self._events:
            if flags & F_MORE:
                operation = operations[key]
            else:
                operation = operations.pop(key)
                self._cancelling.discard(key)
            try:
                if observer is None:
                    operation.complete(result, flags)
                else:
                    observer(operation, functools.partial(operation.complete, result, flags))
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._report(error, operation)

    def start(self) -> None:
        """Take the ring for the calling thread; in a new thread, submit anew what was in flight in the old one."""
        last = self.ring.adopt()
        if last is None:
            self.dispatch()  # what an exception had left behind
            return
        self._append(*last)
        # Linux 6.1 cancels by itself what would complete after its thread has ended. That is untouched, too.
        events = [(k, r, f) for k, r, f in self._events if r != CANCELED or k in self._cancelling]
        gone = self._operations.keys() - {key for key, _, flags in events if not flags & F_MORE}
        events += ((key, CANCELED, 0) for key in gone & self._cancelling)
        self._events = iter(events)
        for key in gone - self._cancelling:
            self.submit(self._operations[key])
        self.dispatch()

    def stop(self) -> None:
        """Leave nothing staged, and nothing half done that another thread could not go on with."""
        if self.ring.forked:
            return
        self.ring.flush()  # first: in runs of one turn, a send that nothing has tried would never get any further
        for operation in list(self._operations.values()):
            if not operation.restartable:
                self.cancel(operation)
        if self.ring.finish():
            self._append(*self.ring.collect())
        while self.outbox:  # twice, if an exception came between a send and its settlement
            if not self.outbox.staged:
                self.outbox.stage()
            self._append(*self.ring.collect())
            self.outbox.settle()
        self.ring.release()

    def _append(self, arrivals: Iterator[Arrival], events: Iterator[Event]) -> None:
        self._arrivals = itertools.chain(self._arrivals, arrivals)
        self._events = itertools.chain(self._events, events)

    def close(self) -> None:
        """Cancel everything, wait until the kernel has let go, and close the ring."""
        if self.ring.owned_here():
            self._drain()
        self.ring.close()
        self._operations.clear()
        self._later.clear()
        self.outbox.pending.clear()
        self.observer = None
        del self._report  # no reference cycle: it is, as the observer, a method of the loop

    def _drain(self) -> None:
        self.ring.cancel_all()
        for turn in range(_DRAIN_TURNS):
            for key, result, flags in self._events:
                operation = self._operations[key] if flags & F_MORE else self._operations.pop(key)
                operation.discard(result, flags)
            if not self._operations:
                break
            harvest = self.ring.turn(_DRAIN_WAIT if turn else 0)
            self._events = iter(()) if harvest is None else harvest[1]
