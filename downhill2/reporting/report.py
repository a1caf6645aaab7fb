"""The report of a run: one HTML file that needs no network."""

from __future__ import annotations

import base64
import datetime
import io
import math
import os
from importlib import resources
from typing import Any

from .. import checks
from ..extras import need
from ..keeping.history import History
from ..keeping.whole_file import replacing
from . import facts
from .environment import environment, libraries
from .reported import Reported
from .words import duration

__all__ = ["write"]

MOST_PICTURES = 12
SIZE = (4.8, 3.8)
"""Inches of a picture: small enough for its letters to be read on a telephone."""


def write(target: str | os.PathLike[str], source: Reported | History | str | os.PathLike[str]) -> None:
    """Write the report of a run: curves, monitors, settings, parameters, events and environment.

    Parameters
    ----------
    target : path
        The HTML file. What was there stays until the report is whole.
    source : Optimizer, History or path
        The run. A path names a checkpoint directory or the file of a history: comma-separated values if it ends in
        ``.csv``, else JSON lines. A report from a history alone has fewer parts.

    Raises
    ------
    ImportError
        If jinja2 or matplotlib is missing.
    TypeError, ValueError
        If the source is something else, or there are no records.
    OSError
        If the source cannot be read, or the target not be written.
    """
    file_path = checks.path("target", target)
    jinja2 = need("jinja2", "report")
    need("matplotlib", "report")
    known = facts.known_of(source)
    look = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    template = jinja2.Environment(**look)
    template.filters["number"] = number
    text = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    page = template.from_string(text).render(_contents(known))
    with replacing(file_path) as file:
        file.write(page.encode())


def _contents(known: facts.Facts) -> dict[str, Any]:
    """Return the contents of the page for the template."""
    history = known.history
    shown, left_out = facts.events(history)
    pictures, undrawn = _pictures(history)
    return {
        "title": " ".join(part for part in (f"{known.algorithm or ''} run".strip().capitalize(), known.name) if part),
        "written": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        "summary": _summary(known),
        "pictures": pictures,
        "undrawn": undrawn,
        "monitors": facts.monitors(history),
        "hyper": facts.changes(known),
        "settings": known.settings,
        "groups": known.groups,
        "params": known.params,
        "total": sum(math.prod(p.shape) for p in known.params),
        "which": known.which,
        "events": shown,
        "left_out": left_out,
        "environment": environment() | (libraries() if known.here else {}),
        "here": known.here,
    }


def _summary(known: facts.Facts) -> list[tuple[str, str, str]]:
    """Return the most important facts: what, how much, and a remark."""
    last, best = known.history[-1], facts.best(known.history)
    rows = [
        ("stopped by", number(known.stopped), known.state),
        ("epochs", number(last.epoch), ""),
        ("updates", number(last.updates), ""),
        ("time", duration(last.seconds), _speed(known.history)),
    ]
    if best and "loss" in best.valid:
        rows.append(("best validation loss", number(best.valid["loss"]), f"epoch {best.epoch}"))
    return rows


def _speed(history: History) -> str:
    speeds = history["rows_per_second"]
    speeds = speeds[speeds > 0]
    return f"{number(float(sorted(speeds)[len(speeds) // 2]))} rows/s" if len(speeds) else ""


def number(value: object) -> str:
    """Return a value as a table shows it: floats to five digits, None as a dash."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


# -- pictures


def _pictures(history: History) -> tuple[list[tuple[str, str]], int]:
    """Return the title and the data URI of each picture, and the number of monitors without a picture."""
    from . import plots
    from .plots.series import monitors

    names = [name for name in monitors(history) if not name.startswith("grad(")]
    found = []
    for name in names[:MOST_PICTURES]:
        rate = name == names[0] and "hyper.learning_rate" in history.columns
        above, *below = _panels(rate)
        plots.learning_curves(history, name, above, rate=below[0] if rate else False)
        found.append((f"{name}, with the learning rate" if rate else name, _address(above.figure)))
    if any(c.startswith("train.grad(") for c in history.columns):
        found.append(("norms of the gradients", _address(plots.gradient_norms(history, *_panels(False)).figure)))
    return found, max(0, len(names) - MOST_PICTURES)


def _panels(rate: bool) -> list[Any]:
    """Return the axes of a new picture that pyplot does not keep, and below them those of the rate."""
    figure = need("matplotlib.figure", "report").Figure(figsize=SIZE, layout="constrained")
    if not rate:
        return [figure.subplots()]
    return list(figure.subplots(2, 1, sharex=True, height_ratios=[3, 1]))


def _address(figure: Any) -> str:
    """Return a picture as a data URI: as an image, its identifiers cannot clash with those of another."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
