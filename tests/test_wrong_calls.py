"""Wrong calls: uringloop raises what asyncio's own loop raises, in the same words."""

from __future__ import annotations

import asyncio
import inspect
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from support.protocols import Recorder, dropped
from support.wrong_calls import PATH_TOO_LONG, Bench, Case, Said, check, made_of_a_running_loop, of_cases, said_by

# calls to a loop that is closed


def coroutine_refused_by(call: Callable[[Any], Any]) -> None:
    coroutine = asyncio.sleep(0)
    try:
        call(coroutine)
    finally:
        coroutine.close()


ON_A_CLOSED_LOOP = [
    Case("call_soon", RuntimeError, lambda loop: loop.call_soon(print)),
    Case("call_soon_threadsafe", RuntimeError, lambda loop: loop.call_soon_threadsafe(print)),
    Case("call_later", RuntimeError, lambda loop: loop.call_later(1, print)),
    Case("call_at", RuntimeError, lambda loop: loop.call_at(1, print)),
    Case("call_soon_with_a_bad_callback", RuntimeError, lambda loop: loop.call_soon(42)),
    Case("call_later_without_a_time", TypeError, lambda loop: loop.call_later(None, print)),
    Case("call_at_without_a_time", TypeError, lambda loop: loop.call_at(None, print)),
    Case("run_forever", RuntimeError, lambda loop: loop.run_forever()),
    Case("run_until_complete", RuntimeError, lambda loop: coroutine_refused_by(loop.run_until_complete)),
    Case("run_until_complete_of_nothing", RuntimeError, lambda loop: loop.run_until_complete(None)),
    Case("create_task", RuntimeError, lambda loop: coroutine_refused_by(loop.create_task)),
    Case("run_in_executor", RuntimeError, lambda loop: loop.run_in_executor(None, print)),
    Case("add_reader", RuntimeError, lambda loop: loop.add_reader(0, print)),
    Case("add_writer", RuntimeError, lambda loop: loop.add_writer(0, print)),
    Case("add_reader_negative", RuntimeError, lambda loop: loop.add_reader(-1, print)),
    Case("add_reader_of_text", ValueError, lambda loop: loop.add_reader("text", print)),
    Case("remove_reader_of_text", ValueError, lambda loop: loop.remove_reader("text")),
    Case("remove_writer_of_text", ValueError, lambda loop: loop.remove_writer("text")),
    Case("add_signal_handler", RuntimeError, lambda loop: loop.add_signal_handler(signal.SIGUSR1, print)),
    Case("add_signal_handler_bad", ValueError, lambda loop: loop.add_signal_handler(5000, print)),
    Case("set_exception_handler", TypeError, lambda loop: loop.set_exception_handler(42)),
]


@of_cases(ON_A_CLOSED_LOOP)
def test_a_closed_loop_says_what_asyncios_says(kind, loop, case):
    def make(loop, case):
        loop.close()
        return said_by(lambda: case.call(loop))

    check(kind, loop, case, make)


# calls to a loop that does not run


def with_other_loop(call: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
    other = asyncio.SelectorEventLoop()
    try:
        call(other)
    finally:
        other.close()


async def coroutine_function() -> None:
    pass


NOT_AWAITABLE = {"a_number": 42, "nothing": None, "text": "text", "a_function": print, "a_list": []}
NOT_CALLABLE = {"a_number": 42, "text": "text", "a_list": []}
NO_CALLBACK = {**NOT_CALLABLE, "nothing": None, "a_coroutine_function": coroutine_function}
SCHEDULERS = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
    "call_later": lambda loop, callback: loop.call_later(1, callback),
    "call_at": lambda loop, callback: loop.call_at(1, callback),
    "run_in_executor": lambda loop, callback: loop.run_in_executor(None, callback),
}

