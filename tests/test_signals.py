"""Signal handlers of the loop, and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support.checks import PATIENCE, turns, until, wakeup_fd
from support.children import child, run


def raise_signal(number=signal.SIGUSR1):
    os.kill(os.getpid(), number)


@contextlib.contextmanager
def signals_from_outside(number, interval, times=1, taken=()):
    """Have the signal come so many times while the loop is doing something else; the value is a list of when.

    Once there is something in `taken` it comes no more.
    """
    sent = []
    started = threading.Event()

    def send():
        started.wait()
        for _ in range(times):
            time.sleep(interval)
            if taken:
                break
            sent.append(time.monotonic())
            raise_signal(number)

    thread = threading.Thread(target=send)
    thread.start()
    started.set()  # not before start() has returned, which may take longer than the interval
    yield sent
    thread.join()


def times_to_be_seen(kind):
    """How often a signal must come that is not the loop's: asyncio's misses one just before it goes to sleep."""
    return 1000 if kind.is_oracle else 1


@pytest.fixture(autouse=True)
def dispositions_of_before():
    """Every test leaves signals as they were, and has SIGINT as a terminal has it."""
    of_a_shell = signal.signal(signal.SIGINT, signal.default_int_handler)
    numbers = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGINT]
    before = [signal.getsignal(number) for number in numbers]
    assert wakeup_fd() == -1
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert wakeup_fd() == -1
    signal.signal(signal.SIGINT, of_a_shell)


async def test_a_signal_calls_its_handler_with_its_arguments(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, lambda *args: calls.append(args), 1, "two")
    raise_signal()
    await until(lambda: calls)
    assert calls == [(1, "two")]
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_a_handler_runs_in_a_turn_of_the_loop_not_inside_another_callback(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, True)
    raise_signal()
    for _ in range(1000):
        assert not calls
    await until(lambda: calls)
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_each_signal_has_a_handler_of_its_own(loop):
    calls = []
    numbers = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH]
    for number in numbers:
        loop.add_signal_handler(number, calls.append, number)
    for number in numbers:
        raise_signal(number)
    await until(lambda: len(calls) == 3)
    assert sorted(calls) == sorted(numbers)
    for number in numbers:
        assert loop.remove_signal_handler(number)


async def test_a_second_handler_replaces_the_first(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "second")
    raise_signal()
    await until(lambda: calls)
    await turns(3)
    assert calls == ["second"]
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_remove_tells_whether_there_was_a_handler(loop):
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


async def test_removing_restores_the_default_action(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.getsignal(signal.SIGUSR1) not in (signal.SIG_DFL, signal.SIG_IGN)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    loop.add_signal_handler(signal.SIGINT, print)
    loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_the_wakeup_descriptor_is_set_while_there_are_handlers(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    assert wakeup_fd() != -1
    loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_fd() != -1
    loop.remove_signal_handler(signal.SIGUSR2)
    assert wakeup_fd() == -1


def test_a_wakeup_descriptor_of_somebody_else_stays_while_the_loop_has_no_handlers(loop, sockets):
    ours, theirs = sockets.unix_pair()
    signal.set_wakeup_fd(ours.fileno())
    try:
        loop.run_until_complete(turns(3))
        assert wakeup_fd() == ours.fileno()
        loop.close()
        assert wakeup_fd() == ours.fileno()
    finally:
        signal.set_wakeup_fd(-1)
    assert theirs.fileno() != -1


def test_closing_the_loop_removes_its_handlers(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert wakeup_fd() == -1


def test_a_signal_wakes_an_idle_loop(loop):
    started = time.monotonic()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    with signals_from_outside(signal.SIGUSR1, 0.02):
        loop.run_forever()
    assert time.monotonic() - started < PATIENCE
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_taken_by_another_thread_wakes_an_idle_loop(loop):
    """The kernel gives a signal to whichever thread it likes."""

    def send():
        time.sleep(0.02)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    thread = threading.Thread(target=send)
    thread.start()
    loop.run_forever()
    thread.join()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_that_came_before_the_loop_ran_is_kept(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    raise_signal()
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


@pytest.fixture
def handler_of_pythons_own():
    """Sets a handler of SIGUSR2 the ordinary way, for the time of a test."""
    before = signal.getsignal(signal.SIGUSR2)
    yield lambda handler: signal.signal(signal.SIGUSR2, handler)
    signal.signal(signal.SIGUSR2, before)


def test_a_signal_that_is_not_the_loops_disturbs_no_wait(loop, handler_of_pythons_own):
    seen = []
    handler_of_pythons_own(lambda *_: seen.append(loop.time()))
    started = loop.time()
    with signals_from_outside(signal.SIGUSR2, 0.01, times=5) as sent:
        loop.run_until_complete(asyncio.sleep(0.4))
        assert loop.time() - started >= 0.4
    assert 1 <= len(seen) <= 5  # one that comes before another is taken goes with that
    assert seen[0] - sent[0] < 0.3  # at once, not only when the wait was over


def test_a_handler_of_pythons_own_may_wake_the_loop(kind, loop, handler_of_pythons_own):
    taken = []

    def handler(*_):
        taken.append(True)
        loop.call_soon_threadsafe(loop.stop)

    handler_of_pythons_own(handler)
    with signals_from_outside(signal.SIGUSR2, 0.02, times_to_be_seen(kind), taken):
        loop.run_forever()


def test_an_exception_out_of_a_handler_of_pythons_own_leaves_the_loop(kind, loop, handler_of_pythons_own):
    class AlarmError(Exception):
        pass

    taken = []

    def handler(*_):
        taken.append(True)
        raise AlarmError

    handler_of_pythons_own(handler)
    with signals_from_outside(signal.SIGUSR2, 0.02, times_to_be_seen(kind), taken), pytest.raises(AlarmError):
        loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0.01, "went on")) == "went on"


async def test_of_many_signals_none_is_forgotten(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, calls.append, 2)
    for burst in range(1, 21):
        for _ in range(25):
            raise_signal(signal.SIGUSR1)
            raise_signal(signal.SIGUSR2)
        await until(lambda burst=burst: len(calls) >= burst * 50)
    assert calls.count(1) == calls.count(2) == 500
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.remove_signal_handler(signal.SIGUSR2)


async def test_signals_and_calls_from_threads_share_the_wakeup(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "signal")

    def work():
        for _ in range(100):
            loop.call_soon_threadsafe(calls.append, "thread")

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(100):
        raise_signal()
        await asyncio.sleep(0)
    thread.join()
    await until(lambda: len(calls) == 200)
    assert calls.count("signal") == 100
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_a_handler_that_raises_is_reported_and_stays(loop, reports):
    loop.add_signal_handler(signal.SIGUSR1, int, "not a number")
    for _ in range(2):
        raise_signal()
        await until(lambda: reports.unclaimed)
        context = reports.take()
        assert isinstance(context["exception"], ValueError)
        assert context["message"].startswith("Exception in callback int(")
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_a_handler_may_remove_itself(loop):
    calls = []

    def once():
        calls.append(loop.remove_signal_handler(signal.SIGUSR1))

    loop.add_signal_handler(signal.SIGUSR1, once)
    raise_signal()
    await until(lambda: calls)
    assert calls == [True]
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_an_exit_out_of_a_handler_propagates(loop):
    def leave():
        raise SystemExit("leaving")

    loop.add_signal_handler(signal.SIGUSR1, leave)
    raise_signal()
    with pytest.raises(SystemExit, match="leaving"):
        loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


# wrong calls


async def coroutine_function():
    pass


WRONG = {
    "not a number": ("USR1", print, TypeError, "sig must be an int, not 'USR1'"),
    "no such signal": (5000, print, ValueError, "invalid signal number 5000"),
    "negative": (-1, print, ValueError, "invalid signal number -1"),
    "uncatchable": (
        signal.SIGKILL,
        print,
        RuntimeError,
        f"sig {signal.SIGKILL} cannot be caught",
    ),
    "a coroutine function": (
        signal.SIGUSR1,
        coroutine_function,
        TypeError,
        "coroutines cannot be used with add_signal_handler()",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_handler_is_refused(loop, case):
    number, callback, error, message = WRONG[case]
    with pytest.raises(error) as caught:
        loop.add_signal_handler(number, callback)
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert wakeup_fd() == -1


def test_a_refused_handler_leaves_the_others_alone(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    raise_signal()
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize("number", ["USR1", 5000])
def test_removing_a_wrong_signal_is_an_error(loop, number):
    with pytest.raises((TypeError, ValueError), match="sig"):
        loop.remove_signal_handler(number)


async def test_only_the_main_thread_may_add_a_handler(loop):
    def add():
        with pytest.raises(RuntimeError, match="main thread"):
            loop.add_signal_handler(signal.SIGUSR1, print)

    await asyncio.to_thread(add)


# Ctrl-C

RUNNER = """
PAIR = socket.socketpair()
PAIR[0].setblocking(False)

