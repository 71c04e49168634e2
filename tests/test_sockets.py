"""sock_recv and its like, on every kind of socket. Cancelling them: test_cancelling.py."""

from __future__ import annotations

import array
import asyncio
import hashlib
import importlib
import os
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from support.checks import outcome, stays, turns, until
from support.sockets import (
    INTERNET,
    STREAMS,
    fill,
    pattern,
    read_exactly,
    reset,
)

streams = pytest.mark.parametrize("stream", STREAMS)
families = pytest.mark.parametrize("family", INTERNET)


async def later(action, *args):
    """Do something when the loop has had time to fall asleep."""
    await asyncio.sleep(0.01)
    return action(*args)


async def soon_after(loop, awaitable, action, *args):
    """Await while something happens a little later."""
    deed = loop.create_task(later(action, *args))
    result = await awaitable
    await deed
    return result


# receiving


@streams
async def test_recv_returns_what_is_there(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    theirs.send(b"hello")
    assert await loop.sock_recv(ours, 100) == b"hello"


@streams
async def test_recv_waits_for_what_comes(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    assert await soon_after(loop, loop.sock_recv(ours, 100), theirs.send, b"hello") == (b"hello")


@streams
async def test_recv_returns_no_more_than_asked_for(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    theirs.send(b"hello")
    chunks = [await loop.sock_recv(ours, 2) for _ in range(3)]
    assert chunks == [b"he", b"ll", b"o"]


@streams
async def test_recv_returns_nothing_at_the_end(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    assert await soon_after(loop, loop.sock_recv(ours, 100), theirs.close) == b""
    assert await loop.sock_recv(ours, 100) == b""


@streams
async def test_recv_of_nothing_returns_at_once(loop, sockets, stream):
    ours, _theirs = sockets.pair(stream)
    assert await loop.sock_recv(ours, 0) == b""
    assert await loop.sock_recv_into(ours, bytearray()) == 0


@streams
async def test_what_was_sent_before_the_end_comes_first(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    theirs.send(b"last words")
    theirs.close()
    assert await loop.sock_recv(ours, 100) == b"last words"
    assert await loop.sock_recv(ours, 100) == b""


@streams
async def test_recv_into_fills_the_buffer(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    buffer = bytearray(b"." * 8)
    theirs.send(b"hello")
    assert await loop.sock_recv_into(ours, buffer) == 5
    assert buffer == b"hello..."
    received = loop.sock_recv_into(ours, memoryview(buffer)[2:6])
    assert await soon_after(loop, received, theirs.send, b"WORLD") == 4
    assert buffer == b"heWORL.."


async def test_recv_into_takes_any_writable_buffer(loop, sockets):
    ours, theirs = sockets.unix_pair()
    numbers = array.array("H", [0] * 4)
    theirs.send(b"\1\0\2\0")
    assert await loop.sock_recv_into(ours, numbers) == 4
    assert numbers.tolist() == [1, 2, 0, 0]


async def test_recv_into_returns_zero_at_the_end(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    received = loop.sock_recv_into(ours, bytearray(10))
    assert await soon_after(loop, received, theirs.close) == 0


async def test_recv_into_needs_a_writable_buffer(loop, sockets):
    ours, _theirs = sockets.tcp_pair()
    with pytest.raises(TypeError):
        await loop.sock_recv_into(ours, b"fixed")


async def test_a_received_buffer_is_free_again(loop, sockets):
    """A bytearray cannot be resized while something has a hold of it."""
    ours, theirs = sockets.tcp_pair()
    buffer = bytearray(10)
    received = loop.sock_recv_into(ours, buffer)
    await soon_after(loop, received, theirs.send, b"hello")
    buffer.extend(bytes(100_000))
    sent = bytearray(b"x" * 10)
    await loop.sock_sendall(ours, sent)
    sent.clear()


async def test_much_is_received_in_one_call(loop, sockets):
    ours, theirs = sockets.unix_pair()
    data = pattern(100_000)
    assert theirs.send(data) == len(data)
    assert await loop.sock_recv(ours, 1_000_000) == data


async def test_two_sockets_are_received_from_at_once(loop, sockets):
    pairs = [sockets.tcp_pair() for _ in range(50)]
    receives = [loop.create_task(loop.sock_recv(ours, 10)) for ours, _ in pairs]
    await turns(3)
    for number, (_, theirs) in reversed(list(enumerate(pairs))):
        theirs.send(b"%d" % number)
    received = await asyncio.gather(*receives)
    assert received == [b"%d" % number for number in range(50)]


async def test_a_receive_and_a_send_share_a_socket(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    filled = fill(ours)
    receive = loop.create_task(loop.sock_recv(ours, 100))
    send = loop.create_task(loop.sock_sendall(ours, b"the end"))
    await asyncio.sleep(0.01)
    theirs.send(b"hello")
    assert await receive == b"hello"
    assert not send.done()
    assert (await read_exactly(theirs, filled + 7))[filled:] == b"the end"
    await send


@pytest.mark.uringloop_only("asyncio forgets the first of two that wait on one socket")
async def test_receives_that_wait_on_one_socket_are_served_in_order(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    receives = [loop.create_task(loop.sock_recv(ours, 1)) for _ in range(5)]
    await turns(3)
    theirs.send(b"abcde")
    assert await asyncio.gather(*receives) == [b"a", b"b", b"c", b"d", b"e"]


@pytest.mark.uringloop_only("asyncio forgets the first of two that wait on one socket")
async def test_sends_that_wait_on_one_socket_do_not_mix(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    parts = [bytes([number]) * 3_000_000 for number in range(4)]
    sends = [loop.create_task(loop.sock_sendall(ours, part)) for part in parts]
    received = await read_exactly(theirs, sum(map(len, parts)))
    await asyncio.gather(*sends)
    assert hashlib.sha256(received).digest() == (hashlib.sha256(b"".join(parts)).digest())


# sending


@streams
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
async def test_sendall_sends_it_all(loop, sockets, stream, make):
    ours, theirs = sockets.pair(stream)
    assert await loop.sock_sendall(ours, make(b"hello")) is None
    assert await read_exactly(theirs, 5) == b"hello"


async def test_sendall_of_nothing_sends_nothing(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    await loop.sock_sendall(ours, b"")
    await loop.sock_sendall(ours, b"x")
    assert await read_exactly(theirs, 1) == b"x"


@streams
async def test_a_large_sendall_reaches_a_slow_reader_whole(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    data = pattern(20_000_000)
    seen = hashlib.sha256()

    def read_slowly():
        theirs.settimeout(10)
        while chunk := theirs.recv(1_000_000):
            seen.update(chunk)
            time.sleep(0.002)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    await loop.sock_sendall(ours, data)
    ours.close()
    await asyncio.to_thread(reader.join)
    assert seen.digest() == hashlib.sha256(data).digest()


async def test_the_loop_goes_on_during_a_sendall(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    send = loop.create_task(loop.sock_sendall(ours, bytes(20_000_000)))
    await stays(lambda: not send.done())
    await read_exactly(theirs, 20_000_000)
    await send


# connecting and accepting


@families
async def test_connect_and_accept_over_tcp(loop, sockets, family):
    listener = sockets.listener(family)
    client = sockets.new(family)
    assert await loop.sock_connect(client, listener.getsockname()) is None
    server, address = await loop.sock_accept(listener)
    sockets.keep(server)
    assert address == client.getsockname()
    assert server.getsockname() == client.getpeername()
    await loop.sock_sendall(client, b"hello")
    assert await loop.sock_recv(server, 10) == b"hello"


@pytest.mark.parametrize("abstract", [False, True])
async def test_connect_and_accept_over_unix_sockets(loop, sockets, tmp_path, abstract):
    path = f"\0{tmp_path}" if abstract else str(tmp_path / "socket")
    listener = sockets.new(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    client = sockets.new(socket.AF_UNIX)
    await loop.sock_connect(client, path)
    server, _ = await loop.sock_accept(listener)
    sockets.keep(server)
    await loop.sock_sendall(server, b"hello")
    assert await loop.sock_recv(client, 10) == b"hello"


async def test_an_accepted_socket_is_like_one_that_python_accepts(loop, sockets):
    listener = sockets.listener()
    sockets.new(socket.AF_INET).connect_ex(listener.getsockname())
    server, address = await loop.sock_accept(listener)
    sockets.keep(server)
    assert type(server) is socket.socket
    assert type(address) is tuple
    assert server.gettimeout() == 0
    assert not os.get_inheritable(server.fileno())
    assert (server.family, server.type) == (socket.AF_INET, socket.SOCK_STREAM)


async def test_accepting_one_who_has_gone_from_a_family_that_is_left_to_python(kind, loop, sockets, monkeypatch):
    """Its address is asked for afterwards, and the socket has none any more."""
    if not kind.is_oracle:
        monkeypatch.setattr(importlib.import_module("uringloop.operations.addresses"), "decode", lambda raw: None)
    listener = sockets.listener()
    client = socket.create_connection(listener.getsockname())
    connection = f":{client.getpeername()[1]:04X} 0100007F:{client.getsockname()[1]:04X} "
    reset(client)
    await until(lambda: connection not in Path("/proc/net/tcp").read_text())
    accepted, address = await loop.sock_accept(listener)
    with accepted:
        assert address is None or kind.is_oracle


async def test_accept_waits_for_a_connection(loop, sockets):
    listener = sockets.listener()
    client = sockets.new(socket.AF_INET)
    accepted = loop.sock_accept(listener)
    server, address = await soon_after(loop, accepted, client.connect_ex, listener.getsockname())
    sockets.keep(server)
    assert address == client.getsockname()


@pytest.mark.uringloop_only("asyncio forgets the first of two that wait on one socket")
async def test_accepts_that_wait_on_one_socket_are_served_in_order(loop, sockets):
    listener = sockets.listener()
    accepts = [loop.create_task(loop.sock_accept(listener)) for _ in range(3)]
    await turns(2)
    clients = [sockets.keep(socket.create_connection(listener.getsockname())) for _ in accepts]
    for accept, client in zip(accepts, clients, strict=True):
        server, address = await accept
        server.close()
        assert address == client.getsockname()


async def test_connect_resolves_a_host_name(loop, sockets):
    listener = sockets.listener()
    client = sockets.new(socket.AF_INET)
    await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
    assert client.getpeername() == listener.getsockname()


async def test_connect_resolves_in_the_family_of_the_socket(loop, sockets, names):
    listener = sockets.listener(socket.AF_INET6)
    names.add("both.test", listener.getsockname())
    client = sockets.new(socket.AF_INET6)
    await loop.sock_connect(client, ("both.test", listener.getsockname()[1]))
    assert client.getpeername() == listener.getsockname()


async def test_connect_to_a_name_that_does_not_exist(loop, sockets):
    with pytest.raises(socket.gaierror):
        await loop.sock_connect(sockets.new(socket.AF_INET), ("name.invalid", 80))


async def test_connecting_with_a_flow_label_that_is_too_large(loop, sockets):
    for flowinfo in (1 << 20, -1):
        with pytest.raises(OverflowError, match="flowinfo"):
            await loop.sock_connect(sockets.new(socket.AF_INET6), ("::1", 9, flowinfo, 0))


@families
async def test_a_refused_connection_names_the_address(loop, sockets, family):
    address = sockets.refused_address(family)
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.sock_connect(sockets.new(family), address)
    assert str(caught.value) == f"[Errno 111] Connect call failed {address}"


async def test_connecting_to_a_unix_path_where_nothing_is(loop, sockets, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        await loop.sock_connect(sockets.new(socket.AF_UNIX), str(tmp_path / "none"))
    assert caught.value.errno == 2


async def test_connecting_to_a_unix_path_where_nobody_listens(loop, sockets, tmp_path):
    path = str(tmp_path / "deaf")
    sockets.new(socket.AF_UNIX).bind(path)
    with pytest.raises(ConnectionRefusedError):
        await loop.sock_connect(sockets.new(socket.AF_UNIX), path)


async def test_connecting_a_connected_socket_is_an_error(loop, sockets):
    _, client = sockets.tcp_pair()
    with pytest.raises(OSError, match="already connected"):
        await loop.sock_connect(client, client.getpeername())


async def test_a_datagram_socket_can_be_connected(loop, sockets):
    ours, theirs = sockets.udp(), sockets.udp()
    await loop.sock_connect(ours, theirs.getsockname())
    await loop.sock_sendall(ours, b"hello")
    assert await loop.sock_recvfrom(theirs, 10) == (b"hello", ours.getsockname())


async def test_many_connections_at_once(loop, sockets):
    listener = sockets.listener()
    clients = [sockets.new(socket.AF_INET) for _ in range(50)]
    connects = [loop.sock_connect(client, listener.getsockname()) for client in clients]
    accepted = asyncio.gather(*connects)
    addresses = []
    for _ in clients:
        server, address = await loop.sock_accept(listener)
        sockets.keep(server)
        addresses.append(address)
    await accepted
    assert sorted(addresses) == sorted(client.getsockname() for client in clients)


# datagrams


@families
async def test_datagrams_carry_the_address_of_their_sender(loop, sockets, family):
    ours, theirs = sockets.udp(family), sockets.udp(family)
    sent = await loop.sock_sendto(theirs, b"hello", ours.getsockname())
    assert sent == 5
    assert await loop.sock_recvfrom(ours, 100) == (b"hello", theirs.getsockname())


@families
async def test_recvfrom_waits_for_a_datagram(loop, sockets, family):
    ours, theirs = sockets.udp(family), sockets.udp(family)
    received = loop.sock_recvfrom(ours, 100)
    assert await soon_after(loop, received, theirs.sendto, b"hello", ours.getsockname()) == (
        b"hello",
        theirs.getsockname(),
    )


@families
async def test_recvfrom_into_fills_the_buffer(loop, sockets, family):
    ours, theirs = sockets.udp(family), sockets.udp(family)
    buffer = bytearray(b"." * 8)
    theirs.sendto(b"hello", ours.getsockname())
    received = await loop.sock_recvfrom_into(ours, buffer)
    assert received == (5, theirs.getsockname())
    assert buffer == b"hello..."
    received = await soon_after(
        loop,
        loop.sock_recvfrom_into(ours, buffer, 3),
        theirs.sendto,
        b"HELLO",
        ours.getsockname(),
    )
    assert received == (3, theirs.getsockname())
    assert buffer == b"HELlo..."


async def test_a_datagram_keeps_its_bounds(loop, sockets):
    ours, theirs = sockets.udp_pair()
    for datagram in (b"one", b"", b"three"):
        theirs.send(datagram)
    assert await loop.sock_recv(ours, 100) == b"one"
    assert await loop.sock_recvfrom(ours, 100) == (b"", theirs.getsockname())
    assert await loop.sock_recv(ours, 2) == b"th"  # the rest of it is gone
    theirs.send(b"four")
    assert await loop.sock_recv(ours, 100) == b"four"


async def test_an_empty_datagram_wakes_a_receive(loop, sockets):
    ours, theirs = sockets.udp_pair()
    received = loop.sock_recvfrom(ours, 100)
    assert await soon_after(loop, received, theirs.send, b"") == (
        b"",
        theirs.getsockname(),
    )


async def test_the_largest_datagram_comes_whole(loop, sockets):
    ours, theirs = sockets.udp_pair()
    data = pattern(65507)
    assert await loop.sock_sendto(theirs, data, ours.getsockname()) == 65507
    assert await loop.sock_recv(ours, 100_000) == data


async def test_a_datagram_too_large_is_an_error(loop, sockets):
    ours, theirs = sockets.udp_pair()
    with pytest.raises(OSError, match="Message too long"):
        await loop.sock_sendto(ours, bytes(65508), theirs.getsockname())


async def test_a_refused_datagram_is_an_error_of_the_next_call(loop, sockets):
    ours = sockets.udp()
    ours.connect(sockets.refused_address(kind=socket.SOCK_DGRAM))
    ours.send(b"hello?")
    with pytest.raises(ConnectionRefusedError):
        await loop.sock_recv(ours, 100)


async def test_unix_datagrams(loop, sockets, tmp_path):
    kind = socket.SOCK_DGRAM
    ours, theirs = (sockets.new(socket.AF_UNIX, kind) for _ in range(2))
    nameless = sockets.new(socket.AF_UNIX, kind)
    ours.bind(str(tmp_path / "ours"))
    theirs.bind(str(tmp_path / "theirs"))
    await loop.sock_sendto(theirs, b"hello", ours.getsockname())
    assert await loop.sock_recvfrom(ours, 10) == (b"hello", theirs.getsockname())
    await loop.sock_sendto(nameless, b"nameless", ours.getsockname())
    assert await loop.sock_recvfrom(ours, 10) == (b"nameless", None)


async def test_sendto_waits_for_room(loop, sockets):
    """A Unix socket has room for a few datagrams only, and loses none."""
    ours, theirs = sockets.unix_pair(socket.SOCK_DGRAM)
    filled = 0
    while True:
        try:
            theirs.send(b"x")
        except BlockingIOError:
            break
        filled += 1
    send = loop.create_task(outcome(loop.sock_sendall(theirs, b"last")))
    await stays(lambda: not send.done(), 0.02)
    for _ in range(filled):
        assert await loop.sock_recv(ours, 10) == b"x"
    assert await loop.sock_recv(ours, 10) == b"last"
    assert await send is None


async def test_recvfrom_on_a_stream(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"hello")
    assert await loop.sock_recvfrom(ours, 10) == (b"hello", None)


# errors


async def test_a_reset_connection_is_an_error(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    with pytest.raises(ConnectionResetError) as caught:
        await soon_after(loop, loop.sock_recv(ours, 10), reset, theirs)
    assert str(caught.value) == "[Errno 104] Connection reset by peer"
    with pytest.raises(BrokenPipeError):
        await loop.sock_sendall(ours, b"x")


async def test_sending_to_one_who_left_is_an_error_and_no_signal(loop, sockets):
    ours, theirs = sockets.unix_pair()
    theirs.close()
    with pytest.raises(BrokenPipeError) as caught:
        await loop.sock_sendall(ours, b"x")
    assert str(caught.value) == "[Errno 32] Broken pipe"


async def test_a_sendall_ends_with_an_error_when_the_peer_leaves(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    with pytest.raises(ConnectionError):
        await soon_after(loop, loop.sock_sendall(ours, bytes(20_000_000)), reset, theirs)


async def test_a_socket_shut_down_by_ourselves_ends_a_receive(loop, sockets):
    ours, _theirs = sockets.tcp_pair()
    received = loop.sock_recv(ours, 10)
    assert await soon_after(loop, received, ours.shutdown, socket.SHUT_RD) == b""


CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(9)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, s: loop.sock_recvfrom_into(s, bytearray(9)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 9)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}
calls = pytest.mark.parametrize("call", CALLS)


@calls
async def test_in_debug_mode_a_blocking_socket_is_refused(loop, sockets, call):
    loop.set_debug(True)
    sock = sockets.new(socket.AF_INET)
    sock.setblocking(True)
    with pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
        await CALLS[call](loop, sock)
    sock.settimeout(5)
    with pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
        await CALLS[call](loop, sock)


@calls
async def test_a_tls_socket_is_refused(loop, sockets, call):
    ours, _theirs = sockets.tcp_pair()
    context = ssl.create_default_context()
    context.check_hostname = False
    wrapped = context.wrap_socket(ours, do_handshake_on_connect=False)
    with wrapped, pytest.raises(TypeError) as caught:
        await CALLS[call](loop, wrapped)
    assert str(caught.value) == "Socket cannot be of type SSLSocket"


@calls
async def test_a_closed_socket_is_a_bad_descriptor(loop, sockets, call):
    sock = sockets.new(socket.AF_INET)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await CALLS[call](loop, sock)
    assert caught.value.errno == 9


async def test_a_socket_that_is_not_connected(loop, sockets):
    sock = sockets.new(socket.AF_INET)
    with pytest.raises(OSError, match="Transport endpoint is not connected"):
        await loop.sock_recv(sock, 10)
    with pytest.raises(BrokenPipeError):
        await loop.sock_sendall(sock, b"x")


async def test_accept_on_a_socket_that_does_not_listen(loop, sockets):
    with pytest.raises(OSError, match="Invalid argument"):
        await loop.sock_accept(sockets.new(socket.AF_INET))


async def test_after_an_error_the_socket_goes_on(loop, sockets):
    ours, theirs = sockets.udp_pair()
    with pytest.raises(OSError, match="Message too long"):
        await loop.sock_sendall(ours, bytes(100_000))
    await loop.sock_sendall(ours, b"small")
    assert await loop.sock_recv(theirs, 10) == b"small"


async def test_a_thousand_round_trips(loop, sockets):
    ours, theirs = sockets.tcp_pair()

    async def echo():
        while data := await loop.sock_recv(theirs, 100):
            await loop.sock_sendall(theirs, data)

    echoing = loop.create_task(echo())
    for number in range(1000):
        await loop.sock_sendall(ours, b"%d" % number)
        assert await loop.sock_recv(ours, 100) == b"%d" % number
    ours.close()
    await echoing


async def test_both_directions_at_full_speed(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    data = pattern(5_000_000)

    async def send_and_end(sock):
        await loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)

    async def receive_to_the_end(sock):
        received = bytearray()
        while chunk := await loop.sock_recv(sock, 65536):
            received += chunk
        return hashlib.sha256(received).digest()

    tasks = [send_and_end(ours), send_and_end(theirs)]
    results = [receive_to_the_end(ours), receive_to_the_end(theirs)]
    digests = (await asyncio.gather(*tasks, *results))[2:]
    assert digests == [hashlib.sha256(data).digest()] * 2


async def test_what_a_task_waits_for_tells_whether_it_is_done(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    task = loop.create_task(loop.sock_recv(ours, 100))
    await turns(3)
    assert not task._fut_waiter.done()  # as anyio's wait_all_tasks_blocked() asks
    theirs.send(b"hello")
    assert await task == b"hello"
