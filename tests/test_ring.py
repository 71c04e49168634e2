"""The ring: what it needs, what it says when it does not get it, and what it costs when there is nothing to do."""

import asyncio
import ctypes
import errno
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support.checks import PATIENCE, SLOWNESS
from support.running import in_thread

import uringloop
from uringloop import _engine
from uringloop.features import Features
from uringloop.ring import Ring


def run_child(script, **environment):
    """Run a script in a child process of its own and return what it prints."""
    completed = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30 * SLOWNESS,
    )
    assert completed.returncode == 0, completed.stderr
    assert not completed.stderr
    return completed.stdout


def ring_descriptors():
    """Return the descriptors of this process that are rings."""
    links = {int(name): os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")}
    return [fd for fd, link in links.items() if os.path.islink(link) and "io_uring" in os.readlink(link)]


def test_importing_makes_no_ring():
    script = """
    import os, threading
    before = len(os.listdir("/proc/self/fd"))
    import uringloop
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == 1
    """
    run_child(script)


def test_a_closed_loop_keeps_no_descriptor():
    before = ring_descriptors()
    loop = uringloop.new_event_loop()
    assert len(ring_descriptors()) == len(before) + 1
    loop.close()
    assert ring_descriptors() == before


def test_probe_tells_the_features_of_a_loop():
    found = uringloop.probe()
    assert found.available
    assert not found.reason
    loop = uringloop.new_event_loop()
    loop._proactor.ring.may_multishot(socket.AF_UNIX)
    assert found.features == vars(loop._proactor.ring.features)
    loop.close()


@pytest.mark.parametrize("name", list(vars(Features())))
def test_each_feature_can_be_switched_off(monkeypatch, name):
    monkeypatch.setenv("URINGLOOP_DISABLE", name)
    assert not uringloop.probe().features[name]


SINCE = {
    "restrictions": (5, 10),
    "registered_fd": (5, 18),
    "pool": (5, 19),
    "multishot_recv": (6, 8),
    "no_iowait": (6, 15),
}


def test_what_the_kernel_has_is_found(monkeypatch):
    """A feature that is not found is not tested; some kernels have one earlier."""
    monkeypatch.delenv("URINGLOOP_DISABLE", raising=False)
    kernel = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    found = {name for name, there in uringloop.probe().features.items() if there}
    assert {name for name, since in SINCE.items() if kernel >= since} <= found


def test_an_unknown_feature_is_an_error(monkeypatch):
    monkeypatch.setenv("URINGLOOP_DISABLE", "warp_drive")
    known = "multishot_recv, multishot_unix, no_iowait, pool, registered_fd, restrictions"
    with pytest.raises(ValueError, match=f"unknown warp_drive; known: {known}"):
        uringloop.new_event_loop()


# Refusals. Filters and limits last as long as a process, so each is tried in a child.

FILTER = """
import ctypes, errno, struct, sys
import uringloop

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: load the system call's number, compare, return
ALLOW, ERROR = 0x7fff0000, 0x00050000

def refuse(number, code):
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in [
        (LOAD, 0, 0, 0), (EQUAL, 0, 1, number), (RETURN, 0, 0, ERROR | code), (RETURN, 0, 0, ALLOW),
    ])
    memory = ctypes.create_string_buffer(program)
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(memory))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, header, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER

SETUP, ENTER, REGISTER = 425, 426, 427
"""
TRY = """
try:
    uringloop.new_event_loop()
except uringloop.UringUnavailable as error:
    print(errno.errorcode[error.errno], error)
found = uringloop.probe()
assert not found.available and found.reason
"""
REFUSALS = [
    ("SETUP", "EPERM", "seccomp"),
    ("SETUP", "ENOSYS", "Linux 6.1"),
    ("SETUP", "EINVAL", "Linux 6.1"),
    ("SETUP", "ENOMEM", "RLIMIT_MEMLOCK"),
    ("SETUP", "ENFILE", "fs.file-max"),
    ("ENTER", "EPERM", "seccomp"),
    ("ENTER", "ENOSYS", "seccomp"),
    ("REGISTER", "EPERM", "seccomp"),
    ("REGISTER", "ENOSYS", "seccomp"),
]


@pytest.mark.parametrize(("call", "code", "cause"), REFUSALS, ids=lambda value: value)
def test_a_refusal_names_its_cause(call, code, cause):
    printed = run_child(f"{FILTER}\nrefuse({call}, errno.{code})\n{TRY}")
    assert printed.startswith(code)
    assert cause in printed


@pytest.mark.skipif(os.getuid() != 0, reason="giving up the right to lock memory needs that right")
@pytest.mark.parametrize("limit", [0, 8, 16, 64])
def test_with_little_lockable_memory_the_ring_is_small_or_the_error_clear(limit):
    script = f"""
    import os, resource, uringloop
    resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit} * 1024, {limit} * 1024))
    os.setuid(65534)  # nobody: the limit does not bind root
    try:
        loop = uringloop.new_event_loop()
    except uringloop.UringUnavailable as error:
        assert "RLIMIT_MEMLOCK" in str(error), error
        print("refused")
    else:
        import asyncio
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        print("works")
    """
    printed = run_child(script).strip()
    assert printed in {"works", "refused"}
    if limit == 64:
        assert printed == "works"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the system calls are those of x86-64")
def test_a_full_table_of_files_is_an_error_of_each_call():
    """Nothing but a filter can say so here: to fill the table for real would stop the whole machine."""
    calls = """
    import asyncio
    loop = uringloop.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    for number in (41, 53, 293):  # socket, socketpair, pipe2
        refuse(number, errno.ENFILE)
    for call in (
        loop.create_connection(asyncio.Protocol, "127.0.0.1", 9),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 9)),
        loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/true"),
    ):
        try:
            loop.run_until_complete(call)
        except OSError as error:
            print(errno.errorcode[error.errno])
    print(loop.run_until_complete(asyncio.sleep(0.01, "goes on")))
    loop.close()
    """
    printed = run_child(FILTER + textwrap.dedent(calls))
    assert printed == "ENFILE\n" * 3 + "goes on\n"


# Waiting and not waiting


def entries(script):
    """Return the number of times a script enters the ring between its two markers."""
    traced = subprocess.run(
        ["strace", "-f", "-e", "trace=io_uring_enter,getpriority", sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert traced.returncode == 0, traced.stderr
    between = traced.stderr.split("getpriority")[1]
    return between.count("io_uring_enter(")


strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@strace
def test_turns_of_ready_callbacks_do_not_enter_the_kernel():
    script = """
    import os, uringloop
    loop = uringloop.new_event_loop()
    left = 1000
    def step():
        global left
        left -= 1
        if left == 990:
            os.getpriority(os.PRIO_PROCESS, 0)
        if left:
            loop.call_soon(step)
        else:
            os.getpriority(os.PRIO_PROCESS, 0)
            loop.stop()
    loop.call_soon(step)
    loop.run_forever()
    loop.close()
    """
    assert entries(script) == 0


@strace
def test_a_timer_costs_one_entry():
    script = """
    import os, uringloop
    loop = uringloop.new_event_loop()
    def mark():
        os.getpriority(os.PRIO_PROCESS, 0)
    loop.call_later(0.01, mark)
    loop.call_later(0.1, mark)
    loop.call_later(0.2, loop.stop)
    loop.run_forever()
    loop.close()
    """
    assert entries(script) <= 1  # both are due at once after a pause of the machine


def test_an_idle_loop_uses_no_processor():
    loop = uringloop.new_event_loop()
    loop.call_later(1.0, loop.stop)
    before = time.thread_time()
    loop.run_forever()
    assert time.thread_time() - before < 0.02
    loop.close()


def threads_waiting_for_io():
    """Return how many there are on the machine at the moment."""
    with open("/proc/stat") as stat:
        return int(re.search(r"^procs_blocked (\d+)$", stat.read(), re.MULTILINE)[1])


def test_an_idle_loop_does_not_count_as_waiting_for_io():
    """At some moment of its sleep nobody does; others on the machine may at most moments."""
    if not uringloop.probe().features["no_iowait"]:
        pytest.skip("this kernel accounts every wait in a ring as iowait")
    left, right = socket.socketpair()
    left.setblocking(False)
    loop = uringloop.new_event_loop()
    loop.add_reader(left, print)
    counts = []

    def look():
        time.sleep(0.05)  # let the loop fall asleep
        deadline = time.monotonic() + PATIENCE
        while 0 not in counts and time.monotonic() < deadline:
            counts.append(threads_waiting_for_io())
            time.sleep(0.001)
        loop.call_soon_threadsafe(loop.stop)

    looking = threading.Thread(target=look)
    looking.start()
    loop.run_forever()
    looking.join()
    assert 0 in counts
    loop.remove_reader(left)
    loop.close()
    left.close()
    right.close()


# Many at once


def test_more_is_staged_than_the_ring_has_room_for():
    """A thousand polls in one turn, with a submission queue of 256 entries."""
    loop = uringloop.new_event_loop()
    pairs = [socket.socketpair() for _ in range(1000)]
    seen = set()
    for ours, theirs in pairs:
        loop.add_reader(ours, lambda ours=ours: (loop.remove_reader(ours), seen.add(ours)))
        theirs.send(b"x")
    deadline = time.monotonic() + 10
    while len(seen) < len(pairs) and time.monotonic() < deadline:
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert len(seen) == len(pairs)
    loop.close()
    for pair in pairs:
        for sock in pair:
            sock.close()


@pytest.mark.parametrize("sizes", [(4, 8), (1, 2)])
def test_a_tiny_ring_loses_no_completion(monkeypatch, sizes):
    """The completion queue overflows again and again, which ends multishot operations."""
    monkeypatch.setattr("uringloop.ring.SIZES", (sizes,))
    test_more_is_staged_than_the_ring_has_room_for()


def test_a_change_of_thread_loses_nothing_that_the_queue_has_no_room_for(monkeypatch):
    """What has completed when the loop stops stays with a ring that the next thread may not enter."""
    monkeypatch.setattr("uringloop.ring.SIZES", ((4, 8),))
    loop = uringloop.new_event_loop()
    pairs = [socket.socketpair() for _ in range(100)]
    for ours, _ in pairs:
        ours.setblocking(False)
    tasks = [loop.create_task(loop.sock_recv(ours, 100)) for ours, _ in pairs]

    def send_to_all():
        for _, theirs in pairs:
            theirs.send(b"x")
        loop.stop()

    loop.call_later(0.05, send_to_all)
    in_thread(loop.run_forever)
    for _, theirs in pairs:
        theirs.send(b"y")
        theirs.shutdown(socket.SHUT_WR)
    received = loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks), 10))
    assert all(data in {b"x", b"xy"} for data in received)
    loop.close()
    for pair in pairs:
        for sock in pair:
            sock.close()


