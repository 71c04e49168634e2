"""SIGINT and SIGTERM handled by add_signal_handler(): send this process one of them."""

import asyncio
import functools
import os
import signal

import uringloop


def ask_exit(name, stopped):
    print(f"got signal {name}: exit")
    stopped.set()


async def main():
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for name in ("SIGINT", "SIGTERM"):
        loop.add_signal_handler(getattr(signal, name), functools.partial(ask_exit, name, stopped))
    print(f"Press Ctrl-C, or send SIGINT or SIGTERM to process {os.getpid()}", flush=True)
    await stopped.wait()


uringloop.run(main())
