"""Child processes: starting, talking, signalling, ending, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from pathlib import Path

import pytest
from support.checks import outcome, stays, turns, until, without_garbage_collector
from support.children import run
from support.sockets import pattern

PIPE = subprocess.PIPE
PYTHON = (sys.executable, "-I", "-S", "-c")
NO_PIPES = {"stdin": None, "stdout": None, "stderr": None}
BLOCKED = ("sleep", "1000")

LARGE = 3_000_000
"""More bytes than a pipe holds."""

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


class Recorder(asyncio.SubprocessProtocol):
    """Records what a process transport calls it with."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []  # consecutive deliveries of data from one pipe count as one
        self.data = {1: bytearray(), 2: bytearray()}
        self.transport: asyncio.SubprocessTransport | None = None
        self.lost = False

    def note(self, *call) -> None:
        self.calls.append(call)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def pipe_data_received(self, fd, data):
        assert type(data) is bytes
        self.data[fd] += data
        if self.calls[-1] != ("data", fd):
            self.note("data", fd)

    def pipe_connection_lost(self, fd, exc):
        self.note("pipe lost", fd, exc)

    def process_exited(self):
        self.note("exited")

    def connection_lost(self, exc):
        self.note("lost", exc)
        self.lost = True

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    async def ends(self) -> None:
        await until(lambda: self.lost)


@contextlib.asynccontextmanager
async def started(*args, protocol=None, **options):
    """A process with its protocol, a `Recorder` unless told; killed in the end if it still runs."""
    loop = asyncio.get_running_loop()
    protocol = protocol or Recorder()
    transport, _ = await loop.subprocess_exec(lambda: protocol, *args, **options)
    try:
        yield transport, protocol
    finally:
        transport.close()
        await protocol.ends()


@pytest.fixture(autouse=True)
def _no_children_are_left():
    """Every child is waited for."""
    yield
    deadline = time.monotonic() + 2
    while children() and time.monotonic() < deadline:
        time.sleep(0.01)
    left = children()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not left


def children() -> list[int]:
    """The numbers of this process's children, zombies among them."""
    found = []
    for name in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):
            found += Path(f"/proc/self/task/{name}/children").read_text().split()
    return [int(number) for number in found]


async def check_output(*args, **options) -> bytes:
    process = await asyncio.create_subprocess_exec(*args, stdout=PIPE, **options)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


# the life of a process


async def test_the_life_of_a_process(loop):
    async with started("sh", "-c", "cat; echo error >&2; exit 7") as (transport, protocol):
        assert protocol.calls == [("made",)]
        assert transport.get_returncode() is None
        transport.get_pipe_transport(0).write(b"input")
        await until(lambda: protocol.data[1] == b"input")
        transport.get_pipe_transport(0).close()
        await protocol.ends()
        assert protocol.data == {1: b"input", 2: b"error\n"}
        assert transport.get_returncode() == 7
        assert protocol.calls[0] == ("made",)
        assert protocol.calls[-1] == ("lost", None)
        assert sorted(protocol.calls[1:-1], key=str) == [
            ("data", 1),
            ("data", 2),
            ("exited",),
            ("pipe lost", 0, None),
            ("pipe lost", 1, None),
            ("pipe lost", 2, None),
        ]
        for fd in (1, 2):
            assert protocol.calls.index(("data", fd)) < protocol.calls.index(("pipe lost", fd, None))


async def test_what_a_process_transport_says_of_itself(loop):
    async with started(*BLOCKED) as (transport, protocol):
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_protocol() is protocol
        assert protocol.transport is transport
        process = transport.get_extra_info("subprocess")
        assert isinstance(process, subprocess.Popen)
        assert transport.get_pid() == process.pid
        assert children() == [process.pid]
        assert not transport.is_closing()
        assert f"pid={process.pid} running" in repr(transport)
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert isinstance(transport.get_pipe_transport(2), asyncio.ReadTransport)
        assert transport.get_pipe_transport(3) is None
        transport.close()
        assert transport.is_closing()
        await protocol.ends()
        assert "returncode=-9" in repr(transport)
        assert transport.get_pid() == process.pid
        assert process.returncode == -9


