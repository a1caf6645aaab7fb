"""Draw docs/explanation/stages.svg: the stages of a step, from a batch to new values.

Usage: python docs/pictures/stages.py [picture]
"""

import sys
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

from downhill2.symbolic.rule import Rule
from downhill2.symbolic.stages import ORDER, settings
from downhill2.symbolic.transforms import Rate, Subtract

WIDTH, MARGIN, LINE, GAP = 400, 10, 19, 22
BATCH, STEP, TEXT, SOFT = "#dbe9f6", "#fdebd8", "#1a1a1a", "#4a4a4a"

WORDS = {Rule: "algo=, one for each of groups=", Rate: "learning_rate=", Subtract: "minus"}
"""What stands for stages that no setting of their own switches on."""
BESIDE = {
    "measure": ["loss, gradients"],
    "gates": ["on_nonfinite="],
    "one switch": ["gate closed: every old value stays"],
}
"""What happens in a part besides its stages."""


def lines(words, width=38):
    """Words, as many on a line as fit."""
    return textwrap.wrap(", ".join(dict.fromkeys(words)), width) if words else []


def parts():
    """The parts of a step, from the table of stages: title, lines of settings, colour."""
    found = {"measure": [], "gates": []}
    for stage in ORDER:
        name = WORDS.get(stage.declares) or f"{next(iter(settings(stage.declares)))}="
        found.setdefault(stage.part, []).append(name)
    for number, part in enumerate([*found, "one switch"], 1):
        colour = BATCH if part in ("measure", "gates") else STEP
        yield f"{number}  {part}", lines([*BESIDE.get(part, []), *found.get(part, [])]), colour


# what passes from one stage to the next
BETWEEN = ["loss, gradients", "gradients", "gradients", "direction", "step", "new value", "new value"]


def text(x, y, words, size=15, weight="normal", colour=TEXT, anchor="start"):
    """A line of text."""
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


def box(y, title, words, colour):
    """A stage: its name, and the settings that act there. Returns its elements and its lower edge."""
    height = 30 + LINE * len(words)
    out = [
        f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="6" fill="{colour}" '
        'stroke="#8a8a8a"/>',
        text(MARGIN + 12, y + 21, title, 16, "bold"),
    ]
    out += [text(MARGIN + 34, y + 21 + LINE * (i + 1), line, 15, colour=SOFT) for i, line in enumerate(words)]
    return out, y + height


def arrow(y, words):
    """An arrow from one box to the next, and what passes along it."""
    x = WIDTH / 2 - 60
    head = f"{x - 5},{y + GAP - 8} {x + 5},{y + GAP - 8} {x},{y + GAP}"
    return [
        f'<path d="M{x} {y} V{y + GAP - 8}" stroke="{SOFT}" stroke-width="1.5"/>',
        f'<polygon points="{head}" fill="{SOFT}"/>',
        text(x + 12, y + 16, words, 14, colour=SOFT),
    ]


def drawing():
    """The picture as SVG."""
    out, y = [text(MARGIN, 26, "blue: uses the batch; orange: no data"), *arrow(36, "a batch")], 36 + GAP
    for i, (title, words, colour) in enumerate(parts()):
        elements, y = box(y, title, words, colour)
        out += elements
        if i < len(BETWEEN):
            out += arrow(y, BETWEEN[i])
            y += GAP
    height = y + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img">'
    )
    card = f'<rect width="{WIDTH}" height="{height}" rx="8" fill="white"/>'
    return "\n".join([head, "<title>The stages of a step</title>", card, *out, "</svg>", ""])


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "explanation" / "stages.svg"
    Path(*sys.argv[1:] or [default]).write_text(drawing(), encoding="utf-8")
