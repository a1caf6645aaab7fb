"""Draw docs/explanation/stages.svg: the stages of a step, from a batch to new values.

Usage: python docs/pictures/stages.py [picture]
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, MARGIN, LINE, GAP = 400, 10, 19, 22
BATCH, STEP, TEXT, SOFT = "#dbe9f6", "#fdebd8", "#1a1a1a", "#4a4a4a"

# title, settings that act there, colour
STAGES = [
    ("1  measure", ["loss, gradients; with sam= uphill"], BATCH),
    ("2  gates", ["accumulate=, on_nonfinite="], BATCH),
    (
        "3  the gradient",
        [
            "centralize=",
            "max_gradient_elem=, max_gradient_norm=",
            "max_global_norm=, clip_adaptive=",
            "gradient_noise=, transforms=",
            "weight_decay= (coupled)",
        ],
        STEP,
    ),
    ("4  the equation", ["algo=, one for each of groups="], STEP),
    ("5  momentum and rate", ["momentum=, learning_rate=", "weight_decay= (decoupled)"], STEP),
    ("6  new value", ["mechanic=, then minus, then project="], STEP),
    ("7  averages", ["lookahead=, ema=, swa="], STEP),
    ("8  one switch", ["gate closed: every old value stays"], STEP),
]
# what passes from one stage to the next
BETWEEN = ["loss, gradients", "gradients", "gradients", "direction", "step", "new value", "new value"]


def text(x, y, words, size=15, weight="normal", colour=TEXT, anchor="start"):
    """A line of text."""
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


def box(y, title, lines, colour):
    """A stage: its name, and the settings that act there. Returns its elements and its lower edge."""
    height = 30 + LINE * len(lines)
    out = [
        f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="6" fill="{colour}" '
        'stroke="#8a8a8a"/>',
        text(MARGIN + 12, y + 21, title, 16, "bold"),
    ]
    out += [text(MARGIN + 34, y + 21 + LINE * (i + 1), line, 15, colour=SOFT) for i, line in enumerate(lines)]
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
    for i, (title, lines, colour) in enumerate(STAGES):
        elements, y = box(y, title, lines, colour)
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
