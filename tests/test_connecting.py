"""create_connection, create_unix_connection and connect_accepted_socket."""

import asyncio
import contextlib
import pathlib
import socket
import sys
import time
import weakref

import pytest
from support.checks import outcome, turns, until
from support.protocols import Recorder, closed, dropped
from support.sockets import INTERNET, free_port, read_exactly, sees_the_end

families = pytest.mark.parametrize("family", INTERNET)


async def accepted(sockets, listener):
    """The next connection of a listener."""
    found = []

    def accept():
        try:
            found.append(listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    await until(accept)
    return sockets.keep(found[0])


async def works(sockets, listener, transport, protocol):
    """Check that the transport talks to what the listener accepts, and drop it."""
    peer = await accepted(sockets, listener)
    peer.send(b"hello")
    assert await protocol.receives(5) == b"hello"
    transport.write(b"world")
    assert await read_exactly(peer, 5) == b"world"
    await dropped(transport)


# TCP


@families
async def test_a_connection_is_made_by_host_and_port(loop, sockets, family):
    listener = sockets.listener(family)
    host, port = listener.getsockname()[:2]
    made = []

    def factory(*args):
        assert not args
        made.append(Recorder())
        return made[-1]

    transport, protocol = await loop.create_connection(factory, host, port)
    assert made == [protocol]
    assert protocol.transport is transport
    assert protocol.calls == ["made"]
    await works(sockets, listener, transport, protocol)


@pytest.mark.parametrize("convert", [str, lambda port: str(port).encode()])
async def test_a_port_may_be_text(loop, sockets, convert):
    listener = sockets.listener()
    port = convert(listener.getsockname()[1])
    transport, protocol = await loop.create_connection(Recorder, "127.0.0.1", port)
    await works(sockets, listener, transport, protocol)


async def test_a_connection_is_made_by_name(loop, sockets):
    listener = sockets.listener()
    port = listener.getsockname()[1]
    transport, protocol = await loop.create_connection(Recorder, "localhost", port, family=socket.AF_INET)
    await works(sockets, listener, transport, protocol)


async def test_no_host_means_this_machine(loop, sockets):
    listener = sockets.listener()
    port = listener.getsockname()[1]
    transport, protocol = await loop.create_connection(Recorder, None, port, family=socket.AF_INET)
    await works(sockets, listener, transport, protocol)


@families
async def test_extra_info_of_a_connection(loop, sockets, family):
    listener = sockets.listener(family)
    host, port = listener.getsockname()[:2]
    transport, _ = await loop.create_connection(Recorder, host, port)
    peer = await accepted(sockets, listener)
    assert transport.get_extra_info("peername") == peer.getsockname()
    assert transport.get_extra_info("sockname") == peer.getpeername()
    assert transport.get_extra_info("no such thing") is None
    assert transport.get_extra_info("no such thing", "default") == "default"
    await dropped(transport)


async def test_extra_info_may_be_replaced_for_all_connections(loop, sockets, monkeypatch):
    """Programs do so in their own tests."""
    transport, _ = await loop.create_connection(Recorder, *sockets.listener().getsockname())
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.Transport, "get_extra_info", lambda transport, name, default=None: f"the {name}")
        assert transport.get_extra_info("peername") == "the peername"
    await dropped(transport)


async def test_the_socket_of_a_connection_can_be_used(loop, sockets):
    listener = sockets.listener()
    transport, _ = await loop.create_connection(Recorder, *listener.getsockname())
    sock = transport.get_extra_info("socket")
    assert type(sock) is asyncio.trsock.TransportSocket
    assert sock.getpeername() == listener.getsockname()
    assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.fileno() >= 0
    await dropped(transport)


async def test_a_connected_socket_can_be_handed_over(loop, sockets):
    for blocking in (True, False):
        listener = sockets.listener()
        sock = sockets.keep(socket.create_connection(listener.getsockname()))
        sock.setblocking(blocking)
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert sock.gettimeout() == 0
        assert transport.get_extra_info("peername") == listener.getsockname()
        await works(sockets, listener, transport, protocol)


