"""What ends a command other than success: each kind with its exit code."""

from __future__ import annotations

import signal


class CommandError(Exception):
    """Something failed that the command line was not wrong about; the message is the line that is printed."""

    code = 1


class UsageError(CommandError):
    """The command line is wrong: what was given is not there, or is something else."""

    code = 2


class Interrupted(Exception):
    """A signal ended a run before the command was done.

    Attributes
    ----------
    code : int
        The exit code: 128 plus the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def pass_on(stopped: str | None) -> None:
    """Raise Interrupted if a signal is why a run stopped: it was meant for the command."""
    kind, _, name = (stopped or "").partition(" ")
    if kind == "signal":
        raise Interrupted(signal.Signals[name])
