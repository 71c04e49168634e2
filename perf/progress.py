"""Says how far a long run has come."""

import sys
import time


class Progress:
    """Counts steps that take about the same time each."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.start = time.monotonic()

    def step(self, text: str) -> None:
        """Tell about a step that has ended, and how long the rest will take."""
        self.done += 1
        left = self.steps - self.done
        minutes = (time.monotonic() - self.start) / self.done * left / 60
        print(f"[{self.done}/{self.steps}, {minutes:.1f} min left] {text}", file=sys.stderr, flush=True)

    def skip(self) -> None:
        """Leave a step out, which takes no time."""
        self.steps -= 1