async def test_a_unix_socket_can_be_handed_over(loop, sockets):
    ours, theirs = sockets.unix_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    theirs.send(b"hello")
    await protocol.receives(5)
    await dropped(transport)


async def test_what_acts_like_a_socket_can_be_handed_over(loop, sockets):
    class Wrapper:
        def __init__(self, sock):
            self.sock = sock

        def __getattr__(self, name):
            return getattr(self.sock, name)

    ours, theirs = sockets.tcp_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=Wrapper(ours))
    theirs.send(b"hello")
    assert await protocol.receives(5) == b"hello"
    transport.write(b"world")
    assert await read_exactly(theirs, 5) == b"world"
    await dropped(transport)


async def test_a_connection_can_have_a_local_address(loop, sockets):
    listener = sockets.listener()
    address = ("127.0.0.1", free_port())
    transport, protocol = await loop.create_connection(Recorder, *listener.getsockname(), local_addr=address)
    assert transport.get_extra_info("sockname") == address
    await works(sockets, listener, transport, protocol)


async def test_a_local_address_of_another_family_is_passed_over(loop, sockets, names):
    listener = sockets.listener()
    names.add("both.test", ("::1", 0, 0, 0), ("127.0.0.2", 0))
    transport, protocol = await loop.create_connection(
        Recorder, *listener.getsockname(), local_addr=("both.test", 0)
    )
    assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
    await works(sockets, listener, transport, protocol)


async def test_a_local_address_in_use_is_an_error_that_names_it(loop, sockets):
    busy = sockets.listener().getsockname()
    listener = sockets.listener()
    with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
        await loop.create_connection(Recorder, *listener.getsockname(), local_addr=busy)
    assert str(busy) in str(caught.value)
    assert caught.value.errno == 98


@families
async def test_a_refused_connection_names_the_address(loop, sockets, family):
    address = sockets.refused_address(family)
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Recorder, *address[:2])
    assert str(caught.value) == f"[Errno 111] Connect call failed {address}"


async def test_a_refusal_that_was_caught_is_gone_without_a_garbage_collection(loop, sockets, no_collection):
    async def refused():
        witness = Recorder()  # the error's traceback refers to this frame, and so to this
        with contextlib.suppress(ConnectionRefusedError):
            await loop.create_connection(Recorder, *sockets.refused_address())
        return weakref.ref(witness)

    witness = await refused()
    await turns(2)
    assert witness() is None


async def test_a_host_that_does_not_exist(loop):
    with pytest.raises(socket.gaierror):
        await loop.create_connection(Recorder, "name.invalid", 80)


async def test_a_connect_that_hangs_can_be_cancelled(loop, sockets):
    task = loop.create_task(loop.create_connection(Recorder, *sockets.silent_address()))
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    assert isinstance(await outcome(task), asyncio.CancelledError)


@pytest.mark.parametrize("wait", range(6))
async def test_a_connection_cancelled_at_any_moment_leaves_nothing(loop, sockets, wait):
    listener = sockets.listener()
    task = loop.create_task(loop.create_connection(Recorder, *listener.getsockname()))
    await turns(wait)
    task.cancel()
    result = await outcome(task)
    if isinstance(result, tuple):
        await dropped(result[0])
    await turns(3)
    try:
        peer, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return
    assert sees_the_end(sockets.keep(peer))


@pytest.mark.uringloop_only("asyncio leaves the socket to the garbage collector")
async def test_a_factory_that_fails_leaves_nothing(loop, sockets):
    def factory():
        raise LookupError("no protocol")

    listener = sockets.listener()
    with pytest.raises(LookupError):
        await loop.create_connection(factory, *listener.getsockname())
    assert sees_the_end(await accepted(sockets, listener))


@pytest.mark.parametrize("method", ["create_connection", "create_unix_connection"])
async def test_a_factory_that_fails_costs_a_given_socket_since_3_14(loop, sockets, method):
    def factory():
        raise LookupError("no protocol")

    ours, theirs = sockets.unix_pair()
    with pytest.raises(LookupError):
        await getattr(loop, method)(factory, sock=ours)
    if sys.version_info >= (3, 14):
        assert ours.fileno() == -1
        assert sees_the_end(theirs)
    else:
        assert ours.fileno() != -1


