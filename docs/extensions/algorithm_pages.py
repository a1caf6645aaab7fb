"""Write a page for each algorithm before the documentation is built: docstring, settings, presets, picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import downhill2
from downhill2.symbolic.hyper import Hyper, Setting, declared
from downhill2.symbolic.state import State

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "algorithms"


def own_algorithms() -> dict[str, type[downhill2.Optimizer]]:
    """Return the algorithms of the package by their registered name."""
    downhill2.list_algorithms()  # imports them all
    registry = downhill2.Optimizer.registry
    return {n: c for n, c in sorted(registry.items()) if c.__module__.startswith("downhill2.algorithms.")}


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a table as reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        first, *others = (cell or "\\-" for cell in row)
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
    return [*lines, ""]


def code(value: Any) -> str:
    return f"``{value:.6g}``" if isinstance(value, float) else f"``{value!r}``"


def settings_table(cls: type[downhill2.Optimizer]) -> list[str]:
    """Return the table of an algorithm's own settings, with the names and defaults."""
    rows = []
    own = downhill2.list_algorithms()[cls.__name__.lower()].settings
    for name, d in declared(cls, Hyper | Setting).items():
        if name not in own:
            continue
        others = ", ".join(f"``{n}``" for n in d.names if n != name)
        allowed = d.condition() if isinstance(d, Hyper) else choices(d)
        rows.append([f"``{name}``", others, code(d.default), allowed])
    return table(["setting", "also given as", "default", "allowed"], rows)


def choices(setting: Setting) -> str:
    options = setting.options
    return ", ".join(map(code, options)) if isinstance(options, tuple) else f"a {options.__name__}"


def preset_table(cls: type[downhill2.Optimizer]) -> list[str]:
    """Return the table of presets, or a line that there are none."""
    if not cls.presets:
        return ["No other library has it: there are no presets.", ""]
    names = list(dict.fromkeys(n for preset in cls.presets.values() for n in preset))
    if not names:
        return [", ".join(f"``preset={n!r}``" for n in cls.presets) + ": the defaults above.", ""]
    rows = [[f"``{n}``", *(code(p[n]) if n in p else "" for p in cls.presets.values())] for n in names]
    return table(["setting", *(f"``preset={n!r}``" for n in cls.presets)], rows)


def state_line(cls: type) -> str:
    states = ", ".join(f"``{n}``" for n in declared(cls, State))
    return f"State: {states}." if states else "State: none."


def path(cls: type) -> str:
    """Return where users find a class; in a draft of a new algorithm, where it stands."""
    public = f"downhill2.{cls.__name__}"
    return public if cls.__name__ in downhill2.__all__ else f"{cls.__module__}.{cls.__name__}"


def page(name: str, cls: type[downhill2.Optimizer]) -> str:
    """Return the page of an algorithm."""
    title = cls.__name__
    lines = [
        title,
        "=" * len(title),
        "",
        f"``downhill2.build({name!r}, ...)``",
        "",
        f".. autoclass:: {path(cls)}",
        "",
        "On two problems",
        "---------------",
        "",
        f".. image:: {name}-valley.png",
        f"   :alt: The path of {title} on Rosenbrock's function.",
        "   :class: half",
        "",
        f".. image:: {name}-noisy.png",
        f"   :alt: The loss of {title} on a noisy quadratic, beside SGD and Adam.",
        "   :class: half",
        "",
        "First, its path on Rosenbrock's function; then the loss on a quadratic with noise in the gradient. Each "
        "algorithm runs with the learning rate, of twelve that were tried, that served it best there; in the "
        "valley, of those that keep it in the picture.",
        "",
        "What can be set",
        "---------------",
        "",
        *settings_table(cls),
        "Also :doc:`the settings of every algorithm </reference/settings>`: clipping, decay, momentum, averages ...",
        "",
        state_line(cls),
        "",
        "Presets",
        "-------",
        "",
        *preset_table(cls),
    ]
    return "\n".join(lines)


def index(names: list[str]) -> str:
    """Return the page that lists them all."""
    entries = [f"   {name}" for name in names]
    return "\n".join(["Algorithms", "==========", "", ".. toctree::", "   :maxdepth: 1", "", *entries, ""])


def write(path: Path, text: str) -> None:
    """Write a file unless it says so already: what did not change is not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def generate(app: Sphinx) -> None:
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    algorithms = own_algorithms()
    for name, cls in algorithms.items():
        write(folder / f"{name}.rst", page(name, cls))
    if not app.tags.has("draft"):
        import algorithm_pictures  # and with it matplotlib, which who wants the text alone may not have

        algorithm_pictures.draw_all(list(algorithms), folder)
    write(folder / "index.rst", index(list(algorithms)))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
