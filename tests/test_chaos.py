"""A short run of each long test; see chaos/ for what they do, and the README for the long runs."""

import logging
import os
import random

import pytest
from chaos import soak
from chaos.__main__ import rounds
from support.kinds import OURS

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture(autouse=True)
def _without_asyncios_log():
    """asyncio logs what TLS connections that were disturbed are good for."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("asyncio").setLevel(logging.NOTSET)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("oracle", "debug", "seconds"),
    [(False, False, 8), (False, True, 4), (True, False, 3)],
    ids=["uringloop", "uringloop-debug", "asyncio"],
)
def test_disturbed_conversations_lose_and_leave_nothing(oracle, debug, seconds):
    print(f"do this again by: python -m chaos --seed {SEED}")
    for line in rounds(oracle, debug).run(SEED, seconds, 60):
        print(line)


@pytest.mark.timeout(180)
def test_many_busy_connections_leave_nothing():
    soak.run(OURS[0], soak.Load(connections=200, seconds=4, warm_up=1, interval=0.2))
