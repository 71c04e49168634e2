"""create_datagram_endpoint and its transports: UDP, Unix, and whatever else has datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import struct
import sys
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.checks import SLOWNESS, forget, outcome, stays, turns, until, without_garbage_collector
from support.kinds import operations_in_flight
from support.protocols import closed, dropped
from support.sockets import HOSTS, INTERNET, SocketMaker, free_port, read_some
from support.wrong_calls import Bench, Case, check, made_of_a_running_loop, of_cases

from uringloop.operations.addresses import encode, known

families = pytest.mark.parametrize("family", INTERNET)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

LARGEST_UDP = 65_507
"""Bytes of the largest datagram that IPv4 carries."""

SENDS_EMPTY = sys.version_info >= (3, 13)
HEADER = 8 if sys.version_info >= (3, 13) else 0
"""What a waiting datagram counts for beside its bytes."""


class Recorder(asyncio.DatagramProtocol):
    """Records what it is called with."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.got: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.lost_by: list[BaseException | None] = []
        self.lost = asyncio.Event()

    @property
    def data(self) -> list[bytes]:
        return [data for data, _ in self.got]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert type(data) is bytes
        self.got.append((data, addr))
        self.calls.append("datagram")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("lost")
        self.lost_by.append(exc)
        self.lost.set()

    async def receives(self, count: int) -> list[tuple[bytes, Any]]:
        """Wait until so many datagrams have come; return all that came."""
        await until(lambda: len(self.got) >= count)
        return self.got

    async def most_in_a_turn(self, count: int) -> int:
        """Wait until so many datagrams have come in all; return the most that came in one turn."""
        most, before = 0, len(self.got)
        while len(self.got) < count:
            await asyncio.sleep(0)
            most = max(most, len(self.got) - before)
            before = len(self.got)
        return most


class Pausing(Recorder):
    """Pauses reading with each datagram."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.pause_reading()


@contextlib.asynccontextmanager
async def endpoint(protocol: Any = None, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Open an endpoint, of a `Recorder` unless told; wait for its end."""
    loop = asyncio.get_running_loop()
    protocol = protocol or Recorder()
    transport, made = await loop.create_datagram_endpoint(lambda: protocol, **options)
    assert made is protocol
    try:
        yield transport, protocol
    finally:
        await dropped(transport)


def local(family: int = socket.AF_INET) -> dict[str, Any]:
    """The options of an endpoint on the loopback."""
    return {"local_addr": (HOSTS[family], 0)}


def to(transport: Any) -> tuple:
    """The host and the port of an endpoint, to be its peer's remote_addr."""
    return transport.get_extra_info("sockname")[:2]


# what an endpoint is


@families
async def test_an_endpoint_is_asyncios_idea_of_one(kind, loop, family):
    async with endpoint(**local(family)) as (transport, protocol):
        assert isinstance(transport, asyncio.Transport)
        if sys.version_info >= (3, 12) or not kind.is_oracle:  # asyncio forgot it before
            assert isinstance(transport, asyncio.DatagramTransport)
        assert transport.get_protocol() is protocol
        assert not transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_write_buffer_limits() == (16_384, 65_536)
        assert "fd=" in repr(transport)
        sock = transport.get_extra_info("socket")
        assert sock.type == socket.SOCK_DGRAM
        assert sock.family == family
        assert transport.get_extra_info("sockname") == sock.getsockname()
        assert transport.get_extra_info("peername") is None
        assert protocol.calls == ["made"]


@families
async def test_two_endpoints_talk(loop, family):
    async with (
        endpoint(**local(family)) as (server, at_server),
        endpoint(remote_addr=to(server)) as (client, at_client),
    ):
        assert client.get_extra_info("peername") == server.get_extra_info("sockname")
        client.sendto(b"question")
        assert await at_server.receives(1) == [(b"question", client.get_extra_info("sockname"))]
        server.sendto(b"answer", at_server.got[0][1])
        assert await at_client.receives(1) == [(b"answer", server.get_extra_info("sockname"))]
        assert not at_server.errors + at_client.errors


@families
async def test_both_addresses_can_be_given(loop, sockets, family):
    peer = sockets.udp(family)
    host = HOSTS[family]
    async with endpoint(local_addr=(host, 0), remote_addr=peer.getsockname()[:2]) as (transport, _):
        assert transport.get_extra_info("sockname")[0] == host
        transport.sendto(b"hello")
        assert await read_some(peer) == b"hello"


@families
async def test_a_socket_of_ones_own(loop, sockets, family):
    ours, theirs = sockets.udp(family), sockets.udp(family)
    async with endpoint(sock=ours) as (transport, protocol):
        transport.sendto(b"there", theirs.getsockname())
        assert await read_some(theirs) == b"there"
        theirs.sendto(b"back", ours.getsockname())
        assert await protocol.receives(1) == [(b"back", theirs.getsockname())]
    assert ours.fileno() == -1


@families
async def test_a_connected_socket_of_ones_own(loop, sockets, family):
    ours, theirs = sockets.udp_pair(family)
    async with endpoint(sock=ours) as (transport, protocol):
        transport.sendto(b"there")
        assert await read_some(theirs) == b"there"
        theirs.send(b"back")
        assert await protocol.receives(1) == [(b"back", theirs.getsockname())]


async def test_a_blocking_socket_is_made_non_blocking(loop, sockets):
    sock = sockets.udp()
    sock.setblocking(True)
    async with endpoint(sock=sock):
        assert sock.gettimeout() == 0


