"""The modules of CPython's `test.test_asyncio`: those that are run, and why the others are not.

Together they must be all that the interpreter ships, so that a new Python's new modules are not overlooked.
"""

import importlib.util
import pathlib

PACKAGE = "test.test_asyncio"

RUN = (
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_events",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_server_context",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_staggered",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_unix_events",
    "test_waitfor",
)
"""A Python that has not got one of these yet does without it."""

NOT_RUN = {
    "test_proactor_events": "tests the internals of asyncio's proactor loop and its transports",
    "test_protocols": "makes no loop: it tests asyncio's protocol classes alone",
    "test_selector_events": "tests the internals of asyncio's selector loop and its transports",
    "test_tools": "makes no loop of its own: it tests the inspection of other processes",
    "test_transports": "makes no loop: it tests asyncio's transport classes alone",
    "test_windows_events": "tests asyncio's loop for Windows",
    "test_windows_utils": "tests asyncio's loop for Windows",
}


def shipped() -> set[str] | None:
    """Return the names of the test modules that the interpreter ships, or None if it ships none."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.submodule_search_locations is None:
        return None
    folders = map(pathlib.Path, spec.submodule_search_locations)
    return {path.stem for folder in folders for path in folder.glob("test_*.py")}
