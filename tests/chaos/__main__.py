"""The command line: python -m chaos."""

from __future__ import annotations

import argparse
import logging
import random

from support.kinds import ORACLES, OURS, operations_in_flight, own_operations

from chaos.rounds import Rounds

parser = argparse.ArgumentParser(prog="python -m chaos", description="Disturb conversations, and check every byte.")
parser.add_argument("--seed", type=int, help="do again what was done with this seed; without it, a new one")
parser.add_argument("--seconds", type=float, default=600, help="how long to go on (default: 600)")
parser.add_argument("--conversations", type=int, default=300, help="in each round (default: 300)")
parser.add_argument("--asyncio", action="store_true", help="on asyncio's own loop")
parser.add_argument("--debug", action="store_true", help="with the loop in debug mode")


def rounds(oracle: bool, debug: bool) -> Rounds:
    """The rounds for a kind of loop."""
    kind = (ORACLES if oracle else OURS)[debug]
    if oracle:
        return Rounds(kind.new_event_loop, lambda loop: 0, loses=True)
    own = own_operations(kind)
    return Rounds(kind.new_event_loop, lambda loop: operations_in_flight(loop) - own, loses=False)


def main() -> None:
    """Run what the command line asks for."""
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # disturbed TLS connections are no news
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    for line in rounds(options.asyncio, options.debug).run(seed, options.seconds, options.conversations):
        print(line, flush=True)


if __name__ == "__main__":
    main()