ON_AN_IDLE_LOOP = [
    *(
        Case(f"run_until_complete_{name}", TypeError, lambda loop, value=value: loop.run_until_complete(value))
        for name, value in NOT_AWAITABLE.items()
    ),
    *(
        Case(f"create_task_{name}", TypeError, lambda loop, value=value: loop.create_task(value))
        for name, value in NOT_AWAITABLE.items()
    ),
    *(
        Case(f"set_exception_handler_{name}", TypeError, lambda loop, v=value: loop.set_exception_handler(v))
        for name, value in NOT_CALLABLE.items()
    ),
    *(
        Case(f"set_task_factory_{name}", TypeError, lambda loop, v=value: loop.set_task_factory(v))
        for name, value in NOT_CALLABLE.items()
    ),
    *(
        Case(f"set_default_executor_{name}", TypeError, lambda loop, v=value: loop.set_default_executor(v))
        for name, value in {**NOT_CALLABLE, "nothing": None}.items()
    ),
    Case(
        "run_until_complete_of_another_loops_future",
        ValueError,
        lambda loop: with_other_loop(lambda other: loop.run_until_complete(other.create_future())),
    ),
    Case("call_later_without_a_delay", TypeError, lambda loop: loop.call_later(None, print)),
    Case("call_at_without_a_time", TypeError, lambda loop: loop.call_at(None, print)),
    Case("call_later_with_text", TypeError, lambda loop: loop.call_later("soon", print)),
    Case("call_later_with_a_list", TypeError, lambda loop: loop.call_later([], print)),
    Case("call_soon_without_a_callback", TypeError, lambda loop: loop.call_soon()),
    Case("call_later_without_a_callback", TypeError, lambda loop: loop.call_later(1)),
    Case("call_at_without_a_callback", TypeError, lambda loop: loop.call_at(1)),
    Case("call_soon_with_a_keyword", TypeError, lambda loop: loop.call_soon(print, end="")),
    Case("call_later_with_a_keyword", TypeError, lambda loop: loop.call_later(1, print, end="")),
    Case("call_at_with_a_keyword", TypeError, lambda loop: loop.call_at(1, print, end="")),
    Case(
        "call_soon_threadsafe_with_a_keyword",
        TypeError,
        lambda loop: loop.call_soon_threadsafe(print, end=""),
    ),
    Case("run_in_executor_with_no_executor", AttributeError, lambda loop: loop.run_in_executor("x", print)),
    Case("add_reader_without_a_callback", TypeError, lambda loop: loop.add_reader(0)),
    Case("add_writer_without_a_callback", TypeError, lambda loop: loop.add_writer(0)),
    Case("stop_with_an_argument", TypeError, lambda loop: loop.stop(1)),
    Case("close_with_an_argument", TypeError, lambda loop: loop.close(1)),
    Case("time_with_an_argument", TypeError, lambda loop: loop.time(1)),
    Case("set_debug_without_an_argument", TypeError, lambda loop: loop.set_debug()),
    *(
        Case(f"add_signal_handler_{name}", error, lambda loop, n=number: loop.add_signal_handler(n, print))
        for name, number, error in (
            ("text", "USR1", TypeError),
            ("nothing", None, TypeError),
            ("a_float", 10.0, TypeError),
            ("too_large", 5000, ValueError),
            ("zero", 0, ValueError),
            ("negative", -1, ValueError),
            ("kill", signal.SIGKILL, RuntimeError),
            ("stop", signal.SIGSTOP, RuntimeError),
        )
    ),
    *(
        Case(f"remove_signal_handler_{name}", error, lambda loop, n=number: loop.remove_signal_handler(n))
        for name, number, error in (
            ("text", "USR1", TypeError),
            ("nothing", None, TypeError),
            ("too_large", 5000, ValueError),
            ("negative", -1, ValueError),
        )
    ),
    Case(
        "add_signal_handler_of_a_coroutine_function",
        TypeError,
        lambda loop: loop.add_signal_handler(signal.SIGUSR1, coroutine_function),
    ),
    Case(
        "add_signal_handler_of_a_coroutine",
        TypeError,
        lambda loop: coroutine_refused_by(lambda c: loop.add_signal_handler(signal.SIGUSR1, c)),
    ),
    Case(
        "add_signal_handler_in_a_thread",
        RuntimeError,
        lambda loop: in_a_thread(lambda: loop.add_signal_handler(signal.SIGUSR1, print)),
    ),
]

