"""A descriptor watched by add_reader() until it has received some data."""

import socket

import uringloop

loop = uringloop.new_event_loop()
receiving, sending = socket.socketpair()


def reader():
    data = receiving.recv(100)
    print("Received:", data.decode())
    loop.remove_reader(receiving)
    loop.stop()


loop.add_reader(receiving, reader)
loop.call_soon(sending.send, b"abc")
try:
    loop.run_forever()
finally:
    receiving.close()
    sending.close()
    loop.close()
