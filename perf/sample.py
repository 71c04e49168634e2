"""What one measuring window of one contestant yields."""

from dataclasses import dataclass


class MeasurementError(Exception):
    """A measurement that cannot count; says why."""


class UnsupportedError(MeasurementError):
    """The loop raised NotImplementedError: it does not claim to do this."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One window's figures; what a message is, the row's kind says."""

    messages: int
    lost: int
    """Datagrams that did not come back, in the whole run."""

    seconds: float

    cpu_seconds: float
    """CPU time that the measured process took, all its threads together."""

    user_seconds: float
    system_seconds: float
    """The part of it outside and inside the kernel, as the kernel estimates."""

    p50_us: float
    p99_us: float
    """Latency that half and 99 % of the messages did not exceed."""

    @property
    def cpu_us(self) -> float:
        """CPU time per message, in microseconds."""
        return self.cpu_seconds / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def core_share(self) -> float:
        """The part of one core that was used; 1 is a full core."""
        return self.cpu_seconds / self.seconds

    @property
    def kernel_share(self) -> float:
        """The part of the CPU time that was spent in the kernel."""
        total = self.user_seconds + self.system_seconds
        return self.system_seconds / total if total else 0.0
