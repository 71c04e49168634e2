"""Wrong calls, made to uringloop and to asyncio's own loop: the same is due from both.

A case is a wrong call, and the kind of exception due. On asyncio's loop that is what is
checked. On uringloop's, the same call is made to asyncio's loop as well, and type and
message must be the same, but for what differs from one run to the next (see `plain`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.kinds import ORACLES, Kind
from support.sockets import SocketMaker

PATH_TOO_LONG = "/no/such/" + "x" * 200


class Bench:
    """What a case may use: a loop and, made when asked for, sockets in every state."""

    def __init__(self, loop: asyncio.AbstractEventLoop, maker: SocketMaker) -> None:
        self.loop = loop
        self.maker = maker

    @functools.cached_property
    def tcp(self) -> socket.socket:
        """A connected socket; its peer is silent."""
        return self.maker.tcp_pair()[0]

    @functools.cached_property
    def unconnected(self) -> socket.socket:
        return self.maker.new(socket.AF_INET)

    @functools.cached_property
    def unix(self) -> socket.socket:
        return self.maker.new(socket.AF_UNIX)

    @functools.cached_property
    def unix_datagram(self) -> socket.socket:
        return self.maker.new(socket.AF_UNIX, socket.SOCK_DGRAM)

    @functools.cached_property
    def udp(self) -> socket.socket:
        return self.maker.udp()

    @functools.cached_property
    def closed(self) -> socket.socket:
        sock = self.maker.new(socket.AF_INET)
        sock.close()
        return sock

    @functools.cached_property
    def blocking(self) -> socket.socket:
        sock = self.maker.new(socket.AF_INET)
        sock.setblocking(True)
        return sock

    @functools.cached_property
    def tls(self) -> socket.socket:
        context = ssl.create_default_context()
        context.check_hostname = False
        wrapped = context.wrap_socket(self.maker.new(socket.AF_INET), do_handshake_on_connect=False)
        return self.maker.enter_context(wrapped)

    @functools.cached_property
    def file(self) -> Any:
        return self.maker.enter_context(open(__file__))

    @functools.cached_property
    def future(self) -> asyncio.Future:
        return self.loop.create_future()


@dataclass(frozen=True)
class Case:
    """A wrong call, and the exception due."""

    name: str
    error: type[BaseException]
    call: Callable[[Any], Any]
    in_the_same_words: bool = True

    def __str__(self) -> str:
        return self.name


def plain(error: BaseException) -> str:
    """The message, without what differs between two runs or two classes."""
    message = str(error)
    for pattern, substitute in (
        (r"fd=\d+", "fd=N"),
        (r"0x[0-9a-f]+", "0xN"),
        (r"File descriptor \d+ ", "File descriptor N "),
        (r"is used by transport .*", "is used by transport T"),
        (r"\b\w+\.(?=\w+\(\) )", ""),  # the class before the name of a method
        (r"(?<=', )\d{4,5}(?=[,)])", "PORT"),
    ):
        message = re.sub(pattern, substitute, message)
    return message


Said = tuple[type[BaseException], str]


def said_by(function: Callable[[], Any]) -> Said | None:
    """What exception the call raises; None if it raises none."""
    try:
        function()
    except (Exception, asyncio.CancelledError) as error:
        return type(error), plain(error)
    return None


@contextlib.contextmanager
def oracle_in_the_mode_of(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.AbstractEventLoop]:
    oracle = ORACLES[loop.get_debug()].new_event_loop()
    try:
        yield oracle
    finally:
        oracle.close()


def check(kind: Kind, loop: asyncio.AbstractEventLoop, case: Case, make: Callable[..., Said | None]) -> None:
    said = make(loop, case)
    assert said is not None, "it raised nothing"
    assert issubclass(said[0], case.error), said
    if kind.is_oracle:
        return
    with oracle_in_the_mode_of(loop) as oracle:
        expected = make(oracle, case)
    assert said[0] is expected[0]
    if case.in_the_same_words:
        assert said == expected


def all_named_differently(cases: list[Case]) -> list[Case]:
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases have one name"
    return cases


def made_of_a_running_loop(loop: asyncio.AbstractEventLoop, case: Case) -> Said | None:
    async def make(bench: Bench) -> None:
        result = case.call(bench)
        if inspect.isawaitable(result):
            await asyncio.wait_for(result, 10)

    with SocketMaker() as maker:
        return said_by(lambda: loop.run_until_complete(make(Bench(loop, maker))))


def of_cases(cases: list[Case]) -> pytest.MarkDecorator:
    """Run the test once for each of the cases."""
    return pytest.mark.parametrize("case", all_named_differently(cases), ids=str)
