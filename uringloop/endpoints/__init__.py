"""The coroutines that make connections, servers and their kin."""
