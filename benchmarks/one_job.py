"""One job in a fresh process: ``python -m benchmarks.one_job case number size file``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .cases import case
from .rows import as_dict
from .sizes import SIZES


def main(name: str, number: str, size: str, path: str) -> None:
    """Run a job and write down its rows."""
    rows = case(name).jobs(SIZES[size])[int(number)].run()
    Path(path).write_text(json.dumps([as_dict(row) for row in rows]))


if __name__ == "__main__":
    main(*sys.argv[1:])