@pytest.mark.parametrize("status", [0, 1, 7, 255])
async def test_the_exit_status_is_told(loop, status):
    async with started("sh", "-c", f"exit {status}", **NO_PIPES) as (transport, protocol):
        await protocol.ends()
        assert transport.get_returncode() == status
        assert protocol.calls == [("made",), ("exited",), ("lost", None)]
        assert [transport.get_pipe_transport(fd) for fd in range(3)] == [None] * 3


async def test_the_return_code_is_known_when_process_exited_is_called(loop):
    codes = []

    class Asking(Recorder):
        def process_exited(self):
            super().process_exited()
            codes.append(self.transport.get_returncode())

    async with started("sh", "-c", "exit 3", protocol=Asking()):
        await until(lambda: codes)
    assert codes == [3]


async def test_all_output_comes_before_the_end(loop):
    class Hesitant(Recorder):
        def pipe_data_received(self, fd, data):
            super().pipe_data_received(fd, data)
            pipe = self.transport.get_pipe_transport(fd)
            pipe.pause_reading()
            loop.call_later(0.002, pipe.resume_reading)

    script = "head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2"
    async with started("sh", "-c", script, protocol=Hesitant(), stdin=None) as (_, protocol):
        await protocol.ends()
        assert [len(data) for data in protocol.data.values()] == [60_000, 60_000]
        assert protocol.calls[-1] == ("lost", None)


async def test_a_pipe_that_outlives_the_process_delays_the_end(loop):
    """What the process has started may go on to write."""
    script = "exec 3<&0; (read line; echo late) <&3 & exit 5"
    source, sink = os.pipe()
    async with started("sh", "-c", script, stdin=source, stderr=None) as (_, protocol):
        os.close(source)
        await until(lambda: ("exited",) in protocol.calls)
        await stays(lambda: not protocol.lost)
        os.write(sink, b"go\n")
        os.close(sink)
        await protocol.ends()
        assert protocol.calls == [("made",), ("exited",), ("data", 1), ("pipe lost", 1, None), ("lost", None)]


async def test_the_reader_closing_its_input_is_noticed(loop):
    script = "exec <&-; exec sleep 1000"
    async with started("sh", "-c", script, stdout=None, stderr=None) as (transport, protocol):
        await until(lambda: ("pipe lost", 0, None) in protocol.calls)
        assert transport.get_pipe_transport(0).is_closing()


async def test_flow_control_of_the_input_goes_to_the_protocol(loop):
    async with started("cat", stdout=subprocess.DEVNULL) as (transport, protocol):
        transport.get_pipe_transport(0).write(bytes(LARGE))
        assert ("pause",) in protocol.calls
        await until(lambda: ("resume",) in protocol.calls)


async def test_reading_of_a_pipe_may_be_paused(loop):
    async with started("cat") as (transport, protocol):
        transport.get_pipe_transport(1).pause_reading()
        transport.get_pipe_transport(0).write(b"data")
        await stays(lambda: not protocol.data[1])
        transport.get_pipe_transport(1).resume_reading()
        await until(lambda: protocol.data[1] == b"data")


async def test_the_protocol_can_be_changed(loop):
    async with started("cat") as (transport, first):
        second = Recorder()
        second.note("changed")
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        transport.get_pipe_transport(0).write(b"data")
        await until(lambda: second.data[1] == b"data")
        transport.close()
        await second.ends()
        assert first.calls == [("made",)]
        first.lost = True


@pytest.mark.uringloop_only("asyncio's watcher loses the context", when=sys.version_info < (3, 12))
async def test_callbacks_run_in_the_context_of_the_start(loop):
    seen = set()

    class Looking(Recorder):
        def note(self, *call):
            super().note(*call)
            seen.add((call[0], variable.get(None)))

    async def start(protocol):
        variable.set("mine")
        await loop.subprocess_exec(lambda: protocol, "echo", "hello", stdin=None)

    protocol = Looking()
    await asyncio.create_task(start(protocol))
    await protocol.ends()
    protocol.transport.close()
    assert seen == {(name, "mine") for name in ("made", "data", "pipe lost", "exited", "lost")}