async def main():
    try:
        say("ready")
        {wait}
    except asyncio.CancelledError:
        say("cancelled")
        raise

with asyncio.Runner(loop_factory=new_event_loop) as runner:
    try:
        runner.run(main())
    finally:
        say("loop closed:", runner.get_loop().is_closed())
        for sock in PAIR:
            sock.close()
"""
WAITS = {
    "idle": "await asyncio.sleep(60)",
    "idle forever": "await asyncio.get_running_loop().create_future()",
    "receiving": "await asyncio.get_running_loop().sock_recv(PAIR[0], 1)",
    "busy": "while True: await asyncio.sleep(0)",
}


def interrupt(process, after, busy=False):
    """Sends SIGINT after the child said `after`, and waits for something unless it is busy.

    asyncio's loop has no wakeup descriptor here: it does not see a signal that comes just before it goes to sleep.
    """
    assert process.stdout.readline() == f"{after}\n"
    while not busy and state_of(process) != "S":
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)


def state_of(process):
    """One letter, see proc_pid_stat(5)."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_cancels_the_main_task_and_ends_the_process(kind, wait):
    with child(kind, RUNNER.format(wait=WAITS[wait])) as process:
        interrupt(process, after="ready", busy=wait == "busy")
        out, err = process.communicate(timeout=20)
    assert out == "cancelled\nloop closed: False\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "Warning" not in err
    assert process.returncode == -signal.SIGINT


