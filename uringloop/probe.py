"""What this machine offers: the same answers that making a loop would give, without raising."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, field

from .ring import Ring
from .unavailable import UringUnavailable


@dataclass(frozen=True)
class Probe:
    """The outcome of probe()."""

    available: bool
    """Whether loops can be made here."""

    reason: str = ""
    """If not: the cause, and the cure."""

    errno: int = 0
    """If not: what the kernel answered."""

    kernel: str = field(default_factory=lambda: os.uname().release)
    """The release of the running kernel."""

    features: dict[str, bool] = field(default_factory=dict)
    """Which of the kernel's features are used; see the README for what each brings."""


def probe() -> Probe:
    """Tell whether io_uring can be used here, with which features, and if not, why not. Never raises."""
    try:
        ring = Ring()
    except UringUnavailable as error:
        return Probe(available=False, reason=str(error.strerror), errno=error.errno or 0)
    ring.may_multishot(socket.AF_UNIX)  # tries it out
    features = asdict(ring.features)
    ring.close()
    return Probe(available=True, features=features)