@pytest.mark.parametrize(("first", "then"), list(itertools.product(["close", "abandon"], repeat=2)))
def test_a_ring_is_given_up_once(first, then):
    """The number of its descriptor may be somebody else's by then."""
    before = ring_descriptors()
    ring = Ring()
    (fd,) = set(ring_descriptors()) - set(before)
    getattr(ring, first)()
    assert ring_descriptors() == before
    os.dup2(0, fd)
    getattr(ring, then)()
    os.close(fd)  # it is still there


def test_loops_in_threads_do_not_meet():
    failures = []

    def work():
        try:
            for _ in range(20):
                loop = uringloop.new_event_loop()
                loop.call_later(0.001, loop.stop)
                loop.run_forever()
                loop.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_running_out_of_descriptors_is_said_so():
    script = """
    import errno, os, resource, uringloop
    uringloop.probe()
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
    try:
        uringloop.new_event_loop()
    except uringloop.UringUnavailable as error:
        assert error.errno == errno.EMFILE, error
        assert "ulimit -n" in str(error)
        print("said")
    """
    assert run_child(script) == "said\n"


# Busy polling.


POLLED = 0.004
"""Seconds of CPU: more than a sleep takes without polling, and little of what polling has even of a busy core."""


def cpu_time_of_a_sleep(loop):
    before = time.thread_time()
    loop.run_until_complete(asyncio.sleep(0.2))
    return time.thread_time() - before


