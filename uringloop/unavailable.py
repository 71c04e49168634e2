"""Why io_uring is not to be had here, and what to do about it."""

import errno
import os
import resource
from pathlib import Path

_SYSCTL = Path("/proc/sys/kernel/io_uring_disabled")
_CONTAINER = (
    "the container runtime's seccomp profile blocks it, as those of Docker 25, containerd 2.0 and Podman and of "
    "later versions do: run the container with a profile that allows io_uring_setup, io_uring_enter and "
    "io_uring_register"
)


class UringUnavailable(OSError):  # noqa: N818 - an OSError by nature, named for what users search
    """io_uring cannot be used on this machine.

    errno is what the kernel answered; the message names the likely cause and its cure.
    """


def unavailable(code: int) -> UringUnavailable:
    """Return the exception for this errno of the ring's set-up."""
    return UringUnavailable(code, f"io_uring is not available: {os.strerror(code)}: {_cause(code)}")


def _cause(code: int) -> str:
    match code:
        case errno.ENOSYS:
            return f"the kernel has no io_uring (Linux 6.1 or later is needed), or {_CONTAINER}"
        case errno.EPERM | errno.EACCES:
            return _denied()
        case errno.ENOMEM:
            return _memory()
        case errno.EINVAL:
            return f"the kernel is {os.uname().release}; Linux 6.1 or later is needed"
        case errno.EMFILE | errno.ENFILE:
            return "no file descriptor is left: raise the limit (ulimit -n, or the sysctl fs.file-max)"
    return "not a failure that is known; please report it"


def _denied() -> str:
    try:
        setting = _SYSCTL.read_text().strip()
    except OSError:
        setting = "0"
    if setting != "0":
        who = "everyone" if setting == "2" else "all but members of the group in kernel.io_uring_group"
        return f"the sysctl kernel.io_uring_disabled is {setting}, which bars {who}: set it to 0"
    return _CONTAINER


def _memory() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    limit = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft // 1024} KiB"
    return (
        f"even the smallest ring does not fit the limit on locked memory, which is {limit} for all rings of this "
        "user together: raise RLIMIT_MEMLOCK (ulimit -l; LimitMEMLOCK= in a systemd unit; --ulimit memlock= in a "
        "container)"
    )
