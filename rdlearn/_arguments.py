"""Numbers on the command line, and what is said of those that are none."""

import argparse
import math

__all__ = ["count", "folds", "jobs", "positive", "seed", "steps"]


def _number(kind, least, what):
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least(value):
            # Options of several values swallow a DATA that follows them.
            hint = "; DATA goes before options" if value is None else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}{hint}")
        return value

    return convert


positive = _number(float, lambda value: 0 < value < math.inf, "a positive number")
count = _number(int, lambda value: value >= 1, "a positive whole number")
folds = _number(int, lambda value: value >= 2, "a whole number from 2")
steps = _number(int, lambda value: value >= 0, "a whole number of 0 or more")
jobs = _number(int, lambda value: value >= 1 or value == -1, "a positive whole number or -1")
seed = _number(int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 2**32 - 1")