def once(measured):
    """Whether it is as it should be in one of a few times, since a machine may stand still in the others."""
    return any(measured() for _ in range(5))


def test_a_loop_that_polls_looks_for_so_long_and_then_blocks():
    loop = uringloop.Loop(busy_poll=0.1)
    assert once(lambda: POLLED < cpu_time_of_a_sleep(loop) < 0.18)
    loop.close()


def test_a_loop_does_not_poll_unless_told_to(monkeypatch):
    monkeypatch.delenv("URINGLOOP_BUSY_POLL", raising=False)
    loop = uringloop.Loop()
    assert once(lambda: cpu_time_of_a_sleep(loop) < POLLED)  # the first time may take an emulated processor as long
    loop.close()


def test_the_environment_tells_how_long_to_poll(monkeypatch):
    monkeypatch.setenv("URINGLOOP_BUSY_POLL", "0.1")
    loop = uringloop.new_event_loop()
    assert once(lambda: cpu_time_of_a_sleep(loop) > POLLED)
    loop.close()


@pytest.mark.parametrize("seconds", [-0.1, 2, float("nan")])
def test_a_wrong_time_to_poll_is_an_error(seconds):
    before = ring_descriptors()
    with pytest.raises(ValueError, match="busy_poll must be from 0 to 1 second"):
        uringloop.Loop(busy_poll=seconds)
    assert ring_descriptors() == before


