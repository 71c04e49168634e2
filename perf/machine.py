"""What the measurements were taken on and with."""

import importlib.metadata
import os
import platform
import re
import ssl
import subprocess
import time
from pathlib import Path

from perf.build import HERE

PACKAGES = ("uringloop", "uvloop", "rloop", "cffi", "uvicorn", "httptools", "aiohttp", "redis")


def describe() -> dict[str, str]:
    """Return the facts to print with the figures, by their names."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        # Anything but a small figure means that others computed meanwhile.
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "kernel": platform.release(),
        "TCP congestion control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "OpenSSL": ssl.OPENSSL_VERSION,
        "C compiler": first_line("cc", "--version"),
        "redis-server": first_line("redis-server", "--version"),
        "wrk": first_line("wrk", "--version"),
        "commit": first_line("git", "describe", "--always", "--dirty"),
    } | {package: version(package) for package in PACKAGES}


def processor() -> str:
    """Return the processor's name."""
    text = Path("/proc/cpuinfo").read_text()
    match = re.search(r"^model name\s*: (.*)$", text, re.M)
    return match[1] if match else platform.machine()


def version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def first_line(*command: str) -> str:
    """Return the first line a command prints."""
    try:
        # wrk prints its version and fails.
        done = subprocess.run(command, cwd=HERE, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return "not installed"
    return done.stdout.partition("\n")[0].strip() or "unknown"
