"""A coroutine with streams: an echo server, and a client that talks to it."""

import asyncio

import uringloop


async def main():
    served = asyncio.Event()

    async def echo(reader, writer):
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        served.set()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for message in ("Hello", "World"):
            print("Send:", message)
            writer.write(message.encode() + b"\n")
            answer = await reader.readline()
            print("Received:", answer.decode().rstrip())
        writer.close()
        await writer.wait_closed()
        await served.wait()


uringloop.run(main())