IN_DEBUG_MODE = [
    Case(f"{method}_{name}", TypeError, lambda loop, call=call, value=value: call(loop, value))
    for method, call in SCHEDULERS.items()
    for name, value in NO_CALLBACK.items()
]


def in_a_thread(function: Callable[[], Any]) -> None:
    """Raise here what the function raises in another thread."""
    raised = []

    def work() -> None:
        try:
            function()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised.pop()


def made_of_an_idle_loop(loop: asyncio.AbstractEventLoop, case: Case) -> Said | None:
    return said_by(lambda: case.call(loop))


@of_cases(ON_AN_IDLE_LOOP)
def test_an_idle_loop_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_an_idle_loop)


@of_cases(IN_DEBUG_MODE)
def test_in_debug_mode_a_loop_says_what_asyncios_says(kind, loop, case):
    loop.set_debug(True)
    check(kind, loop, case, made_of_an_idle_loop)


# calls to a loop that runs: sockets

SOCKET_CALLS = {
    "sock_recv": lambda b, sock: b.loop.sock_recv(sock, 10),
    "sock_recv_into": lambda b, sock: b.loop.sock_recv_into(sock, bytearray(9)),
    "sock_recvfrom": lambda b, sock: b.loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda b, sock: b.loop.sock_recvfrom_into(sock, bytearray(9)),
    "sock_sendall": lambda b, sock: b.loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda b, sock: b.loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
    "sock_connect": lambda b, sock: b.loop.sock_connect(sock, ("127.0.0.1", 9)),
    "sock_accept": lambda b, sock: b.loop.sock_accept(sock),
}
RECEIVES = ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"]


def each_socket_call(name: str, error: type[Exception], get: Callable[[Bench], Any], words: bool = True) -> list:
    return [
        Case(f"{method}_{name}", error, lambda b, call=call: call(b, get(b)), words)
        for method, call in SOCKET_CALLS.items()
    ]


async def on_the_socket_of_a_transport(bench: Bench, call: Callable[[Any, Any], Any]) -> None:
    transport, _ = await bench.loop.create_connection(Recorder, sock=bench.tcp)
    try:
        result = call(bench, bench.tcp)
        if inspect.isawaitable(result):
            await result
    finally:
        await dropped(transport)


SOCKET_STATES = [
    *each_socket_call("closed", OSError, lambda b: b.closed),
    *each_socket_call("tls", TypeError, lambda b: b.tls),
    *each_socket_call("nothing", AttributeError, lambda b: None, words=False),
    *each_socket_call("a_number", AttributeError, lambda b: 42, words=False),
    *(
        Case(f"{method}_unconnected", OSError, lambda b, m=method: SOCKET_CALLS[m](b, b.unconnected))
        for method in [*RECEIVES, "sock_sendall", "sock_sendto", "sock_accept"]
    ),
    *(
        Case(f"{method}_in_use", RuntimeError, lambda b, c=call: on_the_socket_of_a_transport(b, c))
        for method, call in SOCKET_CALLS.items()
        if method in RECEIVES
    ),
    Case("sock_sendall_udp_unconnected", OSError, lambda b: b.loop.sock_sendall(b.udp, b"x")),
    Case("sock_accept_udp", OSError, lambda b: b.loop.sock_accept(b.udp)),
    Case("sock_accept_connected", OSError, lambda b: b.loop.sock_accept(b.tcp)),
    Case("sock_connect_connected", OSError, lambda b: b.loop.sock_connect(b.tcp, b.tcp.getpeername())),
    Case("sock_sendall_large_datagram", OSError, lambda b: b.loop.sock_sendto(b.udp, bytes(99_999), ("::1", 9))),
]