@pytest.mark.skipif(sys.version_info < (3, 12), reason="loop_factory came with 3.12")
def test_ctrl_c_ends_asyncio_run(kind):
    script = """
    async def main():
        say("ready")
        await asyncio.sleep(60)

    try:
        asyncio.run(main(), loop_factory=new_event_loop)
    except KeyboardInterrupt:
        say("interrupted")
    """
    with child(kind, script) as process:
        interrupt(process, after="ready")
        out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)


def test_a_second_ctrl_c_interrupts_a_task_that_ignores_the_first(kind):
    script = """
    async def main():
        say("ready")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                say("ignored")

    runner = asyncio.Runner(loop_factory=new_event_loop)
    try:
        runner.run(main())
    except KeyboardInterrupt:
        say("interrupted")
        os._exit(7)
    """
    with child(kind, script) as process:
        interrupt(process, after="ready")
        interrupt(process, after="ignored")
        out, _ = process.communicate(timeout=20)
    assert out == "interrupted\n"
    assert process.returncode == 7


def test_ctrl_c_leaves_run_forever_which_can_go_on(kind):
    script = """
    loop = new_event_loop()
    loop.call_soon(say, "ready")
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        say("interrupted", loop.is_running())
    say(loop.run_until_complete(asyncio.sleep(0.01, "went on")))
    loop.close()
    """
    with child(kind, script) as process:
        interrupt(process, after="ready")
        out, err = process.communicate(timeout=20)
    assert (out, err) == ("interrupted False\nwent on\n", "")
    assert process.returncode == 0


def test_ctrl_c_handled_by_the_loop_interrupts_nothing(kind):
    script = """
    loop = new_event_loop()
    loop.add_signal_handler(signal.SIGINT, loop.stop)
    loop.call_soon(say, "ready")
    loop.run_forever()
    say("stopped")
    loop.close()
    """
    with child(kind, script) as process:
        interrupt(process, after="ready")
        out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("stopped\n", "", 0)


def test_a_signal_with_its_default_action_ends_an_idle_loop(kind):
    script = """
    loop = new_event_loop()
    loop.call_soon(say, "ready")
    loop.run_forever()
    """
    with child(kind, script) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_the_handlers_of_the_loop_are_not_the_childs(kind):
    """A child made by fork inherits the descriptor that signals are written to."""
    script = """
    async def main():
        calls = []
        loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)  # CPython does so itself since 3.12
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(0)
        os.waitpid(pid, 0)
        await asyncio.sleep(0.05)
        say(len(calls))
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.05)
        say(len(calls))

    loop = new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    """
    done = run(kind, script)
    assert (done.stdout, done.stderr) == ("0\n1\n", "")