# several addresses


async def test_the_next_address_is_tried_when_one_refuses(loop, sockets, names):
    listener = sockets.listener()
    refused = sockets.refused_address(), sockets.refused_address(socket.AF_INET6)
    names.add("several.test", *refused, listener.getsockname())
    transport, protocol = await loop.create_connection(Recorder, "several.test", 80)
    assert transport.get_extra_info("peername") == listener.getsockname()
    await works(sockets, listener, transport, protocol)


async def test_when_all_addresses_refuse_the_error_names_them_all(loop, sockets, names):
    addresses = [sockets.refused_address(), sockets.refused_address(socket.AF_INET6)]
    names.add("refused.test", *addresses)
    with pytest.raises(OSError, match=r"^Multiple exceptions: ") as caught:
        await loop.create_connection(Recorder, "refused.test", 80)
    assert type(caught.value) is OSError
    assert all(str(address) in str(caught.value) for address in addresses)


async def test_when_all_errors_say_the_same_one_is_raised(loop, sockets, names):
    address = sockets.refused_address()
    names.add("refused.test", address, address)
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Recorder, "refused.test", 80)
    assert str(caught.value) == f"[Errno 111] Connect call failed {address}"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors came with 3.12")
async def test_all_errors_are_raised_as_a_group_if_wanted(loop, sockets, names):
    names.add("refused.test", sockets.refused_address(), sockets.refused_address())
    with pytest.raises(ExceptionGroup) as caught:
        await loop.create_connection(Recorder, "refused.test", 80, all_errors=True)
    assert caught.value.message == "create_connection failed"
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2


async def test_a_host_without_addresses_is_an_error(loop, names):
    names.add("nowhere.test")
    with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list$"):
        await loop.create_connection(Recorder, "nowhere.test", 80)


async def test_a_silent_first_address_delays_no_more_than_wanted(loop, sockets, names):
    """Happy eyeballs: the second address is tried while the first is silent, and wins."""
    listener = sockets.listener()
    names.add("eyes.test", sockets.silent_address(), listener.getsockname())
    started = time.monotonic()
    transport, protocol = await loop.create_connection(Recorder, "eyes.test", 80, happy_eyeballs_delay=0.05)
    assert time.monotonic() - started > 0.04
    assert transport.get_extra_info("peername") == listener.getsockname()
    await works(sockets, listener, transport, protocol)


async def test_happy_eyeballs_do_not_wait_after_a_refusal(loop, sockets, names):
    listener = sockets.listener()
    names.add("eyes.test", sockets.refused_address(), listener.getsockname())
    transport, protocol = await loop.create_connection(Recorder, "eyes.test", 80, happy_eyeballs_delay=1000)
    await works(sockets, listener, transport, protocol)


async def test_happy_eyeballs_take_the_first_address_when_it_answers(loop, sockets, names):
    listeners = [sockets.listener(), sockets.listener()]
    names.add("eyes.test", *(listener.getsockname() for listener in listeners))
    transport, protocol = await loop.create_connection(Recorder, "eyes.test", 80, happy_eyeballs_delay=1000)
    await works(sockets, listeners[0], transport, protocol)
    with pytest.raises(BlockingIOError):
        listeners[1].accept()


async def test_happy_eyeballs_raise_when_all_refuse(loop, sockets, names):
    names.add("eyes.test", sockets.refused_address(), sockets.refused_address())
    with pytest.raises(OSError, match=r"^Multiple exceptions: "):
        await loop.create_connection(Recorder, "eyes.test", 80, happy_eyeballs_delay=0.01)


async def test_happy_eyeballs_can_be_cancelled(loop, sockets, names):
    names.add("eyes.test", sockets.silent_address(), sockets.silent_address())
    task = loop.create_task(loop.create_connection(Recorder, "eyes.test", 80, happy_eyeballs_delay=0.01))
    await asyncio.sleep(0.05)
    task.cancel()
    assert isinstance(await outcome(task), asyncio.CancelledError)


