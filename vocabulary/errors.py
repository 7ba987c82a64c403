"""The base of the errors that are answers: to bad input, or to a machine that lacks something."""

from __future__ import annotations


class OverlandError(Exception):
    """What was asked for cannot be done; the text alone says what, where, what is allowed and what to do next.

    Whoever talks to a person catches this one, tells its text and ends with status 2. Anything else is a fault of the
    program, and keeps its traceback.
    """