@pytest.mark.parametrize(
    "method", ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited", "connection_lost"]
)
async def test_a_failing_callback_is_reported_and_all_others_are_called(loop, reports, method):
    class Failing(Recorder):
        failed = 0

    def fail(self, *args):
        getattr(Recorder, method)(self, *args)
        self.failed += 1
        raise ZeroDivisionError

    setattr(Failing, method, fail)
    protocol = Failing()
    async with started("echo", "hello", protocol=protocol, stdin=None) as (transport, _):
        await protocol.ends()
        assert protocol.data[1] == b"hello\n"
        names = [call[0] for call in protocol.calls]
        assert sorted(names) == ["data", "exited", "lost", "made", "pipe lost", "pipe lost"]
        assert transport.get_returncode() == 0
    exceptions = [type(report["exception"]) for report in reports.take_all()]
    assert exceptions == [ZeroDivisionError] * protocol.failed


# signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1])
async def test_a_signal_ends_a_process(loop, number):
    async with started(*BLOCKED, **NO_PIPES) as (transport, protocol):
        transport.send_signal(number)
        await protocol.ends()
        assert transport.get_returncode() == -number


@pytest.mark.parametrize(("method", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
async def test_a_process_is_terminated_and_killed(loop, method, number):
    async with started(*BLOCKED) as (transport, protocol):
        getattr(transport, method)()
        await protocol.ends()
        assert transport.get_returncode() == -number


async def test_a_process_may_take_a_signal_and_go_on(loop):
    script = "trap 'echo caught' USR1; echo ready; while :; do sleep 0.01; done"
    async with started("sh", "-c", script) as (transport, protocol):
        for expected in (b"ready\n", b"ready\ncaught\n", b"ready\ncaught\ncaught\n"):
            await until(lambda expected=expected: protocol.data[1] == expected)
            transport.send_signal(signal.SIGUSR1)
        assert transport.get_returncode() is None


@pytest.mark.parametrize("method", ["terminate", "kill"])
async def test_a_process_that_is_gone_gets_no_signal(loop, method):
    class Late(Recorder):
        def process_exited(self):
            super().process_exited()
            getattr(self.transport, method)()

    async with started("true", protocol=Late(), **NO_PIPES) as (transport, protocol):
        await protocol.ends()
        assert transport.get_returncode() == 0
        with pytest.raises(ProcessLookupError):
            getattr(transport, method)()
        with pytest.raises(ProcessLookupError):
            transport.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("method", ["terminate", "kill"])
async def test_a_process_that_was_waited_for_gets_no_signal(loop, method):
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    await turns(3)  # it may have ended before, and its transport not yet
    with pytest.raises(ProcessLookupError):
        getattr(process, method)()


async def test_a_signal_that_there_is_not_is_refused(loop):
    async with started(*BLOCKED, **NO_PIPES) as (transport, _):
        with pytest.raises(OSError, match="Invalid argument"):
            transport.send_signal(1000)
        assert transport.get_returncode() is None


async def test_a_process_that_is_over_is_freed_without_the_garbage_collector(loop):
    with without_garbage_collector():
        transport, protocol = await loop.subprocess_exec(Recorder, "true", stdin=None)
        await protocol.ends()
        transport.close()
        kept = weakref.ref(transport)
        protocol.transport = None
        del transport, protocol
        await until(lambda: kept() is None)


# closing


async def test_closing_kills_the_process_and_closes_its_pipes(loop):
    async with started("cat") as (transport, protocol):
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert transport.get_returncode() is None
        await protocol.ends()
        assert transport.get_returncode() == -signal.SIGKILL
        assert sorted(protocol.calls, key=str) == [
            ("exited",),
            ("lost", None),
            ("made",),
            ("pipe lost", 0, None),
            ("pipe lost", 1, None),
            ("pipe lost", 2, None),
        ]
        assert protocol.calls[-1] == ("lost", None)
        transport.close()


async def test_closing_after_the_end_does_nothing(loop):
    async with started("sh", "-c", "exit 3") as (transport, protocol):
        transport.get_pipe_transport(0).close()
        await protocol.ends()
        transport.close()
        await turns(3)
        assert transport.get_returncode() == 3
        assert protocol.calls[-1] == ("lost", None)


@pytest.mark.uringloop_only("asyncio's loop fetches the status twice, and loses it")
async def test_closing_a_process_that_has_ended_unnoticed_keeps_its_status(loop):
    async with started(*BLOCKED, **NO_PIPES) as (transport, protocol):
        os.kill(transport.get_pid(), signal.SIGTERM)
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)
        transport.close()
        await protocol.ends()
        assert transport.get_returncode() == -signal.SIGTERM


@pytest.mark.uringloop_only("asyncio's loop fetches the status twice, and loses it")
async def test_a_status_that_was_fetched_by_popen_is_taken_from_there(loop, caplog):
    async with started(*BLOCKED, **NO_PIPES) as (transport, protocol):
        process = transport.get_extra_info("subprocess")
        process.terminate()
        assert process.wait() == -signal.SIGTERM
        transport.kill()
        await protocol.ends()
        assert transport.get_returncode() == -signal.SIGTERM
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.uringloop_only("asyncio's watcher is a thread that fetches it first", when=sys.version_info < (3, 12))
@pytest.mark.parametrize("signalled", [False, True])
async def test_a_status_that_was_fetched_by_others_is_255(loop, caplog, signalled):
    async with started(*BLOCKED, **NO_PIPES) as (transport, protocol):
        os.kill(transport.get_pid(), signal.SIGTERM)
        os.waitpid(transport.get_pid(), 0)
        if signalled:
            transport.kill()
        await protocol.ends()
        assert transport.get_returncode() == 255
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(transport.get_pid()) in warning.getMessage()


# starting


async def test_a_command_is_run_by_the_shell(loop):
    protocol = Recorder()
    transport, _ = await loop.subprocess_shell(lambda: protocol, "echo $((6 * 7)); exit 3", stdin=None)
    await protocol.ends()
    transport.close()
    assert protocol.data[1] == b"42\n"
    assert transport.get_returncode() == 3


async def test_a_command_may_be_bytes(loop):
    process = await asyncio.create_subprocess_shell(b"echo hello", stdout=PIPE)
    assert await process.communicate() == (b"hello\n", None)


REFUSED = [
    ({"universal_newlines": True}, "universal_newlines must be False"),
    ({"bufsize": 4096}, "bufsize must be 0"),
    ({"text": True}, "text must be False"),
    ({"encoding": "utf-8"}, "encoding must be None"),
    ({"errors": "strict"}, "errors must be None"),
]


@pytest.mark.parametrize(("options", "complaint"), [*REFUSED, ({"shell": True}, "shell must be False")])
async def test_what_subprocess_exec_refuses(loop, options, complaint):
    error = await outcome(loop.subprocess_exec(never, "true", **options))
    assert isinstance(error, ValueError)
    assert str(error) == complaint


@pytest.mark.parametrize(("options", "complaint"), [*REFUSED, ({"shell": False}, "shell must be True")])
async def test_what_subprocess_shell_refuses(loop, options, complaint):
    error = await outcome(loop.subprocess_shell(never, "true", **options))
    assert isinstance(error, ValueError)
    assert str(error) == complaint


@pytest.mark.parametrize("command", [["true"], None, 7])
async def test_only_a_string_is_a_command(loop, command):
    error = await outcome(loop.subprocess_shell(never, command))
    assert isinstance(error, ValueError)
    assert str(error) == "cmd must be a string"


def never():
    raise AssertionError("the protocol factory was called")


@pytest.mark.parametrize("pipes", [{}, NO_PIPES])
@pytest.mark.parametrize(
    ("program", "options", "expected"),
    [
        ("/no/such/program", {}, FileNotFoundError),
        ("/etc/passwd", {}, PermissionError),
        ("true", {"cwd": "/no/such/folder"}, FileNotFoundError),
        ("true", {"cwd": "/etc/passwd"}, NotADirectoryError),
        (7, {}, TypeError),
        ("nul\0", {}, ValueError),
        ("true", {"no_such_option": 1}, TypeError),
        ("true", {"preexec_fn": lambda: 1 / 0}, subprocess.SubprocessError),
    ],
)
async def test_a_failed_start_leaves_nothing_behind(loop, program, options, expected, pipes):
    for _ in range(3):
        error = await outcome(loop.subprocess_exec(Recorder, program, **options, **pipes))
        assert isinstance(error, expected)
        assert not children()


async def test_a_factory_that_fails_starts_nothing(loop):
    with pytest.raises(ZeroDivisionError):
        await loop.subprocess_exec(lambda: 1 / 0, *BLOCKED)
    assert not children()


@pytest.mark.uringloop_only("asyncio's loop leaves the process running")
async def test_a_process_that_cannot_be_watched_is_killed(loop, monkeypatch):
    def fail(pid):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", fail)
        with pytest.raises(OSError, match="Too many open files"):
            await loop.subprocess_exec(Recorder, *BLOCKED)
    assert not children()


@pytest.mark.parametrize("pipes", [{}, NO_PIPES])
async def test_a_start_that_is_cancelled_kills_and_reaps_the_process(loop, pipes):
    protocol = Recorder()
    task = asyncio.create_task(loop.subprocess_exec(lambda: protocol, *BLOCKED, **pipes))
    await asyncio.sleep(0)
    assert len(children()) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not children()
    await protocol.ends()
    assert protocol.calls[0] == ("made",)
    assert protocol.transport.get_returncode() == -signal.SIGKILL


async def test_starts_that_are_cancelled_at_any_moment_leave_nothing_behind(loop):
    for count in range(8):
        task = asyncio.create_task(asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE))
        await turns(count)
        task.cancel()
        process = await outcome(task)
        if isinstance(process, asyncio.CancelledError):
            continue
        process.kill()
        await process.communicate()
    await until(lambda: not children())
    await turns(5)


