"""Jobs, each in a process of its own: what crashes or takes too long gives a row that says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cases
from .rows import Row, from_dict
from .sizes import Size

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Job:
    """A part of a case.

    Attributes
    ----------
    what : str
        Names it in the row that is left when it fails.
    seconds : float
        How long it may take.
    run : callable
        Returns the rows.
    """

    what: str
    seconds: float
    run: Callable[[], list[Row]]


class JobError(RuntimeError):
    """A process that failed, with the reason in words."""


def run_case(name: str, size: Size) -> list[Row]:
    """Run the jobs of a case, one after the other."""
    rows = []
    for index, job in enumerate(cases.case(name).jobs(size)):
        try:
            found = child("benchmarks.one_job", [name, index, size.name], job.seconds, leader=True)
            rows += [from_dict(row) for row in found]
        except JobError as error:
            rows.append(Row(job.what, note=str(error)))
    return rows


def child(
    module: str,
    args: Sequence[Any],
    seconds: float,
    flags: str = "",
    variables: Mapping[str, str] | None = None,
    leader: bool = False,
) -> Any:
    """Run ``python -m module args... file`` and return the JSON that it wrote into the file.

    Parameters
    ----------
    module, args
        What to run.
    seconds : float
        How long it may take.
    flags : str
        PyTensor flags, over those of this process.
    variables : mapping of str to str, optional
        Environment variables to set.
    leader : bool
        Whether all that the process starts is ended with it; children of a leader are none.

    Raises
    ------
    JobError
        If it failed or took too long; it is ended then.
    """
    environment = {**os.environ, **(variables or {})}
    # without kept bytecode each process compiles the sources of Numba anew, as no installed one does
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTENSOR_FLAGS"] = ",".join(filter(None, [os.environ.get("PYTENSOR_FLAGS"), flags]))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", module, *map(str, args), str(result)]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=leader
        ) as process:
            try:
                _, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                raise JobError(f"no result after {seconds:g} s") from None
            finally:
                end(process, leader)
        if process.returncode:
            last = (errors.strip().splitlines() or [f"ended with code {process.returncode}"])[-1]
            raise JobError(last.replace(f"{ROOT}/", "")[:200])  # results are published: no paths of this machine
        return json.loads(result.read_text())


def end(process: subprocess.Popen[str], leader: bool) -> None:
    """End a process, a leader with all that it started."""
    if process.poll() is None:
        if leader:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