async def test_a_socket_has_one_transport(kind, loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (_, protocol):
        if sys.version_info >= (3, 12) or not kind.is_oracle:  # 3.11 lets two transports fight over it
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.create_datagram_endpoint(Recorder, sock=ours)
        theirs.send(b"hello")
        assert await protocol.receives(1) == [(b"hello", theirs.getsockname())]


async def test_a_family_alone_gives_an_unbound_socket(loop, sockets):
    peer = sockets.udp()
    async with endpoint(family=socket.AF_INET) as (transport, protocol):
        transport.sendto(b"hello", peer.getsockname())
        _, address = await loop.sock_recvfrom(peer, 100)
        peer.sendto(b"back", address)
        assert await protocol.receives(1) == [(b"back", peer.getsockname())]


async def test_options_of_the_socket_are_set_when_asked_for(loop):
    async with endpoint(**local()) as (plain, _), endpoint(
        **local(), reuse_port=True, allow_broadcast=True
    ) as (special, _):
        for option in (socket.SO_REUSEPORT, socket.SO_BROADCAST):
            assert not plain.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, option)
            assert special.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, option)


async def test_a_port_can_be_shared(loop):
    async with (
        endpoint(**local(), reuse_port=True) as (first, _),
        endpoint(local_addr=to(first), reuse_port=True) as (second, _),
    ):
        assert to(second) == to(first)


async def test_a_port_that_is_taken(loop):
    async with endpoint(**local()) as (first, _):
        with pytest.raises(OSError, match="in use"):
            await loop.create_datagram_endpoint(Recorder, local_addr=to(first))


async def test_an_endpoint_for_broadcasts_takes_answers_from_anybody(loop, sockets):
    asked, another = sockets.udp(), sockets.udp()
    async with endpoint(remote_addr=asked.getsockname(), allow_broadcast=True) as (transport, protocol):
        assert transport.get_extra_info("peername") is None
        transport.sendto(b"anybody?")
        data, address = await loop.sock_recvfrom(asked, 100)
        assert data == b"anybody?"
        another.sendto(b"me", address)
        assert await protocol.receives(1) == [(b"me", another.getsockname())]


# resolving


async def test_a_name_is_looked_up(loop, sockets):
    peer = sockets.udp()
    async with endpoint(remote_addr=("localhost", peer.getsockname()[1]), family=socket.AF_INET) as (transport, _):
        assert transport.get_extra_info("peername") == peer.getsockname()


def answer_with(monkeypatch: pytest.MonkeyPatch, *addresses: tuple) -> None:
    """Let every name stand for these addresses."""
    found = [
        (socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM, 17, "", address)
        for address in addresses
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)


async def test_the_next_address_is_tried_when_one_cannot_be_had(loop, monkeypatch):
    answer_with(monkeypatch, ("2001:db8::1", 0, 0, 0), ("127.0.0.1", 0))
    async with endpoint(local_addr=("several.test", 0)) as (transport, _):
        assert transport.get_extra_info("sockname")[0] == "127.0.0.1"


async def test_the_first_error_is_raised_when_no_address_can_be_had(loop, sockets, monkeypatch):
    taken = sockets.udp().getsockname()
    for addresses, message in (
        ([("192.0.2.1", 0), taken], "Cannot assign requested address"),
        ([taken, ("192.0.2.1", 0)], "Address already in use"),
    ):
        answer_with(monkeypatch, (addresses[0][0], addresses[0][1]), ("::ffff:" + addresses[1][0], addresses[1][1]))
        with pytest.raises(OSError, match=message):
            await loop.create_datagram_endpoint(Recorder, local_addr=("several.test", 0))


@pytest.mark.uringloop_only("asyncio leaves the socket to the garbage collector")
async def test_a_factory_that_fails_leaves_nothing(loop):
    def factory():
        raise LookupError("no protocol")

    with pytest.raises(LookupError):
        await loop.create_datagram_endpoint(factory, **local())


async def test_cancelling_leaves_nothing(loop):
    for wait in range(8):
        task = loop.create_task(loop.create_datagram_endpoint(Recorder, **local()))
        await turns(wait)
        task.cancel()
        result = await outcome(task)
        if isinstance(result, tuple):
            await dropped(result[0])
        await turns(3)


# receiving


async def test_connection_made_comes_before_datagrams_that_were_there_already(loop, sockets):
    ours, theirs = sockets.udp(), sockets.udp()
    theirs.sendto(b"early", ours.getsockname())
    async with endpoint(sock=ours) as (_, protocol):
        assert protocol.calls == ["made"]  # and before its maker has it
        await protocol.receives(1)
        assert protocol.calls == ["made", "datagram"]


@families
async def test_datagrams_keep_their_bounds_and_their_order(loop, sockets, family):
    ours, theirs = sockets.udp_pair(family)
    sent = [bytes([size % 251]) * size for size in (1, 0, 7, 65_000, 0, 0, 1400, LARGEST_UDP, 3)]
    async with endpoint(sock=ours) as (_, protocol):
        for data in sent:
            theirs.send(data)
        await protocol.receives(len(sent))
        assert protocol.data == sent


async def test_many_datagrams_arrive_in_order(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (_, protocol):
        for start in range(0, 1000, 100):
            for number in range(start, start + 100):
                theirs.send(b"%d" % number)
            await protocol.receives(start + 100)
        assert protocol.data == [b"%d" % number for number in range(1000)]


async def test_a_flood_leaves_others_their_turn(loop, sockets):
    ours, theirs = sockets.udp_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 400_000)
    theirs.setblocking(True)  # the kernel may be slow to deliver
    async with endpoint(sock=ours) as (_, protocol):
        for _ in range(400):
            theirs.send(b"x")
        most = await protocol.most_in_a_turn(400)
        assert 1 <= most <= 32


async def test_a_datagram_larger_than_udp_has(loop, sockets):
    ours, theirs = sockets.unix_pair(socket.SOCK_DGRAM)
    async with endpoint(sock=ours) as (_, protocol):
        theirs.send(b"x" * 150_000)
        await protocol.receives(1)
        assert protocol.data == [b"x" * 150_000]


