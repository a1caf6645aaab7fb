"""Where results are kept: results.json, and the table between the marks in README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import cases
from .rows import Row, as_dict, from_dict, table

HERE = Path(__file__).parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def write(folder: Path, name: str, rows: list[Row], about: Mapping[str, Any]) -> None:
    """Put the rows of a case in place of its former ones, and the table of all cases into README.md.

    Parameters
    ----------
    folder : Path
        Holds results.json and README.md, which are made if they are not there.
    name : str
        The case.
    rows : list of Row
    about : mapping of str to what JSON takes
        How and where they were measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found[name] = {**about, "rows": [as_dict(row) for row in rows]}
    results = {name: found[name] for name in cases.NAMES if name in found}
    path.write_text(json.dumps(results, indent=1) + "\n")
    readme = folder / "README.md"
    text = (readme if readme.exists() else HERE / "README.md").read_text()
    before, rest = text.split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{report(results)}\n{END}{rest.split(END)[1]}")


def report(results: Mapping[str, Any]) -> str:
    """Return the conditions of each case and the table of all."""
    conditions: dict[str, list[str]] = {}
    for name, result in results.items():
        conditions.setdefault(told(result), []).append(name)
    lines = [f"- {', '.join(names)}: {text}" for text, names in conditions.items()]
    rows = [(name, from_dict(row)) for name, result in results.items() for row in result["rows"]]
    return "\n".join([*lines, "", table(rows)])


def told(result: Mapping[str, Any]) -> str:
    """Return in a line how and where a case was measured."""
    place = result["environment"]
    left_out = ("date", "cpu", "cores", "load before", "system")
    load = place["load before"]
    versions = ", ".join(f"{k} {v}" for k, v in place.items() if k not in left_out and v is not None)
    where = f"{place['cores']} cores of {place['cpu']}" + ("" if load is None else f", load {load} before")
    return f"{place['date']}, size {result['size']}, {where}, {versions}"