async def test_popens_arguments_are_taken(loop, tmp_path):
    script = (
        "import os; print(os.getcwd(), dict(os.environ)['NAME'], os.getsid(0) == os.getpid(), oct(os.umask(0)))"
    )
    options = {"cwd": tmp_path, "env": {"NAME": "value"}, "start_new_session": True, "umask": 0o123}
    output = await check_output(*PYTHON, script, **options)
    assert output.decode().split() == [str(tmp_path), "value", "True", "0o123"]


@pytest.mark.parametrize("own", [False, True])
async def test_a_process_may_have_a_group_of_its_own(loop, own):
    options = {"process_group": 0} if own else {}
    output = await check_output(*PYTHON, "import os; print(os.getpgid(0) == os.getpid())", **options)
    assert output.decode().strip() == str(own)


@pytest.mark.parametrize("restored", [False, True])
async def test_signals_that_python_ignores_are_restored_unless_told_not_to(loop, restored):
    status = await check_output("grep", "SigIgn", "/proc/self/status", restore_signals=restored)
    ignored = int(status.split()[1], 16)
    assert bool(ignored & 1 << signal.SIGPIPE - 1) is not restored


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another user's rights")
async def test_a_process_may_run_as_somebody_else(loop):
    script = "id -u; id -g; id -G"
    output = await check_output("sh", "-c", script, user=65_534, group=65_533, extra_groups=[65_532])
    assert output.split() == [b"65534", b"65533", b"65533", b"65532"]


