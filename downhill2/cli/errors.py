"""What ends a command other than success: each kind with its exit code."""

from __future__ import annotations


class CommandError(Exception):
    """Something failed that the command line was not wrong about; the message is the line that is printed."""

    code = 1


class UsageError(CommandError):
    """The command line is wrong: what was given is not there, or is something else."""

    code = 2
