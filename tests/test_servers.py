"""create_server, create_unix_server, and the Server they return."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import itertools
import os
import pathlib
import select
import socket
import sys
import time
import warnings
import weakref

import pytest
from support.checks import PATIENCE, outcome, stays, turns, until, without_garbage_collector
from support.children import child, run
from support.protocols import Echo, Recorder, dropped
from support.running import variable
from support.sockets import HOSTS, INTERNET, free_port, read_exactly, reset, sees_the_end

families = pytest.mark.parametrize("family", INTERNET)

waits_for_connections = pytest.mark.skipif(
    sys.version_info < (3, 12, 1), reason="before 3.12.1 wait_closed does not wait for connections"
)
since_313 = pytest.mark.skipif(sys.version_info < (3, 13), reason="it came with 3.13")


class Clients:
    """A protocol factory that keeps the protocols it made."""

    def __init__(self, make=Recorder):
        self.made = []
        self._make = make

    def __call__(self):
        self.made.append(self._make())
        return self.made[-1]

    async def first(self):
        await until(lambda: self.made and hasattr(self.made[0], "transport"))
        return self.made[0]


def connect(sockets, address):
    """A plain client; the kernel connects it though nobody has accepted yet."""
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    if isinstance(address, (str, bytes)):
        family = socket.AF_UNIX
    sock = sockets.keep(socket.socket(family))
    sock.settimeout(5)
    sock.connect(address)
    sock.setblocking(False)
    return sock


async def echoes(sockets, address):
    """Check that there is an echo at the address."""
    client = connect(sockets, address)
    client.send(b"hello")
    assert await read_exactly(client, 5) == b"hello"
    client.close()


def address_of(server):
    return server.sockets[0].getsockname()


async def finish(server):
    """Close the server and let its connections end."""
    server.close()
    await server.wait_closed()
    await turns(5)


# where it listens


@families
async def test_a_server_listens_at_host_and_port(loop, sockets, family):
    server = await loop.create_server(Echo, HOSTS[family], 0)
    (sock,) = server.sockets
    host, port = sock.getsockname()[:2]
    assert host == HOSTS[family]
    assert port != 0
    assert sock.family == family
    await echoes(sockets, sock.getsockname())
    await finish(server)


async def test_a_server_listens_at_a_given_port(loop, sockets):
    host, port = "127.0.0.1", free_port()
    server = await loop.create_server(Echo, host, port)
    assert address_of(server) == (host, port)
    await echoes(sockets, (host, port))
    await finish(server)


async def test_a_server_listens_at_several_hosts(loop, sockets):
    server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2", "::1"], 0)
    addresses = [sock.getsockname() for sock in server.sockets]
    assert sorted(address[0] for address in addresses) == ["127.0.0.1", "127.0.0.2", "::1"]
    for address in addresses:
        await echoes(sockets, address)
    await finish(server)


async def test_a_host_given_twice_is_bound_once(loop):
    server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.1"], 0)
    assert len(server.sockets) == 1
    await finish(server)


@pytest.mark.parametrize("host", [None, ""])
async def test_no_host_means_every_address_of_both_families(loop, sockets, host):
    server = await loop.create_server(Echo, host, 0)
    by_family = {sock.family: sock.getsockname()[1] for sock in server.sockets}
    assert set(by_family) == {socket.AF_INET, socket.AF_INET6}
    await echoes(sockets, ("127.0.0.1", by_family[socket.AF_INET]))
    await echoes(sockets, ("::1", by_family[socket.AF_INET6], 0, 0))
    await finish(server)


async def test_both_families_can_share_a_port(loop, sockets):
    port = free_port()
    server = await loop.create_server(Echo, None, port)
    assert {sock.getsockname()[1] for sock in server.sockets} == {port}
    await echoes(sockets, ("127.0.0.1", port))
    await echoes(sockets, ("::1", port, 0, 0))
    await finish(server)


async def test_a_server_listens_at_a_name(loop, sockets, names):
    names.add("both.test", ("127.0.0.1", 0), ("::1", 0, 0, 0))
    server = await loop.create_server(Echo, "both.test", 0)
    assert {sock.family for sock in server.sockets} == {socket.AF_INET, socket.AF_INET6}
    await finish(server)


async def test_a_family_can_be_chosen(loop):
    server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
    assert [sock.family for sock in server.sockets] == [socket.AF_INET]
    await finish(server)


async def test_a_bound_socket_can_be_handed_over(loop, sockets):
    sock = sockets.new(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(True)
    server = await loop.create_server(Echo, sock=sock)
    assert sock.gettimeout() == 0
    assert address_of(server) == sock.getsockname()
    await echoes(sockets, sock.getsockname())
    await finish(server)
    assert sock.fileno() == -1


async def test_who_makes_a_server_has_it_before_a_connection_that_was_there_already(loop, sockets):
    clients = Clients(Echo)
    listener = sockets.listener()
    client = connect(sockets, listener.getsockname())
    server = await loop.create_server(clients, sock=listener)
    assert not clients.made
    await until(lambda: clients.made)
    client.close()
    await finish(server)


async def test_a_port_in_use_is_an_error_that_names_the_address(loop, sockets):
    busy = sockets.listener().getsockname()
    with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
        await loop.create_server(Echo, *busy)
    assert caught.value.errno == 98
    assert str(busy) in str(caught.value)


async def test_when_one_of_several_hosts_is_in_use_none_is_bound(loop, sockets):
    host, port = sockets.listener().getsockname()
    with pytest.raises(OSError, match="error while attempting to bind"):
        await loop.create_server(Echo, ["127.0.0.2", host], port)
    connect_again = sockets.new(socket.AF_INET)
    assert connect_again.connect_ex(("127.0.0.2", port)) in (111, 115)


async def test_reuse_port_lets_two_servers_share_a_port(loop, sockets):
    one = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
    two = await loop.create_server(Echo, *address_of(one), reuse_port=True)
    assert address_of(one) == address_of(two)
    assert one.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    for _ in range(5):
        await echoes(sockets, address_of(one))
    await finish(one)
    await finish(two)


@pytest.mark.parametrize("reuse", [None, True, False])
async def test_addresses_are_reused_unless_told_otherwise(loop, reuse):
    server = await loop.create_server(Echo, "127.0.0.1", 0, reuse_address=reuse)
    option = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert bool(option) == (reuse is not False)
    await finish(server)


@since_313
async def test_keep_alive_is_set_if_wanted(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0, keep_alive=True)
    assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await finish(server)


async def test_the_backlog_is_honoured(loop, sockets):
    """With the loop busy, no more connections are queued than asked for (and one)."""
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=2)
    clients = [sockets.new(socket.AF_INET) for _ in range(6)]
    connected = 0
    while connected < 2:  # the kernel may be slow
        connected = sum(client.connect_ex(address_of(server)) in (0, errno.EISCONN) for client in clients)
    assert connected <= 4
    for client in clients:
        client.close()
    await finish(server)


# serving


async def test_every_connection_has_a_protocol_of_its_own(loop, sockets):
    clients = Clients(Echo)
    server = await loop.create_server(clients, "127.0.0.1", 0)
    socks = [connect(sockets, address_of(server)) for _ in range(100)]
    for number, sock in enumerate(socks):
        sock.send(b"%4d" % number)
    for number, sock in enumerate(socks):
        assert await read_exactly(sock, 4) == b"%4d" % number
    assert len(clients.made) == 100
    peers = [protocol.transport.get_extra_info("peername") for protocol in clients.made]
    assert sorted(peers) == sorted(sock.getsockname() for sock in socks)
    for sock in socks:
        sock.close()
    await finish(server)


async def test_extra_info_of_an_accepted_connection(loop, sockets):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    client = connect(sockets, address_of(server))
    transport = (await clients.first()).transport
    assert transport.get_extra_info("peername") == client.getsockname()
    assert transport.get_extra_info("sockname") == client.getpeername()
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not os.get_inheritable(sock.fileno())
    client.close()
    await finish(server)


@families
async def test_what_waited_in_a_socket_that_listened_before_is_sent_to_without_delay(loop, sockets, family):
    clients = Clients()
    listener = sockets.keep(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
    listener.bind((HOSTS[family], 0))
    listener.listen()
    connect(sockets, listener.getsockname())
    connect(sockets, listener.getsockname())
    server = await loop.create_server(clients, sock=listener)
    connect(sockets, listener.getsockname())
    await until(lambda: len(clients.made) == 3 and hasattr(clients.made[-1], "transport"))
    for protocol in clients.made:
        sock = protocol.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        protocol.transport.close()
        await protocol.ends()
    await finish(server)


@pytest.mark.uringloop_only("asyncio leaves Nagle's algorithm to a socket that does not name its protocol")
@families
async def test_a_connection_whose_socket_does_not_name_its_protocol_is_sent_to_without_delay(loop, sockets, family):
    ours, _ = sockets.tcp_pair(family)
    assert ours.proto == 0
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await dropped(transport)


async def test_the_peers_of_accepted_connections_are_known_even_if_they_have_gone(loop, sockets):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    peers = []
    for _ in range(3):
        client = connect(sockets, address_of(server))
        peers.append(client.getsockname())
        reset(client)
    await until(lambda: len(clients.made) == len(peers))
    for protocol in clients.made:
        await protocol.ends()
    assert [protocol.transport.get_extra_info("peername") for protocol in clients.made] == peers
    await finish(server)


async def test_what_came_before_the_accept_is_not_lost(loop, sockets):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    client = connect(sockets, address_of(server))
    client.send(b"early")
    client.close()
    protocol = await clients.first()
    await protocol.ends()
    assert protocol.calls == ["made", "data", "eof", "lost"]
    assert protocol.data == b"early"
    await finish(server)


async def test_connections_that_came_together_are_taken_together(loop, sockets, tmp_path):
    clients = Clients()
    server = await loop.create_unix_server(clients, tmp_path / "socket")
    for _ in range(30):
        connect(sockets, address_of(server))  # a Unix socket's connection is there at once
    await turns(5)
    assert len(clients.made) == 30
    for made in clients.made:
        made.transport.close()
    await finish(server)


SHARING = """
    listener = socket.create_server(("127.0.0.1", 0))
    ready, tell = os.pipe()
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            break
        children.append(child)
    else:
        os.read(ready, 1), os.read(ready, 1)
        counts = {b"0": 0, b"1": 0}
        for _ in range(20):
            with socket.create_connection(listener.getsockname()) as connection:
                counts[connection.recv(1)] += 1
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        say(min(counts.values()))
        os._exit(0)

    class Answer(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(str(number).encode())
            transport.close()

    loop = new_event_loop()
    server = loop.run_until_complete(loop.create_server(Answer, sock=listener))
    os.write(tell, b"x")
    loop.run_forever()
"""


@pytest.mark.uringloop_only("its loops race for each connection, and one may win them all")
def test_processes_that_share_a_socket_share_its_connections(kind):
    result = run(kind, SHARING)
    assert result.stderr == ""
    assert int(result.stdout) >= 5


async def test_a_client_that_left_before_the_accept_disturbs_nothing(loop, sockets):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    for _ in range(5):
        reset(connect(sockets, address_of(server)))
    await echoes(sockets, address_of(server))
    await finish(server)


class FailingFactory:
    """Fails so many times, then makes echoes."""

    def __init__(self, failures):
        self.failures = failures

    def __call__(self):
        if self.failures:
            self.failures -= 1
            raise LookupError("no protocol")
        return Echo()


def check_reports_of_failures(reports, count):
    contexts = reports.take_all()
    assert len(contexts) == count
    for context in contexts:
        assert context["message"] == "Error on transport creation for incoming connection"
        assert isinstance(context["exception"], LookupError)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
async def test_a_factory_that_fails_does_not_end_the_server(loop, sockets, reports):
    """The warning is of asyncio's loop, which leaves the socket to the garbage collector."""
    factory = FailingFactory(2)
    server = await loop.create_server(factory, "127.0.0.1", 0)
    for _ in range(2):
        connect(sockets, address_of(server))
    await until(lambda: not factory.failures)
    await echoes(sockets, address_of(server))
    check_reports_of_failures(reports, 2 if loop.get_debug() else 0)
    await finish(server)
    gc.collect()


@pytest.mark.uringloop_only("asyncio leaves the socket to the garbage collector")
async def test_a_connection_without_a_protocol_is_closed(loop, sockets, reports):
    factory = FailingFactory(1)
    server = await loop.create_server(factory, "127.0.0.1", 0)
    client = connect(sockets, address_of(server))
    await until(lambda: not factory.failures)
    assert sees_the_end(client)
    reports.take_all()
    await finish(server)


async def test_a_connection_made_that_fails_does_not_end_the_server(loop, sockets, reports):
    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError("not made")

    clients = Clients(Failing)
    server = await loop.create_server(clients, "127.0.0.1", 0)
    for count in (1, 2):
        connect(sockets, address_of(server)).close()
        await until(lambda count=count: len(clients.made) == count)
        await clients.made[-1].ends()
    for context in reports.take_all():
        assert isinstance(context["exception"], LookupError)
    await finish(server)


async def test_the_factory_and_its_protocols_run_in_the_context_of_the_server(loop, sockets):
    seen = []

    class Noting(Recorder):
        def __init__(self):
            super().__init__()
            seen.append(variable.get("unset"))

        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(variable.get("unset"))

        def data_received(self, data):
            seen.append(variable.get("unset"))

        def connection_lost(self, exc):
            seen.append(variable.get("unset"))
            super().connection_lost(exc)

    async def start():
        variable.set("of the server")
        return await loop.create_server(clients, "127.0.0.1", 0)

    clients = Clients(Noting)
    server = await loop.create_task(start())
    client = connect(sockets, address_of(server))
    client.send(b"x")
    client.close()
    await (await clients.first()).ends()
    assert seen == ["of the server"] * 4
    await finish(server)


async def test_the_context_is_that_of_the_start_before_3_15_and_each_connections_own(loop, sockets):
    seen = []

    class Changing(Recorder):
        def __init__(self):
            super().__init__()
            seen.append(variable.get("unset"))
            variable.set("changed by a factory")

    async def start():
        variable.set("of the start")
        await server.start_serving()

    clients = Clients(Changing)
    server = await loop.create_server(clients, "127.0.0.1", 0, start_serving=False)
    await loop.create_task(start())
    for _ in range(2):
        connect(sockets, address_of(server)).close()
    await until(lambda: len(seen) == 2)
    assert seen == ["of the start" if sys.version_info < (3, 15) else "unset"] * 2
    for protocol in clients.made:
        await protocol.ends()
    await finish(server)


def test_a_server_without_descriptors_serves_again_when_there_are_some(kind):
    """The child has room for a few connections; the rest must wait, not be forgotten."""
    script = """
    import resource

    reported = []

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"hello")

        def data_received(self, data):
            asyncio.get_running_loop().stop()

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    loop = new_event_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    server = loop.run_until_complete(loop.create_server(Greeter, "127.0.0.1", 0))
    spare = []
    try:
        while True:
            spare.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        for number in spare[:2]:
            os.close(number)
    say(server.sockets[0].getsockname()[1])
    loop.run_forever()
    say({context["message"] for context in reported})
    say(len(reported) < 5000)  # asyncio's loop tries a hundred times a second
    server.close()
    os._exit(0)
    """
    with child(kind, script) as process, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(process.stdout.readline()))
        clients = {stack.enter_context(socket.create_connection(address)) for _ in range(5)}
        greeted = greeted_among(clients)
        assert 0 < len(greeted) < len(clients)
        while clients := clients - greeted:
            for client in greeted:
                client.close()
            greeted = greeted_among(clients)
            assert greeted
        client = greeted.pop()
        client.send(b"enough")
        assert process.stdout.readline() == "{'socket.accept() out of system resource'}\n"
        assert process.stdout.readline() == "True\n"


