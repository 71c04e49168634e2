"""The tests of CPython that our loop is not to pass, each with the reason.

Most of them are run nevertheless: one that passes is an entry too many, and fails the run. Those with run=False are
not, because they would hang, or do harm to other tests, or repeat them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase

_EVERY = (3, 0)
_NEVER = (4, 0)


@dataclass(frozen=True)
class LeftOut:
    """Tests of one module: `Class.test_name`, where * stands for any characters."""

    module: str
    pattern: str
    reason: str
    run: bool = True
    since: tuple[int, int] = _EVERY
    before: tuple[int, int] = _NEVER

    def concerns(self, module: str) -> bool:
        """Tell whether the entry is about this module and the running Python."""
        return self.module == module and self.since <= sys.version_info[:2] < self.before

    def matches(self, test: str) -> bool:
        """Tell whether the entry names the test."""
        return fnmatchcase(test, self.pattern)


_OTHER_SELECTOR = "repeat for another selector what EPollEventLoopTests does, which is run on our loop"
_OTHER_WATCHER = "repeat for another child watcher what SubprocessPidfdWatcherTests does; ours needs none"
_INTERNALS = "test the internals of asyncio's own loop: "
_PIPE_MOCK = (
    "mock connect_read_pipe() or connect_write_pipe(), which asyncio's loop calls for the pipes of a subprocess, "
    "and ours does not"
)
_MOCK_SOCKET = "have a mock connected in place of a socket, and the kernel takes a descriptor only"
_NO_REUSEPORT = "need a system without SO_REUSEPORT, and all that have io_uring have it"

LEFT_OUT = (
    # test_base_events
    LeftOut("test_base_events", "BaseEventLoopTests.test__add_callback_*", _INTERNALS + "_add_callback()"),
    LeftOut(
        "test_base_events", "BaseEventLoopTests.test__run_once", _INTERNALS + "_scheduled and select()'s timeout"
    ),
    LeftOut(
        "test_base_events",
        "BaseEventLoopTests.test__run_once_cancelled_event_cleanup",
        _INTERNALS + "when cancelled timers are removed from _scheduled",
    ),
    LeftOut(
        "test_base_events",
        "BaseEventLoopTests.test__run_once_schedule_handle",
        _INTERNALS + "_scheduled and _process_events()",
    ),
    LeftOut("test_base_events", "BaseEventLoopTests.test_call_later", _INTERNALS + "_scheduled"),
    LeftOut(
        "test_base_events",
        "BaseEventLoopTests.test_custom_run_forever_integration",
        _INTERNALS + "_run_forever_setup() and _run_forever_cleanup()",
        since=(3, 13),
    ),
    LeftOut(
        "test_base_events",
        "BaseEventLoopTests.test_not_implemented",
        _INTERNALS + "BaseEventLoop's abstract methods",
    ),
    LeftOut("test_base_events", "BaseEventLoopTests.test_run_forever_pre_stopped", _INTERNALS + "_selector"),
    LeftOut(
        "test_base_events",
        "BaseEventLoopTests.test_single_selecter_event_callback_after_stopping",
        _INTERNALS + "_selector and _process_events()",
    ),
    LeftOut(
        "test_base_events",
        "BaseEventLoopWithSelectorTests.test_accept_connection_*",
        _INTERNALS + "_accept_connection()",
    ),
    LeftOut("test_base_events", "BaseEventLoopWithSelectorTests.test_create_connection_bluetooth", _MOCK_SOCKET),
    LeftOut("test_base_events", "BaseEventLoopWithSelectorTests.test_create_connection_ip_addr", _MOCK_SOCKET),
    LeftOut("test_base_events", "BaseEventLoopWithSelectorTests.test_create_connection_ipv6_scope", _MOCK_SOCKET),
    LeftOut("test_base_events", "BaseEventLoopWithSelectorTests.test_create_connection_no_inet_pton", _MOCK_SOCKET),
    LeftOut("test_base_events", "BaseEventLoopWithSelectorTests.test_create_connection_service_name", _MOCK_SOCKET),
    LeftOut(
        "test_base_events",
        "BaseEventLoopWithSelectorTests.test_create_connection_ssl_server_hostname_default",
        _INTERNALS + "_make_ssl_transport()",
    ),
    LeftOut("test_base_events", "BaseEventLoopWithSelectorTests.test_create_server_nosoreuseport", _NO_REUSEPORT),
    LeftOut(
        "test_base_events",
        "BaseEventLoopWithSelectorTests.test_create_server_soreuseport_only_defined",
        _NO_REUSEPORT,
    ),
    LeftOut(
        "test_base_events",
        "BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_nosoreuseport",
        _NO_REUSEPORT,
    ),
    LeftOut(
        "test_base_events",
        "BaseLoopSockSendfileTests.test__sock_sendfile_native_failure",
        _INTERNALS + "_sock_sendfile_native()",
    ),
    LeftOut(
        "test_base_events",
        "BaseLoopSockSendfileTests.test_sock_sendfile_no_fallback",
        "need a loop that can send a file by the fallback only, and ours has a better way",
    ),
    # test_events
    LeftOut("test_events", "EPollEventLoopTests.test_internal_fds", _INTERNALS + "_internal_fds and _selector"),
    LeftOut("test_events", "PollEventLoopTests.*", _OTHER_SELECTOR, run=False),
    LeftOut("test_events", "SelectEventLoopTests.*", _OTHER_SELECTOR, run=False),
    # test_sendfile
    LeftOut(
        "test_sendfile",
        "EPollEventLoopTests.test_sendfile_force_unsupported_native",
        _INTERNALS + "_sendfile_native()",
    ),
    LeftOut("test_sendfile", "PollEventLoopTests.*", _OTHER_SELECTOR, run=False),
    LeftOut("test_sendfile", "SelectEventLoopTests.*", _OTHER_SELECTOR, run=False),
    # test_sock_lowlevel
    LeftOut(
        "test_sock_lowlevel",
        "EPollEventLoopTests.test_sock_accept_racing",
        "cancel a task in the turn that brings it its connection; ours has resumed it by then, and nothing is lost",
        since=(3, 14),
    ),
    LeftOut("test_sock_lowlevel", "PollEventLoopTests.*", _OTHER_SELECTOR, run=False),
    LeftOut("test_sock_lowlevel", "SelectEventLoopTests.*", _OTHER_SELECTOR, run=False),
    # test_ssl
    LeftOut(
        "test_ssl",
        "TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket",
        _INTERNALS + "_read_ready_cb of its transport, in the middle of a write",
        run=False,
        since=(3, 14),
    ),
    # test_sslproto
    LeftOut(
        "test_sslproto",
        "SslProtoHandshakeTests.test_connection_lost_when_busy",
        _INTERNALS + "_make_socket_transport()",
        since=(3, 14),
    ),
    # test_subprocess: asyncio's child watchers went with Python 3.14
    LeftOut("test_subprocess", "SubprocessFastWatcherTests.*", _OTHER_WATCHER, run=False, before=(3, 14)),
    LeftOut("test_subprocess", "SubprocessMultiLoopWatcherTests.*", _OTHER_WATCHER, run=False, before=(3, 12)),
    LeftOut("test_subprocess", "SubprocessSafeWatcherTests.*", _OTHER_WATCHER, run=False, before=(3, 14)),
    LeftOut("test_subprocess", "SubprocessThreadedWatcherTests.*", _OTHER_WATCHER, run=False),
    LeftOut(
        "test_subprocess",
        "GenericWatcherTests.test_create_subprocess_fails_with_inactive_watcher",
        "have subprocesses fail for want of a child watcher, of which our loop needs none",
        before=(3, 14),
    ),
    LeftOut(
        "test_subprocess",
        "SubprocessPidfdWatcherTests.test_close_kill_running",
        "replace Popen.kill(), by which asyncio's transport kills a process; ours does it by its pidfd",
    ),
    LeftOut(
        "test_subprocess",
        "SubprocessPidfdWatcherTests.test_pause_reading",
        _PIPE_MOCK,
    ),
    LeftOut(
        "test_subprocess",
        "SubprocessPidfdWatcherTests.test_subprocess_*_pipe_cancelled",
        _PIPE_MOCK,
        since=(3, 14),
    ),
    LeftOut(
        "test_subprocess",
        "SubprocessPidfdWatcherTests.test_watcher_implementation",
        _INTERNALS + "_watcher",
        since=(3, 14),
    ),
    # test_unix_events
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopSignalTests.test_add_signal_handler_install_error",
        _INTERNALS + "signal.set_wakeup_fd() being called with one argument; ours also says warn_on_full_buffer",
    ),
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_blocking_error",
        _INTERNALS + "_sock_sendfile_native_impl()",
    ),
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_cancel?",
        _INTERNALS + "_sock_sendfile_native_impl()",
    ),
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_exception",
        _INTERNALS + "_sock_sendfile_native_impl()",
    ),
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_iobuffer",
        _INTERNALS + "_sock_sendfile_native()",
    ),
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_*",
        _INTERNALS + "_sock_sendfile_native()",
    ),
    LeftOut(
        "test_unix_events",
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_os_error_*",
        _INTERNALS + "_sock_sendfile_native_impl()",
    ),
    LeftOut(
        "test_unix_events",
        "PidfdChildWatcherTests.*",
        "make waitpid() fail, by which asyncio's child watcher reaps; ours needs no watcher, and uses waitid()",
        run=False,
        since=(3, 14),
    ),
    LeftOut(
        "test_unix_events",
        "UnixReadPipeTransportTests.*",
        "make asyncio's own transport of pipes, on a loop that they mock; it is not used by ours",
        run=False,
    ),
    LeftOut(
        "test_unix_events",
        "UnixWritePipeTransportTests.*",
        "make asyncio's own transport of pipes, on a loop that they mock; it is not used by ours",
        run=False,
    ),
)
"""Each reason goes on with "These tests ..."."""


def left_out_of(module: str) -> list[LeftOut]:
    """Return the entries for a module that concern the running Python."""
    return [entry for entry in LEFT_OUT if entry.concerns(module)]
