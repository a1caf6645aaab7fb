"""The command line: ``downhill2``, or ``python -m downhill2``.

Exit codes: 0 done; 1 something failed, or `doctor` found something broken; 2 the command line, or what it names, is
wrong; 130 Ctrl-C, or SIGUSR1 in a run; 141 the reader of a pipe went away. SIGTERM ends the process.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn

import downhill2

from ..symbolic.declared import nearest
from . import algorithms, compare, demo, doctor, page, plot
from .errors import CommandError
from .output import width

__all__ = ["main"]

COMMANDS = {
    "demo": demo,
    "algorithms": algorithms,
    "plot": plot,
    "report": page,
    "compare": compare,
    "doctor": doctor,
}
"""Modules, each with ``HELP``, ``EXAMPLES``, ``add_arguments(parser)`` and ``run(args)``, which returns a code."""

_PIPE_CLOSED = 141  # 128 plus the number of SIGPIPE, which some systems lack


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name. Default: that of this process.

    Returns
    -------
    int
        The exit code.
    """
    _prepare_streams()
    try:
        code = _ended(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # flush here, where a closed pipe ends the command quietly
    except BrokenPipeError:
        _write_no_more()
        code = _PIPE_CLOSED
    except OSError as error:  # a full disk, say
        print("downhill2:", error, file=sys.stderr)
        _write_no_more()
        code = 1
    return code


def _ended(given: Sequence[str]) -> int:
    """Run a command and return the code with which it ends, whatever ends it."""
    try:
        return _run(given)
    except (CommandError, downhill2.CheckpointError, ImportError) as error:
        print("downhill2:", *str(error).split(), file=sys.stderr)
        return getattr(error, "code", 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as end:  # an error of argparse
        return int(end.code or 0)


def _write_no_more() -> None:
    """Discard what is left for standard output, which the interpreter would write at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _run(given: Sequence[str]) -> int:
    parser = _parser()
    if not given:
        parser.print_help(sys.stderr)
        return 2
    if not given[0].startswith("-") and given[0] not in COMMANDS:
        parser.error(f"unknown command {given[0]!r}{nearest(given[0], COMMANDS)}")
    args = parser.parse_args(given)  # exits for --help, --version and unknown arguments
    return int(COMMANDS[args.command].run(args))


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:12}{command.HELP}" for name, command in COMMANDS.items())
    parser = _Parser(
        "downhill2",
        usage="downhill2 [-h] [--version] COMMAND ...",
        description="Minimize any scalar PyTensor expression.",
        epilog=f"commands:\n{listed}\n\n`downhill2 COMMAND --help` shows what it takes, and examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"downhill2 {downhill2.__version__}")
    # by hand above, as argparse breaks the line after the longest name
    commands = parser.add_subparsers(prog="downhill2", dest="command", metavar="COMMAND", help=argparse.SUPPRESS)
    for name, command in COMMANDS.items():
        one = commands.add_parser(
            name,
            description=textwrap.fill((command.__doc__ or "").partition("\n\n")[2], width()),
            epilog=f"examples:\n{textwrap.indent(command.EXAMPLES, '  ')}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(one)
    return parser


def _prepare_streams() -> None:
    """Let standard streams write the code of a character that they cannot encode.

    What a stream that is closed was to show goes nowhere: the interpreter has None for it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the interpreter ends)
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure:  # a replacement of a stream may lack the method
            reconfigure(errors="backslashreplace")