BLOCKING_IN_DEBUG_MODE = each_socket_call("blocking", ValueError, lambda b: b.blocking)

NO_SIZE = {"text": "10", "nothing": None, "a_float": 1.5}
NO_DATA = {"text": "text", "nothing": None, "a_number": 42, "a_list": [1]}
SPARSE = memoryview(bytes(10))[::2]

SOCKET_ARGUMENTS = [
    *(
        Case(f"{method}_of_{name}", TypeError, lambda b, m=method, v=value: getattr(b.loop, m)(b.tcp, v))
        for method in ("sock_recv", "sock_recvfrom")
        for name, value in NO_SIZE.items()
    ),
    *(
        Case(f"{method}_of_{name}", error, lambda b, m=method, v=value: getattr(b.loop, m)(b.tcp, v))
        for method in ("sock_recv", "sock_recvfrom")
        for name, value, error in (("minus_one", -1, ValueError), ("too_much", 2**70, OverflowError))
    ),
    *(
        Case(f"{method}_buffer_{name}", TypeError, lambda b, m=method, v=value: getattr(b.loop, m)(b.tcp, v))
        for method in ("sock_recv_into", "sock_recvfrom_into")
        for name, value in {**NO_DATA, "bytes": b"fixed", "a_fixed_view": memoryview(b"fixed")}.items()
    ),
    *(
        Case(f"{method}_a_sparse_view", TypeError, lambda b, m=method: getattr(b.loop, m)(b.tcp, sparse()))
        for method in ("sock_recv_into", "sock_recvfrom_into")
    ),
    Case(
        "sock_recvfrom_into_minus_one",
        ValueError,
        lambda b: b.loop.sock_recvfrom_into(b.udp, bytearray(9), -1),
    ),
    Case(
        "sock_recvfrom_into_more_than_there_is",
        ValueError,
        lambda b: b.loop.sock_recvfrom_into(b.udp, bytearray(9), 10),
    ),
    Case(
        "sock_recvfrom_into_text",
        TypeError,
        lambda b: b.loop.sock_recvfrom_into(b.udp, bytearray(9), "10"),
    ),
    *(
        Case(f"sock_sendall_of_{name}", TypeError, lambda b, v=value: b.loop.sock_sendall(b.tcp, v))
        for name, value in NO_DATA.items()
    ),
    *(
        Case(
            f"sock_sendto_of_{name}",
            TypeError,
            lambda b, v=value: b.loop.sock_sendto(b.udp, v, ("127.0.0.1", 9)),
        )
        for name, value in NO_DATA.items()
    ),
    Case("sock_sendall_of_a_sparse_view", BufferError, lambda b: b.loop.sock_sendall(b.tcp, SPARSE)),
    Case(
        "sock_sendto_of_a_sparse_view",
        BufferError,
        lambda b: b.loop.sock_sendto(b.udp, SPARSE, ("127.0.0.1", 9)),
    ),
    *(
        Case(f"sock_sendto_to_{name}", error, lambda b, a=address: b.loop.sock_sendto(b.udp, b"x", a))
        for name, address, error in (
            ("text", "text", TypeError),
            ("nothing", None, TypeError),
            ("a_number", 42, TypeError),
            ("a_short_tuple", ("127.0.0.1",), TypeError),
            ("a_long_tuple", ("127.0.0.1", 9, 0, 0), TypeError),
            ("a_named_port", ("127.0.0.1", "http"), TypeError),
            ("a_large_port", ("127.0.0.1", 70_000), OverflowError),
            ("a_negative_port", ("127.0.0.1", -1), OverflowError),
            ("a_list", ["127.0.0.1", 9], TypeError),
        )
    ),
    *(
        Case(f"sock_connect_to_{name}", error, lambda b, a=address: b.loop.sock_connect(b.unconnected, a))
        for name, address, error in (
            ("nothing", None, TypeError),
            ("a_number", 42, TypeError),
            ("a_short_tuple", ("127.0.0.1",), ValueError),
            ("an_unknown_service", ("127.0.0.1", "no-such-service"), socket.gaierror),
            ("a_large_port", ("127.0.0.1", 70_000), OverflowError),
            ("a_negative_port", ("127.0.0.1", -1), OverflowError),
            ("the_other_family", ("::1", 9), socket.gaierror),
        )
    ),
    *(
        Case(f"sock_connect_unix_to_{name}", error, lambda b, a=address: b.loop.sock_connect(b.unix, a))
        for name, address, error in (
            ("nothing", None, TypeError),
            ("a_number", 42, TypeError),
            ("a_tuple", ("127.0.0.1", 9), TypeError),
            ("a_long_path", PATH_TOO_LONG, OSError),
            ("a_missing_path", "/no/such/socket", FileNotFoundError),
        )
    ),
    *(
        Case(f"{method}_without_arguments", TypeError, lambda b, m=method: getattr(b.loop, m)())
        for method in SOCKET_CALLS
    ),
]


