"""Hello World by a callback: call_soon() schedules it, and it stops the loop."""

import uringloop


def hello_world(loop):
    print("Hello World")
    loop.stop()


loop = uringloop.new_event_loop()
loop.call_soon(hello_world, loop)
try:
    loop.run_forever()
finally:
    loop.close()
