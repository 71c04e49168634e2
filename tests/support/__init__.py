"""What the tests are built from: loops, sockets, protocols, child processes, checks."""
