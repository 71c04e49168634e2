"""CPython's own asyncio tests, run on uringloop.

`python -m cpython test_events` (from `tests/`) runs one module; `tests/test_cpython.py` runs each in a process.

modules.py     which modules are run, and why the others are not
left_out.py    which tests are left out, and why
replacing.py   puts our loop where the tests look for asyncio's
adapting.py    lets them find in our loop what they look for by private names
testloop.py    the loop with a clock of its own that many of the tests use, on ours
result.py      what the tests' outcomes amount to
"""
