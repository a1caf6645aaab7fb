"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """How much to measure.

    Attributes
    ----------
    name : str
        tiny (for tests: it says nothing about speed), quick, normal or full.
    rounds : int
        Samples of each contender.
    sample : float
        What a sample takes at least, in seconds.
    """

    name: str
    rounds: int
    sample: float

    def pick(self, quick: T, normal: T, full: T | None = None, tiny: T | None = None) -> T:
        """Return what goes with this size; by default, full is as normal and tiny as quick."""
        found = {"quick": quick, "normal": normal, "full": full, "tiny": tiny}[self.name]
        if found is not None:
            return found
        return normal if self.name == "full" else quick


SIZES = {
    size.name: size
    for size in (
        Size("tiny", 3, 1e-4),
        Size("quick", 15, 4e-3),
        Size("normal", 60, 8e-3),
        Size("full", 150, 10e-3),
    )
}
