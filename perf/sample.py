"""What one measuring window of one server yields."""

from dataclasses import dataclass


class MeasurementError(Exception):
    """A measurement that cannot count; says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One window's figures; a message is an HTTP request where those are sent."""

    messages: int
    seconds: float

    cpu_us: float
    """CPU time the server's process took per message, in microseconds."""

    user_seconds: float
    system_seconds: float
    """The server's CPU time outside and inside the kernel, as it estimates."""

    p50_us: float
    p99_us: float
    """Latency that half and 99 % of the messages did not exceed."""

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def core_share(self) -> float:
        """The part of one core that the server used; 1 is a full core."""
        return self.cpu_us * self.messages / 1e6 / self.seconds

    @property
    def kernel_share(self) -> float:
        """The part of the server's CPU time that it spent in the kernel."""
        total = self.user_seconds + self.system_seconds
        return self.system_seconds / total if total else 0.0
