"""Errors that end a command, each kind with its exit code."""

from __future__ import annotations


class CommandError(Exception):
    """Something failed although the command line was right; the message is the printed line."""

    code = 1


class UsageError(CommandError):
    """The command line is wrong: it names what does not exist, or is something else."""

    code = 2
