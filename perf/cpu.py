"""The CPU time that another process has used."""

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of CPU time since the process began, all its threads together."""

    total: float
    """From the process's CPU clock, which counts nanoseconds."""

    user: float
    system: float
    """The kernel's estimate from its clock ticks, in steps of a tick."""


def cpu_time(pid: int) -> CpuTime:
    """Read a process's CPU time; raises OSError when it is gone."""
    # Linux makes the id of a process's CPU clock from its pid like this, which
    # is what clock_getcpuclockid() answers; Python has no call for it.
    clock = ~pid << 3 | 2
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The second field is the program's name in parentheses, and may hold
    # anything; what follows its last parenthesis is plain.
    fields = stat[stat.rindex(")") + 2 :].split()
    tick = os.sysconf("SC_CLK_TCK")
    return CpuTime(
        total=time.clock_gettime(clock),
        user=int(fields[11]) / tick,
        system=int(fields[12]) / tick,
    )
