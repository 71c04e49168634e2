"""Conversations of servers and clients that are disturbed at random, with every byte checked.

`python -m chaos`, in the directory of the tests, runs them for a while; `python -m chaos --seed N` does what that
seed did before; `python -m chaos.soak` keeps many connections busy. See --help of each.
"""
