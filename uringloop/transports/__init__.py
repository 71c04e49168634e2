"""What protocols talk to: transports, and the server that makes them."""