def test_what_comes_while_the_loop_polls_is_seen_at_once():
    """Bytes, timers, and calls from other threads: each long before the polling ends."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def take_and_measure():
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        loop.call_later(0.02, theirs.send, b"hello")
        assert await loop.sock_recv(ours, 100) == b"hello"
        called = asyncio.Event()
        threading.Timer(0.02, loop.call_soon_threadsafe, [called.set]).start()
        await called.wait()
        return time.monotonic() - started

    loop = uringloop.Loop(busy_poll=0.9)
    assert once(lambda: loop.run_until_complete(take_and_measure()) < 0.5)
    loop.close()
    ours.close()
    theirs.close()


# What the ring may be used for

RESTRICTED = pytest.mark.parametrize("restricted", [True, False], ids=["restricted", "unrestricted"])
IORING_OP_OPENAT, IORING_REGISTER_EVENTFD, SYS_IO_URING_REGISTER = 18, 4, 427


@pytest.fixture
def ring(monkeypatch, restricted):
    """A ring that this thread has adopted."""
    monkeypatch.setenv("URINGLOOP_DISABLE", "" if restricted else "restrictions")
    ring = Ring()
    assert ring.features.restrictions == restricted
    ring.adopt()
    yield ring
    ring.release()
    ring.close()


@RESTRICTED
def test_a_restricted_ring_opens_no_file(ring, restricted):
    stage = ctypes.CDLL(_engine.__file__).ul_stage
    stage.argtypes = [ctypes.c_void_p, ctypes.c_uint8, ctypes.c_uint64, ctypes.c_int]
    stage.restype = ctypes.c_void_p
    assert stage(int(_engine.ffi.cast("uintptr_t", ring.engine)), IORING_OP_OPENAT, 1, -1)
    _, events = ring.turn(1.0)
    refusal = errno.EACCES if restricted else errno.EFAULT  # the path is NULL
    assert list(events) == [(1, -refusal, 0)]


@RESTRICTED
def test_a_restricted_ring_registers_nothing_else(ring, restricted):
    (fd,) = ring_descriptors()
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_int(-1)
    assert libc.syscall(SYS_IO_URING_REGISTER, fd, IORING_REGISTER_EVENTFD, ctypes.byref(none), 1) == -1
    assert ctypes.get_errno() == (errno.EACCES if restricted else errno.EBADF)


def test_a_loop_outlives_a_filter_against_new_rings():
    use = """
    import asyncio
    loop = uringloop.new_event_loop()
    refuse(SETUP, errno.EPERM)
    try:
        uringloop.new_event_loop()
    except uringloop.UringUnavailable:
        print("no other,", loop.run_until_complete(asyncio.sleep(0.01, "but this one")))
    loop.close()
    """
    assert run_child(FILTER + textwrap.dedent(use)) == "no other, but this one\n"
