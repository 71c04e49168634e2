"""What the code base promises of itself: imports point down, and what is borrowed from asyncio is there."""

import ast
import asyncio
import concurrent.futures
import os
import pathlib
import re
import socket
import sys

import pytest

import uringloop
from uringloop import borrowed
from uringloop._engine import lib

PACKAGE = pathlib.Path(uringloop.__file__).parent

LAYERS = [
    ["features", "unavailable", "_engine"],
    ["ring"],
    ["operations", "outbox"],
    ["proactor"],
    ["borrowed", "handles", "timers", "reporting", "wakeup"],
    ["asyncgens"],
    ["scheduling"],
    ["tasks", "signals", "watchers", "children"],
    ["executor"],
    ["lanes"],
    ["sockets"],
    ["transports"],
    ["endpoints"],
    ["loop"],
    ["probe", "running"],
    ["__init__"],
]
"""From the bottom to the top. A module imports from lower layers, and from its own."""


def rank(module):
    part = module.split(".")[0]
    for number, layer in enumerate(LAYERS):
        if part in layer:
            return number
    raise AssertionError(f"{module} has no layer")


def imports(path):
    """Yield the modules of the package that a file imports when it runs, as dotted names below the package."""
    folder = path.relative_to(PACKAGE).parent
    only_for_types = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            only_for_types.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in only_for_types:
            base = [*folder.parts][: len(folder.parts) - node.level + 1]
            if node.module:
                yield ".".join([*base, node.module])
            else:
                for alias in node.names:
                    yield ".".join([*base, alias.name])


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = rank(path.relative_to(PACKAGE).with_suffix("").parts[0])
    for module in imports(path):
        assert rank(module) <= own, f"{path.name} imports {module}, which lies above it"


def test_only_one_file_touches_what_asyncio_does_not_document():
    """Attributes of asyncio's modules that begin with an underscore; the two documented for loops apart."""
    documented = {"_set_running_loop", "_get_running_loop", "_enter_task", "_leave_task"}
    for path in MODULES:
        if path.name == "borrowed.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "asyncio":
                assert not node.attr.startswith("_") or node.attr in documented, f"{path}: asyncio.{node.attr}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncio."):
                raise AssertionError(f"{path} imports from {node.module}")


def test_one_file_includes_liburing():
    csrc = PACKAGE / "csrc"
    including = [
        path.name for path in csrc.iterdir() if path.suffix in {".c", ".h"} and "liburing.h" in path.read_text()
    ]
    assert including == ["engine.h"]


def test_the_engine_stays_small():
    lines = sum(
        len(path.read_text().splitlines()) for path in (PACKAGE / "csrc").iterdir() if path.suffix in {".c", ".h"}
    )
    assert lines < 1100


def test_the_engine_is_typed_as_it_is():
    stub = ast.parse((PACKAGE / "_engine.pyi").read_text())
    (described,) = (node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "_Lib")
    functions = {node.name: len(node.args.posonlyargs + node.args.args) - 1 for node in described.body}
    assert functions.keys() == set(dir(lib))
    declared = re.findall(r"(ul_\w+)\(([^)]*)\);", (PACKAGE / "csrc" / "api.h").read_text())
    assert functions == {name: (values != "void") + values.count(",") for name, values in declared}


def test_what_is_borrowed_is_there():
    assert borrowed.get_running_loop() is None
    assert borrowed.is_debug_mode() in {True, False}
    assert "print(1)" in borrowed.describe_callback(print, (1,), debug=True)
    loop = asyncio.new_event_loop()
    handle = loop.call_soon(print)
    assert "print" in borrowed.describe_handle(handle)
    loop.close()
    assert issubclass(borrowed.SSLProtocol, asyncio.BufferedProtocol)
    assert callable(borrowed.SSLProtocol._do_read__buffered)
    assert "_ssl_writing_paused" in borrowed.SSLProtocol.resume_writing.__code__.co_names
    assert {"WRAPPED", "FLUSHING"} < set(borrowed.SSLProtocolState.__members__)
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as client:
        fd, peer = borrowed.accept_descriptor(listener)
        os.close(fd)
        assert peer == client.getsockname()
    count = borrowed.count_threads()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(borrowed.count_threads).result() == count + 1
    assert set(borrowed.SendfileMode.__members__) == {"UNSUPPORTED", "TRY_NATIVE", "FALLBACK"}


def test_handles_have_all_attributes_of_asyncios():
    loop = uringloop.new_event_loop()
    theirs = asyncio.new_event_loop()
    for ours, model in (
        (loop.call_soon(print), theirs.call_soon(print)),
        (loop.call_later(1, print), theirs.call_later(1, print)),
    ):
        assert isinstance(ours, type(model))
        names = {name for kind in type(model).__mro__ for name in getattr(kind, "__slots__", ())} - {"__weakref__"}
        assert {name for name in names if not hasattr(ours, name)} == {
            name for name in names if not hasattr(model, name)
        }
    loop.close()
    theirs.close()


def test_all_methods_of_the_abstract_loop_are_there():
    """Those that this Python's AbstractEventLoop has are ours, and not inherited from it."""
    missing = [
        name
        for name in vars(asyncio.AbstractEventLoop)
        if not name.startswith("__") and getattr(uringloop.Loop, name) is getattr(asyncio.AbstractEventLoop, name)
    ]
    assert not missing


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="Python has no event loop policies any more")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_install_makes_asyncio_use_our_loops():
    usual = asyncio.get_event_loop_policy()
    try:
        uringloop.install()
        with asyncio.Runner() as runner:
            assert isinstance(runner.get_loop(), uringloop.Loop)
    finally:
        asyncio.set_event_loop_policy(usual)


def test_run_runs_on_our_loop():
    async def main():
        return asyncio.get_running_loop()

    assert isinstance(uringloop.run(main()), uringloop.Loop)