async def test_a_process_that_runs_as_somebody_who_does_not_exist(loop):
    assert isinstance(await outcome(loop.subprocess_exec(Recorder, "true", user="no such user")), KeyError)


@pytest.mark.parametrize("options", [{"pass_fds": True}, {"close_fds": False}])
async def test_descriptors_are_passed_on_when_asked_for(loop, options):
    source, sink = os.pipe()
    os.set_inheritable(sink, "close_fds" in options)
    if "pass_fds" in options:
        options = {"pass_fds": [sink]}
    script = f"import os; os.write({sink}, b'passed')"
    process = await asyncio.create_subprocess_exec(*PYTHON, script, **options)
    os.close(sink)
    assert await process.wait() == 0
    assert os.read(source, 100) == b"passed"
    os.close(source)


@pytest.mark.parametrize("pass_on", [lambda sock: sock, lambda sock: sock.fileno()], ids=["socket", "number"])
async def test_streams_may_be_sockets_and_numbers_of_descriptors(loop, sockets, pass_on):
    ours, theirs = sockets.unix_pair()
    theirs.setblocking(True)
    process = await asyncio.create_subprocess_exec("cat", stdin=pass_on(theirs), stdout=pass_on(theirs))
    theirs.close()
    await loop.sock_sendall(ours, b"there and back")
    ours.shutdown(socket.SHUT_WR)
    received = bytearray()
    while data := await loop.sock_recv(ours, 100):
        received += data
    assert received == b"there and back"
    assert await process.wait() == 0


async def test_a_program_may_be_a_path_and_have_another_name(loop):
    assert await check_output(Path("/bin/sh"), "-c", "echo hello") == b"hello\n"
    assert await check_output("other", "-c", "echo $0", executable="/bin/sh") == b"other\n"


