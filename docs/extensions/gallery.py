"""Run the examples before the documentation is built, and write a page for each: its code, output and picture.

An example is run as users run it, by a process of its own; again only if it is newer than what it printed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from algorithm_pages import write
from sphinx.application import Sphinx
from sphinx.util import logging

FOLDER = "gallery"
logger = logging.getLogger(__name__)


def story(example: Path) -> str:
    """Return what an example says of itself, without its usage."""
    doc = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    return doc.partition("\nUsage:")[0].strip()


def title(example: Path) -> str:
    return example.stem.replace("_", " ").capitalize()


def run(example: Path, folder: Path) -> None:
    """Run an example in the folder, where it leaves its picture, and keep what it prints."""
    printed = folder / f"{example.stem}.txt"
    if printed.exists() and printed.stat().st_mtime > example.stat().st_mtime:
        return
    logger.info("running %s", example.name)
    paths = os.pathsep.join([str(example.parents[1]), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, str(example)], {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        logger.warning("%s failed: %s", example.name, done.stderr.strip().splitlines()[-1])
        return
    printed.write_text(done.stdout, encoding="utf-8")


def picture(name: str, folder: Path, *options: str) -> list[str]:
    """Return the directive that shows the picture of an example, if it drew one."""
    if not (folder / f"{name}.png").exists():
        return []
    return [f".. image:: {name}.png", f"   :alt: The picture that {name}.py draws.", *options, ""]


def page(example: Path, folder: Path) -> str:
    """Return the page of an example."""
    lines = [title(example), "=" * len(title(example)), "", story(example), "", *picture(example.stem, folder)]
    if (folder / f"{example.stem}.txt").exists():
        lines += ["What it prints:", "", f".. literalinclude:: {example.stem}.txt", "   :language: text", ""]
    return "\n".join([*lines, f".. literalinclude:: ../../examples/{example.name}", "   :language: python", ""])


def index(examples: list[Path], folder: Path) -> str:
    """Return the page that shows them all."""
    lines = ["Gallery", "=======", "", "The scripts of the folder ``examples``, with what they print and draw.", ""]
    for example in examples:
        summary = " ".join(story(example).partition("\n\n")[0].split())
        lines += [f":doc:`{title(example)} <{example.stem}>`", f"   {summary}", ""]
        lines += [f"   {line}" for line in picture(example.stem, folder, f"   :target: {example.stem}.html")]
    return "\n".join([*lines, ".. toctree::", "   :hidden:", "", *(f"   {e.stem}" for e in examples), ""])


def generate(app: Sphinx) -> None:
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    examples = sorted((Path(app.srcdir).parent / "examples").glob("*.py"))
    for example in examples:
        if not app.tags.has("draft"):
            run(example, folder)
        write(folder / f"{example.stem}.rst", page(example, folder))
    write(folder / "index.rst", index(examples, folder))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