def sparse() -> memoryview:
    return memoryview(bytearray(10))[::2]


# calls to a loop that runs: watchers

BAD_DESCRIPTORS = {
    "negative": lambda b: -1,
    "text": lambda b: "text",
    "nothing": lambda b: None,
    "a_float": lambda b: 1.5,
    "an_object": lambda b: [],
    "a_closed_socket": lambda b: b.closed,
}
WATCH = {
    "add_reader": lambda loop, fd: loop.add_reader(fd, print),
    "add_writer": lambda loop, fd: loop.add_writer(fd, print),
    "remove_reader": lambda loop, fd: loop.remove_reader(fd),
    "remove_writer": lambda loop, fd: loop.remove_writer(fd),
}
WATCHERS = [
    *(
        Case(f"{method}_{name}", ValueError, lambda b, call=call, get=get: call(b.loop, get(b)))
        for method, call in WATCH.items()
        for name, get in BAD_DESCRIPTORS.items()
    ),
    *(
        Case(f"{method}_{name}", error, lambda b, m=method, get=get: WATCH[m](b.loop, get(b)))
        for method in ("add_reader", "add_writer")
        for name, get, error in (
            ("not_open", lambda b: 987_654, OSError),
            ("a_huge_number", lambda b: 2**40, OverflowError),
            ("a_regular_file", lambda b: b.file, PermissionError),
            ("the_number_of_a_regular_file", lambda b: b.file.fileno(), PermissionError),
        )
    ),
    *(
        Case(
            f"{method}_in_use",
            RuntimeError,
            lambda b, call=call: on_the_socket_of_a_transport(b, lambda b, sock: call(b.loop, sock)),
        )
        for method, call in WATCH.items()
    ),
    *(
        Case(
            f"{method}_number_in_use",
            RuntimeError,
            lambda b, call=call: on_the_socket_of_a_transport(b, lambda b, sock: call(b.loop, sock.fileno())),
        )
        for method, call in WATCH.items()
    ),
]


# calls to a loop that runs: transports, and the rest


def on_a_transport(*calls: Callable[[Any], Any]) -> Callable[[Bench], Any]:
    async def make(bench: Bench) -> None:
        transport, _ = await bench.loop.create_connection(Recorder, sock=bench.tcp)
        try:
            for call in calls:
                call(transport)
        finally:
            await dropped(transport)

    return make