@pytest.mark.parametrize("interleave", [1, 2])
async def test_addresses_are_interleaved_by_family_if_wanted(loop, sockets, names, interleave):
    four, six = sockets.listener(), sockets.listener(socket.AF_INET6)
    names.add("mixed.test", sockets.refused_address(), four.getsockname(), six.getsockname())
    transport, protocol = await loop.create_connection(Recorder, "mixed.test", 80, interleave=interleave)
    winner = six if interleave == 1 else four
    assert transport.get_extra_info("peername") == winner.getsockname()
    await works(sockets, winner, transport, protocol)


# Unix sockets


@pytest.mark.parametrize("convert", [str, lambda path: str(path).encode(), pathlib.Path])
async def test_a_unix_connection_is_made_by_path(loop, sockets, tmp_path, convert):
    listener = sockets.new(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    transport, protocol = await loop.create_unix_connection(Recorder, convert(tmp_path / "socket"))
    assert transport.get_extra_info("peername") == str(tmp_path / "socket")
    assert transport.get_extra_info("sockname") == ""
    await works(sockets, listener, transport, protocol)


async def test_a_unix_connection_to_an_abstract_name(loop, sockets, tmp_path):
    listener = sockets.new(socket.AF_UNIX)
    listener.bind(f"\0{tmp_path}")
    listener.listen()
    transport, protocol = await loop.create_unix_connection(Recorder, f"\0{tmp_path}")
    assert transport.get_extra_info("peername") == f"\0{tmp_path}".encode()
    await works(sockets, listener, transport, protocol)


async def test_a_connected_unix_socket_can_be_handed_over(loop, sockets):
    ours, theirs = sockets.unix_pair()
    ours.setblocking(True)
    transport, protocol = await loop.create_unix_connection(Recorder, sock=ours)
    theirs.send(b"hello")
    assert await protocol.receives(5) == b"hello"
    await dropped(transport)


async def test_a_unix_path_where_nothing_is(loop, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        await loop.create_unix_connection(Recorder, str(tmp_path / "none"))
    assert caught.value.errno == 2


async def test_a_unix_path_where_nobody_listens(loop, sockets, tmp_path):
    sockets.new(socket.AF_UNIX).bind(str(tmp_path / "deaf"))
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, str(tmp_path / "deaf"))


# accepted elsewhere


@families
async def test_an_accepted_socket_can_be_handed_over(loop, sockets, family):
    listener = sockets.listener(family)
    client = sockets.keep(socket.create_connection(listener.getsockname()[:2]))
    listener.setblocking(True)  # the kernel may be slow to bring the connection
    sock, address = listener.accept()
    transport, protocol = await loop.connect_accepted_socket(Recorder, sock)
    assert transport.get_extra_info("peername") == address
    client.send(b"hello")
    assert await protocol.receives(5) == b"hello"
    transport.write(b"world")
    assert await read_exactly(client, 5) == b"world"
    transport.close()
    await closed(transport)
    assert sock.fileno() == -1


# the wrong kind of socket


@pytest.mark.parametrize("method", ["create_connection", "create_unix_connection", "connect_accepted_socket"])
async def test_a_datagram_socket_is_refused(loop, sockets, method):
    sock = sockets.udp()
    connect = getattr(loop, method)
    args = (Recorder, sock) if method == "connect_accepted_socket" else (Recorder,)
    options = {} if method == "connect_accepted_socket" else {"sock": sock}
    with pytest.raises(ValueError, match="Stream Socket was expected, got"):
        await connect(*args, **options)


@pytest.mark.uringloop_only(
    "asyncio's loop closes the socket that it refuses, which is the transport's", when=sys.version_info >= (3, 14)
)
async def test_the_socket_of_another_transport_is_refused(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    if sys.version_info >= (3, 12):  # 3.11 lets two transports fight over it
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.create_connection(Recorder, sock=ours)
    theirs.send(b"hello")
    assert await protocol.receives(5) == b"hello"
    await dropped(transport)