async def test_a_function_is_run_in_the_child_before_the_program(loop):
    def prepare():
        os.environ["NAME"] = "value"
        os.write(1, b"prepared\n")

    assert await check_output("echo", "run", preexec_fn=prepare) == b"prepared\nrun\n"
    assert "NAME" not in os.environ
    await asyncio.sleep(0.001)  # the loop goes on as before


async def test_streams_may_be_files_and_each_other(loop, tmp_path):
    source, sink = tmp_path / "source", tmp_path / "sink"
    source.write_bytes(b"input\n")
    with source.open("rb") as stdin, sink.open("wb") as stdout:
        script = "cat; echo error >&2"
        options = {"stdin": stdin, "stdout": stdout, "stderr": subprocess.STDOUT}
        async with started("sh", "-c", script, **options) as (transport, protocol):
            await protocol.ends()
            assert transport.get_returncode() == 0
    assert sink.read_bytes() == b"input\nerror\n"


async def test_errors_may_go_where_the_output_goes(loop):
    script = "echo one; echo two >&2; echo three"
    async with started("sh", "-c", script, stdin=None, stderr=subprocess.STDOUT) as (transport, protocol):
        assert transport.get_pipe_transport(2) is None
        await protocol.ends()
        assert protocol.data == {1: b"one\ntwo\nthree\n", 2: b""}


async def test_streams_may_be_nothing(loop):
    options = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    async with started("sh", "-c", "cat; echo; echo >&2; exit 4", **options) as (transport, protocol):
        await protocol.ends()
        assert transport.get_returncode() == 4


LIST_DESCRIPTORS = """
import os
for name in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{name}"):
        print(os.readlink(f"/proc/self/fd/{name}"))
"""


async def test_a_child_inherits_no_descriptor(loop):
    """Neither the ring nor a pidfd nor the pipes of another child, though nobody closes them for it."""
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "close_fds": False}
    usual = subprocess.run([*PYTHON, LIST_DESCRIPTORS], stdout=PIPE, check=True, **options).stdout
    async with started("cat"):
        inherited = await check_output(*PYTHON, LIST_DESCRIPTORS, **options)
    assert len(inherited.splitlines()) == len(usual.splitlines())


# asyncio.subprocess


TWICE = """
import sys
while data := sys.stdin.buffer.read(70_000):
    sys.stdout.buffer.write(data)
    sys.stderr.buffer.write(data)
"""


async def test_much_data_goes_both_ways_at_once(loop):
    data = pattern(LARGE)
    process = await asyncio.create_subprocess_exec(*PYTHON, TWICE, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate(data)
    assert output == data
    assert errors == data
    assert process.returncode == 0


async def test_communicate_closes_the_input(loop):
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await process.communicate(b"") == (b"", None)


async def test_communicate_takes_a_process_that_does_not_read(loop):
    process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
    assert await process.communicate(bytes(LARGE)) == (b"", None)
    assert process.returncode == 0


async def test_writing_to_a_process_that_does_not_read_fails(loop):
    process = await asyncio.create_subprocess_exec("true", stdin=PIPE)

    async def write():
        while True:
            process.stdin.write(bytes(LARGE))
            await process.stdin.drain()

    assert isinstance(await outcome(write()), (BrokenPipeError, ConnectionResetError))
    assert await process.wait() == 0
    await until(process._transport.is_closing)


async def test_a_conversation_by_streams(loop):
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    for number in range(100):
        line = b"%d\n" % number
        process.stdin.write(line)
        await process.stdin.drain()
        assert await process.stdout.readline() == line
    process.stdin.close()
    await process.stdin.wait_closed()
    assert await process.stdout.read() == b""
    assert await process.wait() == 0
    assert process.returncode == 0


async def test_output_is_read_after_the_end(loop):
    process = await asyncio.create_subprocess_exec("head", "-c", "60000", "/dev/zero", stdout=PIPE, limit=1000)
    await until(lambda: process.returncode == 0)
    await turns(3)
    assert await process.stdout.read() == bytes(60_000)
    await process.wait()


async def test_wait_returns_to_all(loop):
    process = await asyncio.create_subprocess_exec(*BLOCKED)
    waiters = [asyncio.create_task(process.wait()) for _ in range(3)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 0.01)
    waiters[0].cancel()
    process.terminate()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [-signal.SIGTERM] * 2
    assert await process.wait() == -signal.SIGTERM


@pytest.mark.uringloop_only("asyncio's loop, before Python 3.15, waits for the pipes too")
async def test_wait_does_not_wait_for_those_who_hold_the_output_open(loop):
    source, sink = os.pipe()
    script = "exec 3<&0; cat <&3 & exit 5"
    process = await asyncio.create_subprocess_shell(script, stdin=source, stdout=PIPE)
    os.close(source)
    assert await asyncio.wait_for(process.wait(), 5) == 5
    os.close(sink)
    assert await process.stdout.read() == b""


async def test_many_processes_at_once(loop):
    async def echo(number):
        return await check_output("echo", str(number))

    outputs = await asyncio.gather(*(echo(number) for number in range(40)))
    assert outputs == [b"%d\n" % number for number in range(40)]


# loops and threads


def test_processes_are_run_in_any_thread(make_loop):
    loops = [make_loop() for _ in range(3)]
    results = []

    async def talk():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        data = pattern(LARGE)
        output, _ = await process.communicate(data)
        blocked = await asyncio.create_subprocess_exec(*BLOCKED)
        blocked.kill()
        results.append((output == data, process.returncode, await blocked.wait()))

    threads = [threading.Thread(target=lambda loop=loop: loop.run_until_complete(talk())) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(True, 0, -signal.SIGKILL)] * len(loops)


@pytest.mark.uringloop_only("asyncio's watcher is tied to a thread")
def test_a_process_goes_on_when_its_loop_runs_in_another_thread(loop):
    async def start():
        return await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)

    def go_on():
        results.append(loop.run_until_complete(process.communicate(b" threads")))

    results = []
    process = loop.run_until_complete(start())
    process.stdin.write(b"between")
    thread = threading.Thread(target=go_on)
    thread.start()
    thread.join()
    assert results == [(b"between threads", None)]
    assert process.returncode == 0


