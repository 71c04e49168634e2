"""What runs in threads: the executor, and the name resolution that depends on it."""

import asyncio
import concurrent.futures
import functools
import socket
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from .handles import Args
from .reporting import logger
from .tasks import Tasks

_Result = TypeVar("_Result")

AddressInfo = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]


class Executor(Tasks):
    """The executor and name resolution API of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._default_executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._executor_shutdown = False

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[*Args], _Result], *args: *Args
    ) -> "asyncio.Future[_Result]":
        """Call the function in the executor (None: the default one) and return a future of its result.

        Raises RuntimeError after shutdown_default_executor().
        """
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._get_default_executor()
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def _get_default_executor(self) -> concurrent.futures.Executor:
        if self._executor_shutdown:
            raise RuntimeError("Executor shutdown has been called")
        if self._default_executor is None:
            self._default_executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
        return self._default_executor

    def set_default_executor(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor that is used where none is named. Raises TypeError for any but a thread pool."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until the default executor's threads have ended, for up to `timeout` seconds.

        None stands for any time. When it was not enough, there is a RuntimeWarning.
        """
        self._executor_shutdown = True
        executor = self._default_executor
        if executor is None:
            return
        ended = self.create_future()
        thread = threading.Thread(target=self._join_executor, args=(executor, ended))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            executor.shutdown(wait=False)
        else:
            thread.join()

    def _join_executor(
        self, executor: concurrent.futures.ThreadPoolExecutor, ended: "asyncio.Future[None]"
    ) -> None:
        error: Exception | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as caught:
            error = caught
        if not self.is_closed():
            self.call_soon_threadsafe(_settle, ended, error)

    def close(self) -> None:
        """Close the loop, and the default executor without waiting for its threads."""
        super().close()
        self._executor_shutdown = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    # Name resolution

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name is asyncio's
        proto: int = 0,
        flags: int = 0,
    ) -> AddressInfo:
        """Resolve a host and a port in the default executor; see socket.getaddrinfo, for its errors too."""
        resolve: Callable[..., Any] = self._logged_getaddrinfo if self._debug else socket.getaddrinfo
        info: AddressInfo = await self.run_in_executor(None, resolve, host, port, family, type, proto, flags)
        return info

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """Resolve an address to names in the default executor; see socket.getnameinfo, for its errors too."""
        names: tuple[str, str] = await self.run_in_executor(None, socket.getnameinfo, sockaddr, flags)
        return names

    def _logged_getaddrinfo(self, *query: Any) -> Any:
        logger.debug("Get address info %r", query)
        started = self.time()
        info = socket.getaddrinfo(*query)
        duration = self.time() - started
        level = logger.info if duration >= self.slow_callback_duration else logger.debug
        level("Getting address info %r took %.3fms: %r", query, duration * 1e3, info)
        return info

    async def _resolve(
        self,
        address: tuple[Any, ...],
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> AddressInfo:
        """Return what getaddrinfo() has for a (host, port, ...) address; without a thread for a numeric host."""
        host, port = address[:2]
        numeric = numeric_address(host, port, family, type, proto, *address[2:])
        if numeric is not None:
            return [numeric]
        return await self.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)


def _settle(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


@functools.lru_cache(maxsize=256)
def _family_of(host: str, family: int) -> int | None:
    """Return the family of a numeric host, or None for a name."""
    families = (family,) if family else (socket.AF_INET, socket.AF_INET6)
    for candidate in families:
        try:
            socket.inet_pton(candidate, host)
        except OSError:
            continue
        return candidate
    return None


def numeric_address(
    host: Any, port: Any, family: int, kind: int, protocol: int, flowinfo: int = 0, scope_id: int = 0
) -> tuple[Any, ...] | None:
    """Return the getaddrinfo() entry of a numeric host and port, or None if they must be looked up.

    A scope within the host ("fe80::1%eth0") and names of ports are left to getaddrinfo().
    """
    if protocol not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP) or not isinstance(host, str) or "%" in host:
        return None
    if kind == socket.SOCK_STREAM:
        protocol = socket.IPPROTO_TCP
    elif kind == socket.SOCK_DGRAM:
        protocol = socket.IPPROTO_UDP
    else:
        return None
    number = _port_number(port)
    if number is None or family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
        return None
    found = _family_of(host, family)
    if found is None:
        return None
    scope = (flowinfo, scope_id) if found == socket.AF_INET6 else ()
    return found, socket.SocketKind(kind), protocol, "", (host, number, *scope)


def _port_number(port: Any) -> int | None:
    if port is None or port in ("", b""):
        return 0
    try:
        return int(port)
    except (TypeError, ValueError):
        return None
