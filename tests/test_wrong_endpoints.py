"""Wrong calls of create_connection and its like: the same exceptions, in asyncio's words."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from support.protocols import Recorder
from support.wrong_calls import PATH_TOO_LONG, Bench, Case, check, made_of_a_running_loop, of_cases


def connection(**options: Any) -> Callable[[Bench], Any]:
    """A call of create_connection; an option that is a function is asked of the bench."""
    return endpoint("create_connection", options)


def server(**options: Any) -> Callable[[Bench], Any]:
    return endpoint("create_server", options)


def unix_connection(**options: Any) -> Callable[[Bench], Any]:
    return endpoint("create_unix_connection", options)


def unix_server(**options: Any) -> Callable[[Bench], Any]:
    return endpoint("create_unix_server", options)


def accepted(**options: Any) -> Callable[[Bench], Any]:
    return endpoint("connect_accepted_socket", options)


def endpoint(method: str, options: dict[str, Any]) -> Callable[[Bench], Any]:
    def call(bench: Bench) -> Any:
        values = {name: value(bench) if callable(value) else value for name, value in options.items()}
        return getattr(bench.loop, method)(Recorder, **values)

    return call


def tcp(bench: Bench) -> socket.socket:
    return bench.tcp


def tls(bench: Bench) -> socket.socket:
    return bench.tls


def udp(bench: Bench) -> socket.socket:
    return bench.udp


def unix_datagram(bench: Bench) -> socket.socket:
    return bench.unix_datagram


def default_tls(bench: Bench) -> ssl.SSLContext:
    return ssl.create_default_context()


def server_tls(bench: Bench) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


HOST = "127.0.0.1"
REWORDED = sys.version_info >= (3, 13)
"""asyncio changed the words then; uringloop has the new ones on every Python."""

NO_TLS = {"ssl_handshake_timeout": 1.0, "ssl_shutdown_timeout": 1.0}
NOT_FOR_A_SERVER = ValueError if sys.version_info >= (3, 14) else ssl.SSLError
"""What comes of a context for clients; newer Pythons look for the name before OpenSSL looks at the context."""

WITH_TLS = {"ssl": default_tls, "server_hostname": "x"}
TLS_OPTIONS = ["ssl_handshake_timeout", "ssl_shutdown_timeout"]

CONNECTIONS = [
    Case("nothing", ValueError, connection()),
    Case("host_and_sock", ValueError, connection(host=HOST, sock=tcp)),
    Case("port_and_sock", ValueError, connection(port=80, sock=tcp)),
    Case("host_port_and_sock", ValueError, connection(host=HOST, port=80, sock=tcp)),
    Case("server_hostname_without_tls", ValueError, connection(host=HOST, port=80, server_hostname="x")),
    Case("server_hostname_with_sock", ValueError, connection(sock=tcp, server_hostname="x")),
    Case("empty_server_hostname", ValueError, connection(host=HOST, port=80, server_hostname="")),
    Case("tls_without_host", ValueError, connection(port=80, ssl=True)),
    Case("tls_with_sock_without_host", ValueError, connection(sock=tcp, ssl=True)),
    Case("tls_with_empty_host", ValueError, connection(host="", port=80, ssl=True)),
    *(
        Case(f"{option}_without_tls", ValueError, connection(host=HOST, port=80, **{option: 1.0}))
        for option in TLS_OPTIONS
    ),
    Case("all_tls_options_without_tls", ValueError, connection(host=HOST, port=80, **NO_TLS)),
    Case("sock_udp", ValueError, connection(sock=udp)),
    Case("sock_unix_datagram", ValueError, connection(sock=unix_datagram)),
    Case("sock_tls", TypeError, connection(sock=tls)),
    *(
        Case(f"{name}_{value}", ValueError, connection(sock=tcp, **WITH_TLS, **{name: value}))
        for name in TLS_OPTIONS
        for value in (0, -1)
    ),
    Case("tls_timeout_text", TypeError, connection(sock=tcp, **WITH_TLS, ssl_handshake_timeout="long")),
    Case("ssl_text", AttributeError, connection(sock=tcp, ssl="text", server_hostname="x")),
    Case("ssl_of_a_server", ssl.SSLError, connection(sock=tcp, ssl=server_tls, server_hostname="x")),
    Case("server_hostname_a_number", AttributeError, connection(sock=tcp, ssl=default_tls, server_hostname=1)),
    Case("server_hostname_wrong", ValueError, connection(sock=tcp, ssl=default_tls, server_hostname=".x")),
    Case("sock_text", AttributeError, connection(sock="text"), in_the_same_words=False),
    Case("unknown_option", TypeError, connection(host=HOST, port=80, timeout=3)),
    Case("large_port", OverflowError, connection(host=HOST, port=70_000)),
    Case("negative_port", OverflowError, connection(host=HOST, port=-1)),
    Case("unknown_service", socket.gaierror, connection(host=HOST, port="no-such-service")),
    Case("unknown_family", socket.gaierror, connection(host=HOST, port=80, family=999)),
    Case("other_family", socket.gaierror, connection(host="::1", port=80, family=socket.AF_INET)),
    Case("unknown_host", socket.gaierror, connection(host="name.invalid", port=80)),
    Case("host_a_number", TypeError, connection(host=42, port=80), in_the_same_words=False),
    Case("local_addr_a_number", TypeError, connection(host=HOST, port=80, local_addr=42)),
    Case("local_addr_short", ValueError, connection(host=HOST, port=80, local_addr=(HOST,))),
    Case("local_addr_not_ours", OSError, connection(host=HOST, port=9, local_addr=("192.0.2.1", 0)), REWORDED),
    Case("local_addr_other_family", OSError, connection(host=HOST, port=9, local_addr=("::1", 0))),
    Case("refused", ConnectionRefusedError, connection(host=HOST, port=1)),
    Case("refused_ipv6", ConnectionRefusedError, connection(host="::1", port=1)),
    Case("without_a_factory", TypeError, lambda b: b.loop.create_connection()),
]

SERVERS = [
    Case("nothing", ValueError, server()),
    Case("host_and_sock", ValueError, server(host=HOST, sock=tcp)),
    Case("port_and_sock", ValueError, server(port=0, sock=tcp)),
    Case("ssl_true", TypeError, server(host=HOST, port=0, ssl=True)),
    Case("ssl_false", TypeError, server(host=HOST, port=0, ssl=False)),
    *(
        Case(f"{option}_without_tls", ValueError, server(host=HOST, port=0, **{option: 1.0}))
        for option in TLS_OPTIONS
    ),
    Case("sock_udp", ValueError, server(sock=udp)),
    Case("sock_unix_datagram", ValueError, server(sock=unix_datagram)),
    Case("sock_tls", TypeError, server(sock=tls)),
    Case("sock_text", AttributeError, server(sock="text"), in_the_same_words=False),
    Case("unknown_option", TypeError, server(host=HOST, port=0, timeout=3)),
    Case("large_port", OverflowError, server(host=HOST, port=70_000)),
    Case("negative_port", OverflowError, server(host=HOST, port=-1)),
    Case("unknown_service", socket.gaierror, server(host=HOST, port="no-such-service")),
    Case("unknown_host", socket.gaierror, server(host="name.invalid", port=0)),
    Case("unknown_family", socket.gaierror, server(host=HOST, port=0, family=999)),
    Case("address_not_ours", OSError, server(host="192.0.2.1", port=0), REWORDED),
    Case("one_of_two_addresses_not_ours_and_one_unknown", OSError, server(host=["192.0.2.1", "x.invalid"], port=0)),
    Case("hosts_a_number", TypeError, server(host=42, port=0), in_the_same_words=False),
    Case("without_a_factory", TypeError, lambda b: b.loop.create_server()),
]

UNIX_CONNECTIONS = [
    Case("nothing", ValueError, unix_connection()),
    Case("path_and_sock", ValueError, unix_connection(path="/no/such", sock=lambda b: b.unix)),
    Case("server_hostname_without_tls", ValueError, unix_connection(path="/no/such", server_hostname="x")),
    Case("tls_without_server_hostname", ValueError, unix_connection(path="/no/such", ssl=True)),
    *(
        Case(f"{option}_without_tls", ValueError, unix_connection(path="/no/such", **{option: 1.0}))
        for option in TLS_OPTIONS
    ),
    Case("sock_tcp", ValueError, unix_connection(sock=tcp)),
    Case("sock_udp", ValueError, unix_connection(sock=udp)),
    Case("sock_unix_datagram", ValueError, unix_connection(sock=unix_datagram)),
    Case("path_a_number", TypeError, unix_connection(path=42)),
    Case("path_too_long", OSError, unix_connection(path=PATH_TOO_LONG)),
    Case("path_missing", FileNotFoundError, unix_connection(path="/no/such/socket")),
    Case("path_with_a_null", (FileNotFoundError, ValueError, ConnectionRefusedError), unix_connection(path="a\0b")),
    Case("unknown_option", TypeError, unix_connection(path="/no/such", timeout=3)),
    Case("without_a_factory", TypeError, lambda b: b.loop.create_unix_connection()),
]

UNIX_SERVERS = [
    Case("nothing", ValueError, unix_server()),
    Case("path_and_sock", ValueError, unix_server(path="/no/such", sock=lambda b: b.unix)),
    Case("ssl_true", TypeError, unix_server(path="/no/such", ssl=True)),
    Case("ssl_false", TypeError, unix_server(path="/no/such", ssl=False)),
    *(
        Case(f"{option}_without_tls", ValueError, unix_server(path="/no/such", **{option: 1.0}))
        for option in TLS_OPTIONS
    ),
    Case("sock_tcp", ValueError, unix_server(sock=tcp)),
    Case("sock_unix_datagram", ValueError, unix_server(sock=unix_datagram)),
    Case("path_a_number", TypeError, unix_server(path=42)),
    Case("path_too_long", OSError, unix_server(path=PATH_TOO_LONG)),
    Case("path_in_no_directory", FileNotFoundError, unix_server(path="/no/such/socket")),
    Case("path_of_a_file", OSError, unix_server(path=__file__)),
    Case("unknown_option", TypeError, unix_server(path="/no/such", timeout=3)),
    Case("without_a_factory", TypeError, lambda b: b.loop.create_unix_server()),
]

ACCEPTED = [
    Case("ssl_true", ValueError, accepted(sock=tcp, ssl=True)),
    Case("ssl_text", AttributeError, accepted(sock=tcp, ssl="text")),
    Case("ssl_of_a_client", NOT_FOR_A_SERVER, accepted(sock=tcp, ssl=default_tls)),
    *(
        Case(f"{name}_{value}", ValueError, accepted(sock=tcp, ssl=server_tls, **{name: value}))
        for name in TLS_OPTIONS
        for value in (0, -1)
    ),
    Case("sock_udp", ValueError, accepted(sock=udp)),
    Case("sock_unix_datagram", ValueError, accepted(sock=unix_datagram)),
    Case("sock_tls", TypeError, accepted(sock=tls)),
    Case("sock_nothing", AttributeError, accepted(sock=None), in_the_same_words=False),
    *(Case(f"{option}_without_tls", ValueError, accepted(sock=tcp, **{option: 1.0})) for option in TLS_OPTIONS),
    Case("unknown_option", TypeError, accepted(sock=tcp, host=HOST)),
]


@of_cases(CONNECTIONS)
def test_create_connection_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(SERVERS)
def test_create_server_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(UNIX_CONNECTIONS)
def test_create_unix_connection_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(UNIX_SERVERS)
def test_create_unix_server_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


@of_cases(ACCEPTED)
def test_connect_accepted_socket_says_what_asyncios_says(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)
