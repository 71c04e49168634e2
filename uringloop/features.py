"""What the kernel may or may not offer: each name has an alternative path in the code, and a switch.

`URINGLOOP_DISABLE` holds a comma-separated list of these names. A feature named there is not used even where
the kernel has it, so the path without it can be exercised on a new kernel.
"""

import os
from dataclasses import dataclass, fields

VARIABLE = "URINGLOOP_DISABLE"


@dataclass
class Features:
    """The features in use. Every field can be switched off by its name."""

    registered_fd: bool = True
    """The ring's descriptor is registered with the kernel, which saves a look-up at each enter (Linux 5.18)."""

    no_iowait: bool = True
    """An idle loop is not accounted as waiting for I/O (Linux 6.15). Without it, tools show iowait."""

    pool: bool = True
    """Receives take their memory from a pool when data arrives (Linux 5.19). Without it, each has its own."""

    multishot_recv: bool = True
    """One receive serves a TCP connection until it is cancelled (fair since Linux 6.8). Needs the pool."""

    multishot_unix: bool = True
    """The same for Unix sockets. Needs a kernel that does not lose the end of the stream in it (2026)."""

    restrictions: bool = True
    """The ring refuses every operation and call but those that the engine uses (Linux 5.10)."""

    @classmethod
    def from_environment(cls) -> "Features":
        """Return all features but those that `URINGLOOP_DISABLE` names.

        Raises ValueError for an unknown name: a misspelt switch must not pass for a tested path.
        """
        disabled = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")} - {""}
        known = {field.name for field in fields(cls)}
        if unknown := disabled - known:
            raise ValueError(f"{VARIABLE}: unknown {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        return cls(**dict.fromkeys(disabled, False))