def greeted_among(clients):
    """The clients that the server has greeted, once it has greeted one."""
    ready, _, _ = select.select(clients, [], [], PATIENCE)
    time.sleep(0.1)  # for those that follow directly
    ready, _, _ = select.select(clients, [], [], 0)
    assert all(client.recv(5) == b"hello" for client in ready)
    return set(ready)


# starting, closing, waiting


async def test_a_server_can_be_started_later(loop, sockets):
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        connect(sockets, address_of(server))
    for _ in range(2):  # the second time changes nothing
        await server.start_serving()
        assert server.is_serving()
    await echoes(sockets, address_of(server))
    await finish(server)


async def test_a_server_that_never_started_can_be_closed(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    await finish(server)
    assert not server.is_serving()


async def test_a_server_tells_its_state(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    assert isinstance(server, asyncio.AbstractServer)
    assert server.get_loop() is loop
    assert server.is_serving()
    assert type(server.sockets) is tuple
    assert type(server.sockets[0]) is asyncio.trsock.TransportSocket
    assert repr(server).startswith("<Server sockets=(")
    server.close()
    assert not server.is_serving()
    assert server.sockets == ()
    server.close()  # a second time changes nothing
    await server.wait_closed()


async def test_a_closed_server_refuses_at_once(loop, sockets):
    server = await loop.create_server(Echo, "127.0.0.1", free_port())
    address = address_of(server)
    await turns(3)
    server.close()
    with pytest.raises(ConnectionRefusedError):  # in the same turn
        connect(sockets, address)
    await server.wait_closed()


async def test_the_port_of_a_closed_server_is_free_at_once(loop, sockets):
    port = free_port()
    server = await loop.create_server(Echo, "127.0.0.1", port)
    await echoes(sockets, address_of(server))
    server.close()
    sockets.listener(port=port)  # in the same turn
    await finish(server)


async def test_closing_a_server_leaves_its_connections_alone(loop, sockets):
    clients = Clients(Echo)
    server = await loop.create_server(clients, "127.0.0.1", 0)
    client = connect(sockets, address_of(server))
    await clients.first()
    server.close()
    await turns(3)
    client.send(b"still here")
    assert await read_exactly(client, 10) == b"still here"
    client.close()
    await finish(server)


@pytest.mark.uringloop_only("asyncio forgets a connection accepted just before the close")
@pytest.mark.parametrize("wait", range(6))
async def test_a_connection_that_meets_the_close_leaves_nothing(loop, sockets, wait):
    """The fixture finds a descriptor that is left; the client hears an answer or an end."""
    clients = Clients(Echo)
    server = await loop.create_server(clients, "127.0.0.1", 0)
    client = connect(sockets, address_of(server))
    await turns(wait)
    server.close()
    await turns(5)
    client.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionError):
        client.send(b"x")
    await asyncio.sleep(0.002)
    answer = await outcome(asyncio.to_thread(client.recv, 1))
    assert answer in (b"", b"x") or isinstance(answer, ConnectionError)
    client.close()
    await finish(server)


@pytest.mark.uringloop_only("asyncio forgets a connection accepted just before the close")
@pytest.mark.parametrize("data_first", [True, False])
async def test_a_connection_that_comes_together_with_the_close_leaves_nothing(loop, sockets, data_first):
    """A protocol closes the server in the very turn in which another connection comes."""

    class Closer(Recorder):
        def data_received(self, data):
            server.close()

    for _ in range(10):
        clients = Clients(Closer)
        server = await loop.create_server(clients, "127.0.0.1", 0)
        address = address_of(server)
        first = connect(sockets, address)
        await clients.first()
        await turns(3)
        deeds = [lambda first=first: first.send(b"close"), lambda address=address: connect(sockets, address)]
        second = [deed() for deed in (deeds if data_first else deeds[::-1])][data_first]
        await until(lambda server=server: not server.is_serving())
        first.close()
        second.close()
        await finish(server)


async def test_wait_closed_waits_for_the_close(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    if sys.version_info < (3, 12, 1):
        server.close()  # before 3.12.1 it returns at once when there is no connection
    waiting = loop.create_task(server.wait_closed())
    await turns(3)
    server.close()
    await asyncio.wait_for(waiting, 5)


@waits_for_connections
async def test_wait_closed_waits_for_the_connections(loop, sockets):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    socks = [connect(sockets, address_of(server)) for _ in range(2)]
    await until(lambda: len(clients.made) == 2)
    server.close()
    waiting = [loop.create_task(server.wait_closed()) for _ in range(2)]
    for sock in socks:
        await turns(5)
        assert not any(task.done() for task in waiting)
        sock.close()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert all(protocol.lost.is_set() for protocol in clients.made)


@waits_for_connections
async def test_connections_that_ended_before_the_close_are_not_waited_for(loop, sockets):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    connect(sockets, address_of(server)).close()
    await (await clients.first()).ends()
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)


@since_313
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
async def test_the_clients_can_be_closed_or_aborted(loop, sockets, method):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    client = connect(sockets, address_of(server))
    protocol = await clients.first()
    data = bytes(8_000_000)
    protocol.transport.write(data)
    server.close()
    getattr(server, method)()
    received = bytearray()
    client.settimeout(5)
    while chunk := await asyncio.to_thread(client.recv, 1_000_000):
        received += chunk
    assert (len(received) == len(data)) == (method == "close_clients")
    await asyncio.wait_for(server.wait_closed(), 5)
    assert protocol.error is None


@since_313
async def test_clients_may_be_collected_while_they_are_aborted(loop, sockets):
    kept = []
    made = []

    class Cyclic(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()  # the loop would keep it
            made.append(True)
            if not kept:
                kept.append(transport)

    server = await loop.create_server(Cyclic, "127.0.0.1", 0)
    thresholds = gc.get_threshold()
    with without_garbage_collector(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        clients = [connect(sockets, address_of(server)) for _ in range(50)]
        await until(lambda: len(made) == 50)
        gc.set_threshold(1)
        gc.enable()
        try:
            server.abort_clients()
        finally:
            gc.set_threshold(*thresholds)
        gc.collect()
    for client in clients:
        assert await asyncio.to_thread(sees_the_end, client)
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)


async def test_serve_forever_serves_until_cancelled_and_then_closes(loop, sockets):
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    address = address_of(server)
    serving = loop.create_task(server.serve_forever())
    await turns(3)
    assert server.is_serving()
    await echoes(sockets, address)
    await turns(5)
    serving.cancel()
    assert isinstance(await outcome(serving), asyncio.CancelledError)
    assert not server.is_serving()
    assert server.sockets == ()
    with pytest.raises(ConnectionRefusedError):
        connect(sockets, address)


@waits_for_connections
async def test_serve_forever_that_is_cancelled_closes_the_connections_since_3_14(loop, sockets):
    clients = Clients()
    server = await loop.create_server(clients, "127.0.0.1", 0)
    serving = loop.create_task(server.serve_forever())
    client = connect(sockets, address_of(server))
    protocol = await clients.first()
    serving.cancel()
    if sys.version_info < (3, 14):
        await stays(lambda: not serving.done() and not protocol.transport.is_closing())
        client.close()
    assert isinstance(await outcome(serving), asyncio.CancelledError)
    if sys.version_info >= (3, 14):
        assert sees_the_end(client)


async def test_closing_a_server_ends_serve_forever(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    serving = loop.create_task(server.serve_forever())
    await turns(3)
    server.close()
    assert isinstance(await outcome(serving), asyncio.CancelledError)


async def test_serve_forever_cannot_be_awaited_twice_or_after_the_close(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    serving = loop.create_task(server.serve_forever())
    await turns(3)
    with pytest.raises(RuntimeError) as caught:
        await server.serve_forever()
    assert str(caught.value) == f"server {server!r} is already being awaited on serve_forever()"
    server.close()
    await outcome(serving)
    with pytest.raises(RuntimeError) as caught:
        await server.serve_forever()
    assert str(caught.value) == f"server {server!r} is closed"


async def test_a_closed_server_does_not_start_again(loop):
    server = await loop.create_server(Recorder, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
    with pytest.raises((RuntimeError, TypeError)):  # asyncio stumbles over its missing sockets
        await server.start_serving()


async def test_async_with_closes_the_server(loop, sockets):
    async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
        address = address_of(server)
        await echoes(sockets, address)
        await turns(5)
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        connect(sockets, address)


async def test_a_server_that_nobody_refers_to_goes_on_serving(loop, sockets):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = address_of(server)
    found = weakref.ref(server)
    del server
    await turns(3)
    gc.collect()
    await echoes(sockets, address)
    await finish(found())


@pytest.mark.uringloop_only("cancelled in its last turn, asyncio's loop leaves the server serving")
async def test_cancelling_the_making_of_a_server_leaves_nothing(loop):
    for wait in itertools.count():
        making = loop.create_task(loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0))
        await turns(wait)
        making.cancel()
        result = await outcome(making)
        if not isinstance(result, asyncio.CancelledError):
            break
    assert wait > 1
    await finish(result)


def test_a_loop_closed_with_a_server_frees_its_port(loop, sockets):
    """Whoever forgot to close the server still has its sockets, and may close them."""
    port = free_port()
    sock = sockets.listener(port=port)
    server = loop.run_until_complete(loop.create_server(Echo, sock=sock))
    loop.run_until_complete(turns(3))
    loop.close()
    sock.close()
    sockets.listener(port=port)
    del server


# Unix sockets


@pytest.mark.parametrize("convert", [str, lambda path: str(path).encode(), pathlib.Path])
async def test_a_unix_server_listens_at_a_path(loop, sockets, tmp_path, convert):
    path = tmp_path / "socket"
    server = await loop.create_unix_server(Echo, convert(path))
    assert path.is_socket()
    assert address_of(server) == str(path)
    await echoes(sockets, str(path))
    await finish(server)


async def test_a_unix_server_listens_at_an_abstract_name(loop, sockets, tmp_path):
    server = await loop.create_unix_server(Echo, f"\0{tmp_path}")
    await echoes(sockets, f"\0{tmp_path}")
    assert not list(tmp_path.iterdir())
    await finish(server)


async def test_a_bound_unix_socket_can_be_handed_over(loop, sockets, tmp_path):
    sock = sockets.new(socket.AF_UNIX)
    sock.bind(str(tmp_path / "socket"))
    server = await loop.create_unix_server(Echo, sock=sock)
    await echoes(sockets, str(tmp_path / "socket"))
    await finish(server)


async def test_a_stale_socket_is_replaced(loop, sockets, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    server = await loop.create_unix_server(Echo, path)
    await echoes(sockets, path)
    await finish(server)


async def test_a_file_that_is_no_socket_is_not_replaced(loop, tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    with pytest.raises(OSError, match="is already in use") as caught:
        await loop.create_unix_server(Echo, str(path))
    assert caught.value.errno == 98
    assert caught.value.strerror == f"Address {str(path)!r} is already in use"
    assert path.read_text() == "precious"


async def test_a_unix_path_in_no_directory_is_an_error(loop, tmp_path):
    with pytest.raises(FileNotFoundError):
        await loop.create_unix_server(Echo, str(tmp_path / "none" / "socket"))


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="since 3.13 it is removed")
async def test_the_path_of_a_closed_unix_server_stays(loop, tmp_path):
    server = await loop.create_unix_server(Echo, str(tmp_path / "socket"))
    await finish(server)
    assert (tmp_path / "socket").is_socket()


@since_313
async def test_the_path_of_a_closed_unix_server_is_removed(loop, tmp_path):
    server = await loop.create_unix_server(Echo, tmp_path / "socket")
    server.close()
    assert not (tmp_path / "socket").exists()
    await finish(server)


@since_313
async def test_the_path_of_a_closed_unix_server_stays_if_wanted(loop, tmp_path):
    server = await loop.create_unix_server(Echo, tmp_path / "socket", cleanup_socket=False)
    await finish(server)
    assert (tmp_path / "socket").is_socket()


@since_313
async def test_a_path_that_another_server_has_taken_is_not_removed(loop, sockets, tmp_path):
    path = tmp_path / "socket"
    first = await loop.create_unix_server(Echo, path)
    second = await loop.create_unix_server(Echo, path)
    await finish(first)
    await echoes(sockets, str(path))
    await finish(second)
    assert not path.exists()


@since_313
async def test_a_path_that_has_gone_already_is_no_error(loop, tmp_path):
    server = await loop.create_unix_server(Echo, tmp_path / "socket")
    (tmp_path / "socket").unlink()
    await finish(server)


async def test_a_unix_client_that_left_before_the_accept_disturbs_nothing(loop, sockets, tmp_path):
    path = str(tmp_path / "socket")
    server = await loop.create_unix_server(Echo, path)
    for _ in range(3):
        connect(sockets, path).close()
    await echoes(sockets, path)
    await finish(server)


@pytest.mark.parametrize("method", ["create_server", "create_unix_server"])
async def test_a_datagram_socket_is_refused(loop, sockets, method):
    with pytest.raises(ValueError, match="Stream Socket was expected, got"):
        await getattr(loop, method)(Echo, sock=sockets.udp())