async def test_reading_can_be_paused(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (transport, protocol):
        theirs.send(b"1")
        await protocol.receives(1)
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        theirs.send(b"2")
        theirs.send(b"3")
        await stays(lambda: protocol.data == [b"1"])
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await protocol.receives(3)
        assert protocol.data == [b"1", b"2", b"3"]


async def test_a_pause_takes_effect_at_once(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(Pausing(), sock=ours) as (transport, protocol):
        for number in range(10):
            theirs.send(b"%d" % number)
        for number in range(10):
            await protocol.receives(number + 1)
            await turns(3)
            assert len(protocol.got) == number + 1
            transport.resume_reading()
        assert protocol.data == [b"%d" % number for number in range(10)]


async def test_reading_can_be_paused_before_it_begins(loop, sockets):
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    ours, theirs = sockets.udp_pair()
    theirs.send(b"early")
    async with endpoint(Paused(), sock=ours) as (transport, protocol):
        await stays(lambda: not protocol.got)
        transport.resume_reading()
        await protocol.receives(1)


async def test_a_pause_that_ends_before_reading_begins_does_no_harm(loop, sockets):
    class Hesitant(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()
            transport.resume_reading()

    ours, theirs = sockets.udp_pair()
    async with endpoint(Hesitant(), sock=ours) as (_, protocol):
        theirs.send(b"hello")
        await protocol.receives(1)


async def test_an_exception_in_the_protocol_costs_one_datagram(loop, sockets, reports):
    class Failing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"bad":
                raise LookupError(data)

    ours, theirs = sockets.udp_pair()
    async with endpoint(Failing(), sock=ours) as (transport, protocol):
        for data in (b"good", b"bad", b"also good"):
            theirs.send(data)
        await protocol.receives(3)
        report = reports.take()
        assert isinstance(report["exception"], LookupError)
        assert not transport.is_closing()


async def test_protocols_are_called_in_the_context_of_their_endpoint(loop, sockets):
    seen = []

    class Looking(Recorder):
        def connection_made(self, transport):
            seen.append(variable.get("none"))

        def datagram_received(self, data, addr):
            seen.append(variable.get("none"))

    ours, theirs = sockets.udp_pair()
    variable.set("theirs")
    async with endpoint(Looking(), sock=ours):
        variable.set("another")
        theirs.send(b"x")
        await until(lambda: len(seen) == 2)
        assert seen == ["theirs"] * 2


async def test_the_protocol_can_be_replaced(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (transport, first):
        theirs.send(b"1")
        await first.receives(1)
        second = Recorder()
        transport.set_protocol(second)
        theirs.send(b"2")
        await second.receives(1)
        assert first.data == [b"1"]
    assert second.calls == ["datagram", "lost"]


def test_a_loop_that_was_stopped_goes_on_receiving(loop, sockets):
    ours, theirs = sockets.udp_pair()
    transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(Recorder, sock=ours))
    for number in range(3):
        theirs.send(b"%d" % number)
        loop.run_until_complete(protocol.receives(number + 1))
    assert protocol.data == [b"0", b"1", b"2"]
    loop.run_until_complete(dropped(transport))


# batches


async def test_a_pause_holds_what_has_been_received_with_the_datagram(loop, sockets):
    """It comes when reading goes on, without any help from what may arrive, and before that."""

    class PausingTwice(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data in {b"3", b"7"}:
                self.transport.pause_reading()

    ours, theirs = sockets.udp_pair()
    async with endpoint(PausingTwice(), sock=ours) as (transport, protocol):
        for number in range(10):
            theirs.send(b"%d" % number)
        await protocol.receives(4)
        await stays(lambda: len(protocol.got) == 4)
        theirs.send(b"10")
        transport.resume_reading()
        transport.pause_reading()
        await stays(lambda: len(protocol.got) == 4)
        transport.resume_reading()
        transport.pause_reading()
        transport.resume_reading()
        assert len(protocol.got) == 4
        await protocol.receives(8)
        await stays(lambda: len(protocol.got) == 8)
        transport.resume_reading()
        await protocol.receives(11)
        assert protocol.data == [b"%d" % number for number in range(11)]


async def test_a_pause_that_ends_within_the_callback_does_no_harm(loop, sockets):
    class Hesitant(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.pause_reading()
            self.transport.resume_reading()

    ours, theirs = sockets.udp_pair()
    async with endpoint(Hesitant(), sock=ours) as (_, protocol):
        for number in range(100):
            theirs.send(b"%d" % number)
        await protocol.receives(100)
        assert protocol.data == [b"%d" % number for number in range(100)]


async def test_a_task_can_ask_for_each_datagram_when_it_has_the_last(loop, sockets):
    """The protocol keeps none: it has a future for one, or nobody has asked."""

    class Asked(Recorder):
        asked: asyncio.Future[bytes]

        def datagram_received(self, data, addr):
            self.asked.set_result(data)

        async def ask(self, count):
            for _ in range(count):
                self.asked = loop.create_future()
                yield await self.asked

    ours, theirs = sockets.udp_pair()
    sent = [bytes([number]) * (9000 if number in {3, 4, 5, 20} else 100) for number in range(80)]
    protocol = Asked()
    answer = asyncio.ensure_future(collected(protocol.ask(len(sent))))
    await turns(2)
    async with endpoint(protocol, sock=ours):
        for data in sent:
            theirs.send(data)
        assert await answer == sent


async def collected(items: AsyncIterator[bytes]) -> list[bytes]:
    return [item async for item in items]


@pytest.mark.parametrize("size", [1, 9000])
async def test_what_a_protocol_schedules_at_a_datagram_runs_before_the_next_comes(loop, sockets, size):
    class Scheduling(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if len(self.got) == 3:
                loop.call_soon(self.transport.close)

    ours, theirs = sockets.udp_pair()
    async with endpoint(Scheduling(), sock=ours) as (transport, protocol):
        for _ in range(6):
            theirs.send(bytes(size))
        await closed(transport)
        assert len(protocol.got) == 3


@pytest.mark.parametrize("pauses", [False, True])
async def test_what_each_of_many_datagrams_has_scheduled_runs_before_the_next_comes(loop, sockets, pauses):
    class Scheduling(Recorder):
        def datagram_received(self, data, addr):
            order.append("datagram")
            loop.call_soon(order.append, "scheduled")
            if pauses:
                self.transport.pause_reading()
                self.transport.resume_reading()

    order: list[str] = []
    ours, theirs = sockets.udp_pair()
    async with endpoint(Scheduling(), sock=ours):
        for _ in range(100):
            theirs.send(b"x")
        await until(lambda: len(order) >= 200)
        assert order == ["datagram", "scheduled"] * 100


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_nothing_is_delivered_after_the_end_of_a_pause(loop, sockets, end):
    ours, theirs = sockets.udp_pair()
    async with endpoint(Pausing(), sock=ours) as (transport, protocol):
        for number in range(5):
            theirs.send(b"%d" % number)
        await protocol.receives(1)
        transport.resume_reading()
        getattr(transport, end)()
        transport.resume_reading()
        await closed(transport)
        assert protocol.calls == ["made", "datagram", "lost"]


async def test_an_abort_takes_effect_at_once(loop, sockets):
    class Aborting(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.abort()

    ours, theirs = sockets.udp_pair()
    for _ in range(5):
        theirs.send(b"x")
    async with endpoint(Aborting(), sock=ours) as (transport, protocol):
        await closed(transport)
        assert protocol.calls == ["made", "datagram", "lost"]


@pytest.mark.parametrize("size", [1, 10_000], ids=["small", "large"])
def test_each_run_of_a_loop_that_is_stopped_at_a_datagram_brings_one(loop, sockets, size):
    class Stopping(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            loop.stop()

    ours, theirs = sockets.udp_pair()
    transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(Stopping, sock=ours))
    sent = [b"%d" % number * size for number in range(5)]
    for data in sent:
        theirs.send(data)
    for count in range(1, 6):
        loop.run_forever()
        assert protocol.data == sent[:count]
    loop.run_until_complete(dropped(transport))


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_loop_loses_no_datagram(loop, sockets, ending):
    class Ending(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data in {b"0", b"4", b"5", b"9"}:
                raise ending

    ours, theirs = sockets.udp_pair()
    transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(Ending, sock=ours))
    for number in range(10):
        theirs.send(b"%d" % number)
    for count in (1, 5, 6, 10):
        with pytest.raises(ending):
            loop.run_forever()
        assert len(protocol.got) == count
    theirs.send(b"after")
    loop.run_until_complete(protocol.receives(11))
    assert protocol.data == [*(b"%d" % number for number in range(10)), b"after"]
    loop.run_until_complete(dropped(transport))


async def test_small_and_large_datagrams_arrive_in_order_and_leave_others_their_turn(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (_, protocol):
        for large in ({0, 1, 2, 20, 39}, {39}, {5, 6, 7}, set(), {38}, {0}, set(range(8))):
            sent = [bytes([number]) * (9000 if number in large else 100) for number in range(40)]
            protocol.got.clear()
            for data in sent:
                theirs.send(data)
            most = await protocol.most_in_a_turn(len(sent))
            assert protocol.data == sent
            assert most <= 32


async def test_what_is_held_leaves_others_their_turn(loop, sockets):
    class PausingOnce(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if len(self.got) == 1:
                self.transport.pause_reading()

    ours, theirs = sockets.udp_pair()
    async with endpoint(PausingOnce(), sock=ours) as (transport, protocol):
        for _ in range(200):
            theirs.send(b"x")
        await protocol.receives(1)
        transport.resume_reading()
        most = await protocol.most_in_a_turn(200)
        assert 1 <= most <= 32


async def test_endpoints_do_not_get_into_each_others_way(loop, sockets):
    """While some are paused, others receive, from within callbacks, too."""

    class Alternating(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.pause_reading()
            self.other.resume_reading()

    pairs = [sockets.unix_pair(socket.SOCK_DGRAM) for _ in range(2)]
    async with (
        endpoint(Alternating(), sock=pairs[0][0]) as (first, at_first),
        endpoint(Alternating(), sock=pairs[1][0]) as (second, at_second),
    ):
        at_first.other, at_second.other = second, first
        second.pause_reading()
        sent: list[list[bytes]] = [[], []]
        for number in range(100):
            for side in range(2):
                sent[side].append(bytes([number, side]) * (number * 37 % 800))
                await send_when_there_is_room(pairs[side][1], sent[side][-1])
        await at_first.receives(100)
        await at_second.receives(100)
        assert [at_first.data, at_second.data] == sent


async def send_when_there_is_room(sock: socket.socket, data: bytes) -> None:
    while True:
        try:
            sock.send(data)
            return
        except BlockingIOError:
            await asyncio.sleep(0)


async def test_large_datagrams_one_after_another(loop, sockets):
    ours, theirs = sockets.unix_pair(socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sent = [bytes([number]) * size for number, size in enumerate((200_000, 1, 150_000, 0, 180_000))]
    async with endpoint(sock=ours) as (_, protocol):
        for data in sent:
            await send_when_there_is_room(theirs, data)
        await protocol.receives(len(sent))
        assert protocol.data == sent


async def test_what_comes_with_an_error_comes(loop, sockets):
    """The error of a datagram sent does not cost any of those received."""
    ours, theirs = sockets.udp(), sockets.udp()
    async with endpoint(sock=ours) as (_, protocol):
        ours.connect(theirs.getsockname())
        for number in range(5):
            theirs.sendto(b"%d" % number, ours.getsockname())
        theirs.close()
        ours.send(b"to nobody")
        await protocol.receives(5)
        await until(lambda: protocol.errors)
        assert protocol.data == [b"%d" % number for number in range(5)]
        assert [type(error) for error in protocol.errors] == [ConnectionRefusedError]
        assert str(protocol.errors[0]) == "[Errno 111] Connection refused"


# who sent it


def internet_pair(sockets: SocketMaker, here: tuple, there: tuple) -> tuple[socket.socket, socket.socket]:
    """A socket, and one that sends to it; each is given by its family and host."""
    ours, theirs = sockets.new(here[0], socket.SOCK_DGRAM), sockets.new(there[0], socket.SOCK_DGRAM)
    ours.bind((here[1], 0))
    theirs.bind((there[1], 0))
    theirs.connect((HOSTS[there[0]], ours.getsockname()[1]))
    return ours, theirs


async def comes_from(ours: socket.socket, senders: list[socket.socket]) -> None:
    """Check that the endpoint of this socket is told the senders that the socket module tells."""
    expected = []
    ours.setblocking(True)  # the kernel may be slow to deliver
    for sender in senders:
        sender.send(b"x")
        expected.append(ours.recvfrom(1))
    async with endpoint(sock=ours) as (_, protocol):
        for _ in range(2):
            protocol.got.clear()
            for sender in senders:
                sender.send(b"x")
            await protocol.receives(len(senders))
            assert protocol.got == expected
            assert [type(sender) for _, sender in protocol.got] == [type(sender) for _, sender in expected]


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.1.2.3")),
        ((socket.AF_INET6, "::1"), (socket.AF_INET6, "::1")),
        ((socket.AF_INET6, "::"), (socket.AF_INET, "127.1.2.3")),
    ],
    ids=["ipv4", "ipv6", "both"],
)
async def test_internet_senders(loop, sockets, here, there):
    ours, theirs = internet_pair(sockets, here, there)
    await comes_from(ours, [theirs])


async def test_unix_senders(loop, sockets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = sockets.new(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.bind("ours")
    senders = []
    for name in (None, "theirs", "", "s\xe4nder", b"\xff\xfe", "x" * 107, b"\0abstract\0\xff" + os.urandom(8)):
        theirs = sockets.new(socket.AF_UNIX, socket.SOCK_DGRAM)
        if name is not None:
            theirs.bind(name)  # an empty one lets the kernel choose
        theirs.connect("ours")
        senders.append(theirs)
    await comes_from(ours, senders)


def test_not_all_senders_are_remembered():
    for number in range(10_000):
        port, host = number % 1000 + 1, f"127.0.0.{number // 1000}"
        raw = encode(socket.AF_INET, (host, port))
        assert known[raw] == known[raw] == (host, port)
        assert len(known) <= 4096


# sending


async def test_only_the_endpoints_address_can_be_sent_to(loop, sockets):
    peer, stranger = sockets.udp(), sockets.udp()
    async with endpoint(remote_addr=peer.getsockname()) as (transport, protocol):
        transport.sendto(b"1")
        transport.sendto(b"2", None)
        transport.sendto(b"3", peer.getsockname())
        with pytest.raises(ValueError, match="Invalid address: must be None or") as info:
            transport.sendto(b"4", stranger.getsockname())
        assert str(peer.getsockname()) in str(info.value)
        assert [await read_some(peer) for _ in range(3)] == [b"1", b"2", b"3"]
        stranger.sendto(b"hello", transport.get_extra_info("sockname"))
        await stays(lambda: not protocol.got)


async def test_every_kind_of_bytes_can_be_sent(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (transport, _):
        for make in (bytes, bytearray, memoryview):
            transport.sendto(make(b"hello"))
            assert await read_some(theirs) == b"hello"


async def test_a_datagram_of_no_bytes(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (transport, _):
        transport.sendto(b"")
        transport.sendto(b"after")
        expected = [b"", b"after"] if SENDS_EMPTY else [b"after"]
        assert [await read_some(theirs) for _ in expected] == expected


async def test_without_any_address_there_is_nobody_to_send_to(loop, reports):
    async with endpoint(**local()) as (transport, protocol):
        transport.sendto(b"to whom?")
        assert transport.is_closing()
        await until(protocol.lost.is_set)
        assert isinstance(protocol.lost_by[0], TypeError)
        report = reports.take()
        assert report["message"] == "Fatal write error on datagram transport"
        assert report["transport"] is transport
        assert report["protocol"] is protocol


# errors


@families
async def test_an_address_where_nobody_listens(loop, sockets, family):
    """The protocol is told, and everything goes on."""
    nobody = sockets.refused_address(family, socket.SOCK_DGRAM)
    async with endpoint(remote_addr=nobody[:2], **local(family)) as (transport, protocol):
        for count in (1, 2):
            while len(protocol.errors) < count:
                transport.sendto(b"hello?")
                await asyncio.sleep(0.001)
        assert all(isinstance(error, ConnectionRefusedError) for error in protocol.errors)
        assert not transport.is_closing()


async def test_a_datagram_that_is_too_large(loop, sockets):
    ours, theirs = sockets.udp_pair()
    async with endpoint(sock=ours) as (transport, protocol):
        transport.sendto(bytes(LARGEST_UDP + 1))
        (error,) = protocol.errors
        assert "too long" in str(error)
        transport.sendto(b"small")
        assert await read_some(theirs) == b"small"


async def test_a_protocol_needs_no_methods_that_are_not_called(loop, sockets):
    class Bare:
        def __init__(self):
            self.got = loop.create_future()
            self.lost = loop.create_future()

        def connection_made(self, transport):
            pass

        def datagram_received(self, data, addr):
            self.got.set_result(data)

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    ours, theirs = sockets.udp_pair()
    transport, protocol = await loop.create_datagram_endpoint(Bare, sock=ours)
    transport.sendto(b"there")
    assert await read_some(theirs) == b"there"
    theirs.send(b"back")
    assert await protocol.got == b"back"
    transport.close()
    assert await protocol.lost is None


async def test_an_exception_of_error_received_is_its_callers(loop, sockets):
    class Failing(Recorder):
        def error_received(self, exc):
            raise LookupError(exc)

    ours, theirs = sockets.udp_pair()
    async with endpoint(Failing(), sock=ours) as (transport, protocol):
        with pytest.raises(LookupError):
            transport.sendto(bytes(LARGEST_UDP + 1))
        theirs.send(b"hello")
        await protocol.receives(1)


async def test_an_exception_of_error_received_is_reported_when_nobody_sends(loop, sockets, reports):
    class Failing(Recorder):
        def error_received(self, exc):
            raise LookupError(exc)

    ours, theirs = sockets.udp_pair()
    theirs.close()
    async with endpoint(Failing(), sock=ours) as (transport, _):
        transport.sendto(b"hello?")
        await until(lambda: reports.unclaimed)
        assert isinstance(reports.take()["exception"], LookupError)
        assert not transport.is_closing()


# waiting for room, which only Unix sockets lack for long


async def read_datagrams(sock: socket.socket, count: int) -> list[bytes]:
    return [await read_some(sock) for _ in range(count)]


def fill_up(transport: Any, size: int = 1000) -> list[bytes]:
    """Send numbered datagrams until one has to wait; return them all."""
    sent = []
    while not transport.get_write_buffer_size():
        sent.append((b"%d " % len(sent)).ljust(size, b"."))
        transport.sendto(sent[-1])
    return sent


@contextlib.asynccontextmanager
async def to_a_slow_peer(tmp_path: Any, sockets: Any, protocol: Any = None) -> AsyncIterator[tuple]:
    """An endpoint connected to a Unix socket that nobody reads, and that socket."""
    peer = sockets.new(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "peer"))
    async with endpoint(protocol, remote_addr=str(tmp_path / "peer"), family=socket.AF_UNIX) as opened:
        yield *opened, peer


async def test_what_finds_no_room_waits_in_order(kind, loop, sockets, tmp_path):
    before = 0 if kind.is_oracle else operations_in_flight(loop)
    async with to_a_slow_peer(tmp_path, sockets) as (transport, _, peer):
        await turns(2)  # it begins to wait for datagrams
        sent = fill_up(transport)
        assert transport.get_write_buffer_size() == 1000 + HEADER
        for number in range(20):
            sent.append(b"more %d" % number)
            transport.sendto(sent[-1])
        assert transport.get_write_buffer_size() == sum(map(len, sent[-21:])) + 21 * HEADER
        if not kind.is_oracle:  # one waits for datagrams, one for room
            await until(lambda: operations_in_flight(loop) == before + 2)
        assert await read_datagrams(peer, len(sent)) == sent
        with pytest.raises(BlockingIOError):
            peer.recv(1)


async def test_what_waits_goes_before_what_there_is_room_for(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, _, peer):
        sent = fill_up(transport)
        received = [peer.recv(2000) for _ in sent[:-1]]
        transport.sendto(b"last")
        received += await read_datagrams(peer, 2)
        assert received == [*sent, b"last"]


@pytest.mark.uringloop_only("asyncio 3.13.0 forgets to subtract the headers", when=sys.version_info >= (3, 13))
async def test_what_has_been_sent_no_longer_counts(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, _, peer):
        sent = fill_up(transport)
        await read_datagrams(peer, len(sent))
        await until(lambda: transport.get_write_buffer_size() == 0)


async def test_data_that_waits_may_be_changed(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, _, peer):
        count = len(fill_up(transport))
        data = bytearray(b"before")
        transport.sendto(data)
        data[:] = b"after!"
        assert (await read_datagrams(peer, count + 1))[-1] == b"before"


async def test_flow_control(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, protocol, peer):
        transport.set_write_buffer_limits(high=3 * (1000 + HEADER), low=1000 + HEADER)
        assert transport.get_write_buffer_limits() == (1000 + HEADER, 3 * (1000 + HEADER))
        count = len(fill_up(transport))
        for _ in range(2):
            transport.sendto(bytes(1000))
        assert protocol.calls == ["made"]
        transport.sendto(bytes(1000))
        assert protocol.calls == ["made", "pause"]
        transport.sendto(bytes(1000))
        assert protocol.calls == ["made", "pause"]
        await read_datagrams(peer, count + 4)
        await until(lambda: protocol.calls == ["made", "pause", "resume"])


async def test_limits_apply_at_once(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, protocol, _):
        fill_up(transport)
        transport.set_write_buffer_limits(high=0)
        assert protocol.calls == ["made", "pause"]


async def test_limits_that_make_no_sense(loop):
    async with endpoint(**local()) as (transport, _):
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(high=1, low=2)


async def test_close_sends_what_waits(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, protocol, peer):
        sent = fill_up(transport)
        transport.close()
        assert transport.is_closing()
        await stays(lambda: protocol.calls == ["made"])
        assert await read_datagrams(peer, len(sent)) == sent
        await until(protocol.lost.is_set)
        assert protocol.lost_by == [None]


async def test_abort_drops_what_waits(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, protocol, peer):
        sent = fill_up(transport)
        transport.abort()
        await closed(transport)
        assert protocol.lost_by == [None]
        assert await read_datagrams(peer, len(sent) - 1) == sent[:-1]
        await stays(lambda: isinstance(peek(peer), BlockingIOError))


def peek(sock: socket.socket) -> Any:
    try:
        return sock.recv(1, socket.MSG_PEEK)
    except OSError as error:
        return error


async def test_abort_after_close_drops_what_waits(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, protocol, _):
        fill_up(transport)
        transport.close()
        transport.abort()
        await closed(transport)
        assert protocol.lost_by == [None]


async def test_a_peer_that_goes_while_datagrams_wait(loop, sockets, tmp_path):
    async with to_a_slow_peer(tmp_path, sockets) as (transport, protocol, peer):
        fill_up(transport)
        peer.close()
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        transport.close()
        await closed(transport)


async def test_an_exception_of_error_received_is_reported_when_a_peer_goes(kind, loop, sockets, tmp_path, reports):
    class Failing(Recorder):
        def error_received(self, exc):
            super().error_received(exc)
            raise LookupError(exc)

    async with to_a_slow_peer(tmp_path, sockets, Failing()) as (transport, protocol, peer):
        fill_up(transport)
        transport.sendto(b"another")
        peer.close()
        await until(lambda: len(protocol.errors) == 2)
        taken = reports.take_all()
        assert [type(report["exception"]) for report in taken] == [LookupError] * 2
        assert kind.is_oracle or all(report["transport"] is transport for report in taken)
        assert not transport.is_closing()


@pytest.mark.uringloop_only("asyncio tries again in every turn")
async def test_waiting_for_a_stranger_to_read_does_not_keep_the_processor_busy(loop, sockets, tmp_path):
    peer = sockets.new(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "peer"))
    async with endpoint(family=socket.AF_UNIX) as (transport, _):
        sent = []
        while not transport.get_write_buffer_size():
            sent.append(b"%d" % len(sent))
            transport.sendto(sent[-1], peer.getsockname())
        started = time.thread_time()
        await asyncio.sleep(0.2 * SLOWNESS)
        assert time.thread_time() - started < 0.1 * SLOWNESS
        for _ in range(20):
            sent.append(b"%d" % len(sent))
            transport.sendto(sent[-1], peer.getsockname())
        assert await read_datagrams(peer, len(sent)) == sent


# the end


async def test_connection_lost_comes_once_and_the_socket_is_closed(loop, sockets):
    sock = sockets.udp(port=free_port())
    address = sock.getsockname()
    async with endpoint(sock=sock) as (transport, protocol):
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        await closed(transport)
        transport.abort()
        transport.close()
        await turns(3)
        assert protocol.calls == ["made", "lost"]
        assert protocol.lost_by == [None]
        sockets.new(socket.AF_INET, socket.SOCK_DGRAM).bind(address)


async def test_an_endpoint_that_has_ended_is_freed_without_the_garbage_collector(loop):
    with without_garbage_collector():
        transport, protocol = await loop.create_datagram_endpoint(Recorder, **local())
        transport.sendto(b"hello", to(transport))
        await protocol.receives(1)
        transport.close()
        await protocol.lost.wait()
        kept = weakref.ref(transport)
        del transport, protocol
        await until(lambda: kept() is None)


async def test_nothing_is_delivered_after_close(loop, sockets):
    class Closing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"2":
                self.transport.close()

    ours, theirs = sockets.udp_pair()
    for number in range(5):
        theirs.send(b"%d" % number)
    async with endpoint(Closing(), sock=ours) as (transport, protocol):
        await closed(transport)
        assert protocol.data == [b"0", b"1", b"2"]


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_an_endpoint_can_be_ended_before_it_begins(loop, sockets, end):
    class Shy(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            getattr(transport, end)()

    ours, theirs = sockets.udp_pair()
    theirs.send(b"hello")
    async with endpoint(Shy(), sock=ours) as (transport, protocol):
        await closed(transport)
        assert protocol.calls == ["made", "lost"]


async def test_late_sends_are_ignored_and_then_logged(loop, sockets, caplog):
    async with endpoint(remote_addr=sockets.udp().getsockname()) as (transport, _):
        transport.close()
        for _ in range(4):
            transport.sendto(b"late")
        assert not caplog.records
        transport.sendto(b"late")
        assert [record.message for record in caplog.records] == ["socket.send() raised exception."]


async def test_late_sends_to_an_address_are_sent_until_the_socket_is_closed(loop, sockets):
    ours, theirs = sockets.udp(), sockets.udp()
    async with endpoint(sock=ours) as (transport, protocol):
        transport.close()
        transport.sendto(b"late", theirs.getsockname())
        transport.sendto(bytes(LARGEST_UDP + 1), theirs.getsockname())
        assert len(protocol.errors) == 1
        assert await read_datagrams(theirs, 1) == [b"late"]


def test_an_endpoint_left_unclosed_emits_a_warning(loop, sockets):
    sock = sockets.udp()
    endpoints = [loop.run_until_complete(loop.create_datagram_endpoint(Recorder, sock=sock))]
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        forget(endpoints)
    assert sock.fileno() == -1


async def test_the_log_tells_of_new_endpoints_in_debug_mode(loop, caplog):
    caplog.set_level("DEBUG", "asyncio")
    async with endpoint(**local()) as (transport, _):
        logged = [record.message for record in caplog.records if "Datagram endpoint" in record.message]
        assert bool(logged) == loop.get_debug()
        assert all("created" in message for message in logged)
        async with endpoint(remote_addr=to(transport)):
            pass


# other families


async def test_unix_sockets_with_names(loop, tmp_path):
    paths = str(tmp_path / "server"), str(tmp_path / "client")
    unix = {"family": socket.AF_UNIX}
    async with (
        endpoint(local_addr=paths[0], **unix) as (server, at_server),
        endpoint(local_addr=paths[1], remote_addr=paths[0], **unix) as (client, at_client),
    ):
        assert client.get_extra_info("peername") == paths[0]
        client.sendto(b"question")
        assert await at_server.receives(1) == [(b"question", paths[1])]
        server.sendto(b"answer", paths[1])
        assert await at_client.receives(1) == [(b"answer", paths[0])]


async def test_the_socket_file_of_an_earlier_process_is_replaced(loop, sockets, tmp_path):
    path = str(tmp_path / "socket")
    sockets.new(socket.AF_UNIX, socket.SOCK_DGRAM).bind(path)
    async with endpoint(local_addr=path, family=socket.AF_UNIX) as (_, protocol):
        sockets.new(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"hello", path)
        assert await protocol.receives(1) == [(b"hello", None)]


async def test_a_file_that_is_no_socket_is_not_replaced(loop, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        await loop.create_datagram_endpoint(Recorder, local_addr=str(path), family=socket.AF_UNIX)
    assert path.read_text() == "precious"


async def test_abstract_unix_addresses(loop, tmp_path):
    name = "\0" + str(tmp_path)
    async with endpoint(local_addr=name, family=socket.AF_UNIX) as (_, protocol):
        async with endpoint(remote_addr=name, family=socket.AF_UNIX) as (client, _):
            client.sendto(b"hello")
            await protocol.receives(1)
        assert protocol.data == [b"hello"]


@pytest.mark.uringloop_only("asyncio takes a peer without a name for none")
async def test_a_pair_of_unix_sockets(loop, sockets):
    ours, theirs = sockets.unix_pair(socket.SOCK_DGRAM)
    async with endpoint(sock=ours) as (transport, protocol):
        transport.sendto(b"there")
        assert await read_some(theirs) == b"there"
        theirs.send(b"back")
        await protocol.receives(1)
        assert protocol.data == [b"back"]


async def test_netlink(loop, sockets):
    """A family that is not asyncio's: ask the kernel for its network interfaces."""
    sock = sockets.new(socket.AF_NETLINK, socket.SOCK_DGRAM)
    sock.bind((0, 0))
    get_link, request_dump = 18, 0x301
    async with endpoint(sock=sock) as (transport, protocol):
        transport.sendto(struct.pack("=IHHIIB3x", 20, get_link, request_dump, 1, 0, 0), (0, 0))
        await protocol.receives(1)
        assert protocol.got[0][1] == (0, 0)
        assert b"lo\0" in protocol.got[0][0]


async def test_an_ipv6_address_in_full(loop, sockets):
    peer = sockets.udp(socket.AF_INET6)
    async with endpoint(**local(socket.AF_INET6)) as (transport, _):
        transport.sendto(b"hello", ("::1", peer.getsockname()[1], 0, 0))
        assert await read_some(peer) == b"hello"


def link_local_address() -> str:
    """An address of this machine that holds on one of its links only, with the name of that link."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, *_, link = line.split()
        if digits.startswith("fe80"):
            return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{link}"
    pytest.skip("no interface of this machine has a link-local address")


async def test_a_link_local_address(loop):
    host = link_local_address()
    async with endpoint(local_addr=(host, 0)) as (server, at_server):
        address = server.get_extra_info("sockname")
        assert address[3] == socket.if_nametoindex(host.partition("%")[2])
        async with endpoint(remote_addr=(host, address[1])) as (client, at_client):
            client.sendto(b"question")
            ((data, sender),) = await at_server.receives(1)
            assert (data, sender) == (b"question", client.get_extra_info("sockname"))
            server.sendto(b"answer", sender)
            assert await at_client.receives(1) == [(b"answer", address)]


# wrong calls


def datagram(**options: Any) -> Any:
    def call(bench: Bench) -> Any:
        values = {name: value(bench) if callable(value) else value for name, value in options.items()}
        return bench.loop.create_datagram_endpoint(Recorder, **values)

    return call


def udp(bench: Bench) -> socket.socket:
    return bench.udp


HOST = "127.0.0.1"

WRONG_CALLS = [
    Case("nothing", ValueError, datagram()),
    Case("empty_addresses", ValueError, datagram(local_addr=(), remote_addr=())),
    Case("sock_tcp", ValueError, datagram(sock=lambda bench: bench.tcp)),
    *(
        Case(f"sock_and_{name}", ValueError, datagram(sock=udp, **{name: value}))
        for name, value in {
            "local_addr": (HOST, 0),
            "remote_addr": (HOST, 1),
            "family": socket.AF_INET,
            "proto": 17,
            "flags": 1,
            "reuse_port": True,
            "allow_broadcast": True,
        }.items()
    ),
    Case("sock_and_much", ValueError, datagram(sock=udp, local_addr=(HOST, 0), flags=1)),
    Case("local_addr_text", TypeError, datagram(local_addr=HOST)),
    Case("remote_addr_text", TypeError, datagram(remote_addr=HOST)),
    Case("local_addr_list", TypeError, datagram(local_addr=[HOST, 0])),
    Case("local_addr_long", TypeError, datagram(local_addr=(HOST, 1, 2, 3))),
    Case("addresses_of_two_families", ValueError, datagram(local_addr=("::1", 0), remote_addr=(HOST, 1))),
    Case("other_family", socket.gaierror, datagram(local_addr=("::1", 0), family=socket.AF_INET)),
    Case("unknown_host", socket.gaierror, datagram(remote_addr=("name.invalid", 1))),
    Case("unknown_service", socket.gaierror, datagram(remote_addr=(HOST, "no-such-service"))),
    Case("address_not_ours", OSError, datagram(local_addr=("192.0.2.1", 0))),
    Case("unix_path_bytes", TypeError, datagram(local_addr=b"/tmp/x", family=socket.AF_UNIX)),
    Case("unix_path_a_tuple", TypeError, datagram(remote_addr=(HOST, 1), family=socket.AF_UNIX)),
    Case("unix_path_missing", FileNotFoundError, datagram(remote_addr="/no/such", family=socket.AF_UNIX)),
    Case("unknown_family", OSError, datagram(family=999)),
    Case("unknown_option", TypeError, datagram(family=socket.AF_INET, timeout=3)),
    Case("without_a_factory", TypeError, lambda bench: bench.loop.create_datagram_endpoint()),
]


@of_cases(WRONG_CALLS)
def test_wrong_calls(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


async def send_wrongly(bench: Bench, *args: Any) -> None:
    async with endpoint(remote_addr=bench.udp.getsockname()) as (transport, _):
        transport.sendto(*args)


WRONG_SENDS = [
    *(
        Case(f"of_{type(data).__name__}", TypeError, lambda bench, data=data: send_wrongly(bench, data))
        for data in ("text", 42, None, [1])
    ),
    Case("of_nothing", TypeError, send_wrongly),
    Case("to_another", ValueError, lambda bench: send_wrongly(bench, b"x", (HOST, 1)), in_the_same_words=False),
    Case("to_text", ValueError, lambda bench: send_wrongly(bench, b"x", HOST), in_the_same_words=False),
]


@of_cases(WRONG_SENDS)
def test_wrong_sends(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)