@pytest.mark.uringloop_only("asyncio's loop may use a thread, and a handler, for each")
async def test_neither_a_thread_nor_a_handler_is_used(loop):
    handler = signal.getsignal(signal.SIGCHLD)
    threads = threading.active_count()
    async with started(*BLOCKED) as (transport, protocol):
        assert signal.getsignal(signal.SIGCHLD) is handler
        assert threading.active_count() == threads
        transport.kill()
        await protocol.ends()


@pytest.mark.uringloop_only("asyncio's watcher of some versions fails")
def test_a_process_ends_though_its_signal_is_ignored(kind):
    script = """
        import logging
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        async def main():
            for delay in (0, 0.05):
                process = await asyncio.create_subprocess_exec("sleep", str(delay))
                say(await process.wait())
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """
    result = run(kind, script)
    assert result.stdout.split() == ["255", "255"]
    assert result.returncode == 0
    assert result.stderr.count("its exit status was read elsewhere") == 2


@pytest.mark.uringloop_only("asyncio's loop, before Python 3.14, leaves the process running")
def test_a_transport_that_nobody_closed_is_complained_about(make_loop):
    loop = make_loop()
    transport, protocol = loop.run_until_complete(loop.subprocess_exec(Recorder, *BLOCKED))
    pid = transport.get_pid()
    loop.close()
    del transport, protocol
    with pytest.warns(ResourceWarning) as caught:
        gc.collect()
    messages = sorted(str(warning.message) for warning in caught)
    assert any(f"pid={pid}" in message and "unclosed transport" in message for message in messages)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_a_transport_that_was_closed_is_not_complained_about(make_loop):
    loop = make_loop()
    transport, protocol = loop.run_until_complete(loop.subprocess_exec(Recorder, *BLOCKED))
    transport.close()
    loop.run_until_complete(protocol.ends())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        del transport, protocol
        gc.collect()
    assert not caught


@pytest.mark.uringloop_only("asyncio's loop leaves the pidfd open, and before Python 3.14 raises RuntimeError")
def test_a_transport_can_be_closed_after_its_loop(make_loop, caplog):
    caplog.set_level(logging.ERROR, "asyncio")  # pytest would keep the transport in the record of a warning
    loop = make_loop()
    transport, protocol = loop.run_until_complete(loop.subprocess_exec(Recorder, *BLOCKED))
    pid = transport.get_pid()
    loop.close()
    transport.close()
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    del transport, protocol
    with pytest.warns(ResourceWarning):  # of the pipes
        gc.collect()