TRANSPORTS = [
    *(
        Case(f"write_{name}", TypeError, on_a_transport(lambda t, v=value: t.write(v)))
        for name, value in NO_DATA.items()
    ),
    *(
        Case(f"writelines_{name}", TypeError, on_a_transport(lambda t, v=value: t.writelines(v)), False)
        for name, value in {"a_number": 42, "of_text": ["text"], "of_numbers": [1.5]}.items()
    ),
    Case("write_after_eof", RuntimeError, on_a_transport(lambda t: t.write_eof(), lambda t: t.write(b"x"))),
    Case("write_nothing_after_eof", RuntimeError, on_a_transport(lambda t: t.write_eof(), lambda t: t.write(b""))),
    Case(
        "writelines_after_eof",
        RuntimeError,
        on_a_transport(lambda t: t.write_eof(), lambda t: t.writelines([b"x"])),
    ),
    Case("low_above_high", ValueError, on_a_transport(lambda t: t.set_write_buffer_limits(1, 2))),
    Case("negative_high", ValueError, on_a_transport(lambda t: t.set_write_buffer_limits(-1))),
    Case("negative_low", ValueError, on_a_transport(lambda t: t.set_write_buffer_limits(low=-1))),
    Case("limits_of_text", TypeError, on_a_transport(lambda t: t.set_write_buffer_limits("x")), False),
    Case("write_without_data", TypeError, on_a_transport(lambda t: t.write())),
    Case("close_with_an_argument", TypeError, on_a_transport(lambda t: t.close(1))),
]


async def from_a_thread(call: Callable[[], Any]) -> None:
    await asyncio.to_thread(call)


FROM_ANOTHER_THREAD_IN_DEBUG_MODE = [
    Case("call_soon", RuntimeError, lambda b: from_a_thread(lambda: b.loop.call_soon(print))),
    Case("call_later", RuntimeError, lambda b: from_a_thread(lambda: b.loop.call_later(1, print))),
    Case("call_at", RuntimeError, lambda b: from_a_thread(lambda: b.loop.call_at(1, print))),
    Case("set_result", RuntimeError, lambda b: from_a_thread(lambda: resolve_with_a_callback(b.future))),
]


def resolve_with_a_callback(future: asyncio.Future) -> None:
    future.add_done_callback(print)
    future.set_result(None)


THE_REST = [
    Case("run_until_complete_of_a_future", RuntimeError, lambda b: b.loop.run_until_complete(b.future)),
    Case("run_until_complete", RuntimeError, lambda b: coroutine_refused_by(b.loop.run_until_complete)),
    Case("close", RuntimeError, lambda b: b.loop.close()),
    Case("getaddrinfo_of_nothing", socket.gaierror, lambda b: b.loop.getaddrinfo(None, None)),
    Case("getaddrinfo_family_text", TypeError, lambda b: b.loop.getaddrinfo("127.0.0.1", 80, family="x")),
    Case("getaddrinfo_unknown_host", socket.gaierror, lambda b: b.loop.getaddrinfo("name.invalid", 80)),
    Case("getaddrinfo_positional", TypeError, lambda b: b.loop.getaddrinfo("127.0.0.1", 80, socket.AF_INET)),
    Case("getnameinfo_text", TypeError, lambda b: b.loop.getnameinfo("text")),
    Case("getnameinfo_a_name", (socket.gaierror, OSError), lambda b: b.loop.getnameinfo(("localhost.invalid", 80))),
    Case("run_in_executor_no_callable", TypeError, lambda b: b.loop.run_in_executor(None, 42)),
    Case("executor_after_its_shutdown", RuntimeError, lambda b: use_the_executor_after_its_shutdown(b.loop)),
    Case("wait_for_a_future_of_another_loop", RuntimeError, lambda b: wait_for_another_loops_future(), False),
]


async def use_the_executor_after_its_shutdown(loop: asyncio.AbstractEventLoop) -> None:
    await loop.shutdown_default_executor()
    await loop.run_in_executor(None, print)


async def wait_for_another_loops_future() -> None:
    other = asyncio.SelectorEventLoop()
    try:
        await other.create_future()
    finally:
        other.close()


@of_cases(SOCKET_STATES + SOCKET_ARGUMENTS)
def test_a_socket_method_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(BLOCKING_IN_DEBUG_MODE + FROM_ANOTHER_THREAD_IN_DEBUG_MODE)
def test_in_debug_mode_a_running_loop_says_what_asyncios_says(kind, loop, case):
    loop.set_debug(True)
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(WATCHERS)
def test_add_reader_and_its_like_say_what_asyncios_say(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(TRANSPORTS)
def test_a_transport_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(THE_REST)
def test_a_running_loop_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)
