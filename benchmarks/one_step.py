"""The first step of a fresh process: ``python -m benchmarks.one_step network contender file``."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from .peers import makes
from .problems import Problem, chain, mlp

CONTENDERS = {
    "get_updates": ("symbolic", "one_call"),
    "minimize": ("symbolic", "minimizing"),
    "plain": ("symbolic", "one_call", "NUMBA"),
    "old": ("symbolic", "old_design"),
    "optax": ("with_optax", "one_call"),
    "torch": ("with_torch", "one_call", "fused"),
}


def problem(network: str) -> Problem:
    """Return the network by its name: ``mlp``, or ``chain-`` with a number of tensors."""
    return mlp(1) if network == "mlp" else chain(int(network.removeprefix("chain-")))


def cpu() -> float:
    """Return the CPU seconds of this process and the children that it waited for."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def started() -> float:
    """Return when this process was started, in seconds since the epoch."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def main(network: str, name: str, path: str) -> None:
    """Make a step and write down how long it took."""
    sys.setrecursionlimit(50_000)  # PyTensor's gradient of 1000 tensors is a recursion
    module, function, *args = CONTENDERS[name]
    what = problem(network)
    __import__(f"benchmarks.peers.{module}")
    wall, used = time.perf_counter(), cpu()
    makes(module, function, what, *args)().advance(1)
    times = {"call": time.perf_counter() - wall, "cpu": cpu() - used, "start": time.time() - started()}
    Path(path).write_text(json.dumps(times))


if __name__ == "__main__":
    main(*sys.argv[1:])
