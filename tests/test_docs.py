"""The texts tell the truth: their code runs as it stands, and prints what stands below it."""

from __future__ import annotations

import configparser
import logging
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers import markdown, rest

import downhill2

ROOT = Path(__file__).parents[1]
MADE = {"_build", "algorithms", "gallery"}  # folders that make docs fills
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if not MADE & set(p.parts))
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.rst"))
TEXTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *PAGES]

# Code that needs a package which `make test` does without has a comment before it, <!-- needs: torch -->, and so has
# what it prints.
NEEDS = re.compile(r"<!-- needs: (\w+) -->\s*\Z")
OTHERS_WARNINGS = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MARKS = {"torch": [pytest.mark.oracle_torch], "mlflow": [pytest.mark.extras, OTHERS_WARNINGS]}


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path, compare=None):
    """Code and output of a text in their order, each with what it needs."""
    kind = rest if path.suffix == ".rst" else markdown
    sybil = Sybil([kind.PythonCodeBlockParser(), kind.CodeBlockParser("text", compare)], pattern=path.name)
    document = sybil.parse(path)
    for example in document:
        needed = NEEDS.search(document.text[: example.start])
        yield example, needed and needed[1]


def runs():
    """Each text with code: once without what needs a package, and once more with what needs it, for each package."""
    cases = []
    for path in [*TEXTS, *REFERENCE]:
        for needed in sorted({needed for _, needed in blocks(path)}, key=str):
            marks = MARKS.get(needed, [pytest.mark.extras]) if needed else []
            name = name_of(path) + (f" with {needed}" if needed else "")
            cases.append(pytest.param(path, needed, id=name, marks=marks))
    return cases


TIME = re.compile(r"(?m)^([A-Z]) \d\d:\d\d:\d\d ")


def without_times(text):
    """Lines of a log with letters for the time of day."""
    return TIME.sub(r"\1 hh:mm:ss ", text)


@pytest.fixture
def restored(monkeypatch, tmp_path, own_algorithms):
    """Run in an empty folder; give registry, switches and logger back as they were."""
    monkeypatch.chdir(tmp_path)
    for switch in ("generated", "products", "parallel", "packed", "many"):
        monkeypatch.setattr(downhill2.config, switch, True)
    logger = logging.getLogger("downhill2")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.mark.parametrize(("path", "package"), runs())
def test_code_runs_and_prints_what_stands_below_it(path, package, restored, capsys):
    if package is not None:
        pytest.importorskip(package)

    def printed():
        out, err = capsys.readouterr()
        log = "".join(line for line in err.splitlines(keepends=True) if TIME.match(line))  # other packages print too
        return without_times(out + log)

    def compare(output):
        assert printed() == without_times(output.parsed)

    for block, needed in blocks(path, compare):
        if needed in (None, package):
            block.evaluate()
    assert printed() == ""


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_code_stands_in_blocks_of_a_kind_that_runs(path):
    fences = re.findall(r"^ *```(.*)", path.read_text(), re.MULTILINE)
    kinds = {kind for kind in fences[::2] if not kind.startswith("{")}
    assert kinds <= {"python", "text", "console"}
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_has_an_example_and_shows_what_it_prints(path):
    kinds = set(re.findall(r"^```(\S+)", path.read_text(), re.MULTILINE))
    assert "{toctree}" in kinds or {"python", "text"} <= kinds or "console" in kinds


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_lead_to_files_that_exist(path):
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists() or MADE & set(Path(target).parts), target


OF_THE_COPY = """
import numpy as np, pytensor, downhill2, test_imports
w = pytensor.shared(np.array([3.0, -2.0]), name="w")
downhill2.minimize((w**2).sum(), None, algo="rms", learning_rate=0.1, max_updates=100, validate_every=None)
test_imports.test_a_room_imports_what_the_table_allows("algorithms.rms")
test_imports.test_an_algorithm_is_short("algorithms.rms")
test_imports.test_imports_have_no_circle()
print(downhill2.__file__, downhill2.RMS.__name__, *downhill2.list_algorithms()["rms"].state, abs(w.get_value()) < 0.1)
"""


def test_the_steps_to_add_an_algorithm_work_as_they_are_written(tmp_path):
    """The file of step 1 and the names of step 3, in a copy of the package, under the tests of imports."""
    [code] = re.findall(r"   ```python\n(.*?)   ```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    package = shutil.copytree(ROOT / "downhill2", tmp_path / "downhill2", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "algorithms" / "rms.py").write_text(f'"""A rate for each element."""\n\n{textwrap.dedent(code)}')
    facade = (package / "__init__.py").read_text()
    named = facade.replace("\nfrom .algorithms.sgd", "\nfrom .algorithms.rms import RMS\nfrom .algorithms.sgd")
    (package / "__init__.py").write_text(named.replace('    "RMSProp",\n', '    "RMS",\n    "RMSProp",\n'))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "tests")]),
        "PYTENSOR_FLAGS": f"{os.environ.get('PYTENSOR_FLAGS', '')},mode=FAST_COMPILE".strip(","),
    }
    run = [sys.executable, "-c", OF_THE_COPY]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    assert done.stdout.split() == [str(package / "__init__.py"), "RMS", "g2", "[", "True", "True]"]


def test_extras_to_install_are_those_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for path in TEXTS:
        for named in re.findall(r"(?:\.|downhill2)\[([a-z,]+)\]", path.read_text()):
            assert set(named.split(",")) <= set(setup["options.extras_require"]), path


def test_the_readme_fits_one_screen():
    screen, why, _ = (ROOT / "README.md").read_text().partition("\n## Why\n")
    assert why
    assert len(screen.splitlines()) <= 80


def test_the_readme_leaves_out_no_small_problem_on_which_another_is_faster():
    rows = (ROOT / "benchmarks" / "README.md").read_text()
    ratios = re.findall(r"^\| a \| .*: many updates a call \| optax lax.scan \| ([\d.]+) ", rows, re.MULTILINE)
    numbers = (ROOT / "README.md").read_text().partition("<!-- numbers of benchmarks/README.md -->")[2]
    low, *_, high = sorted(ratios, key=float)
    assert {low, high} <= set(re.findall(r"\d\.\d+", numbers.partition("<!-- end of numbers -->")[0]))


def test_the_readme_counts_the_algorithms_that_there_are():
    own = [cls for cls in downhill2.Optimizer.registry.values() if cls.__module__.startswith("downhill2.algorithms.")]
    counted = re.search(r"^\| algorithms \|.* (\d+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert int(counted[1]) == len(own)
