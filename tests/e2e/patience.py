"""Tests wait as long as it takes: a limit ends a hang, and judges no speed."""

import time

PATIENCE_S = 600


def wait_until(condition, told=lambda: "", limit_s=PATIENCE_S):
    """The first value of the condition that is true; told() says how things stand when there is none."""
    until = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < until, told()
        time.sleep(0.05)
    return value
