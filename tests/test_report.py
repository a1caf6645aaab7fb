"""The report of a run tells all that is known of it, in one file that needs nothing else."""

from __future__ import annotations

import base64
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import History, Record
from downhill2.keeping.checkpoint import read
from downhill2.reporting import environment, facts, report
from downhill2.reporting.choices import recorded_choices

EVIL = "W</td><script>alert('1')</script>"


def make(**settings):
    """Return an optimizer of two parameters, one of a name that is none for HTML."""
    x, y = pt.matrix("x"), pt.vector("y")
    w, b = pytensor.shared(np.zeros(2), name=EVIL), pytensor.shared(np.float64(0), name="b")
    loss = ((x @ w + b - y) ** 2).mean()
    return downhill2.build("adam", loss, [w, b], [x, y], learning_rate=0.1, **settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return an optimizer after a run with checkpoints, and their directory."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 2))
    data = [x, x @ [1.0, -2.0] + 3]
    opt, folder = (
        make(monitor_gradients=True, monitors={"<b>a&b</b>": pt.constant(1.0)}),
        tmp_path_factory.mktemp("run"),
    )
    opt.minimize(data, max_epochs=4, validate_every=2, rng=1, checkpoint=folder / "first", momentum=0.5)
    return opt, folder / "first"


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: tags, texts, tables as rows of cells, pictures."""

    def __init__(self, path):
        super().__init__()
        self.text, self.tags, self.rows, self.sources = [], [], [], []
        self.in_cell = False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data.strip()

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    @property
    def table(self):
        return {row[0]: row[1:] for row in self.rows}


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    target = tmp_path_factory.mktemp("report") / "run.html"
    trained[0].report(target)
    return Page(target)


# ---- what it says


def test_it_tells_why_the_run_stopped_and_what_it_came_to(trained, page):
    opt, text = trained[0], " ".join(" ".join(page.text).split())
    assert "Adam run" in text
    assert "stopped by max_epochs epochs 4 updates 8 time" in text
    best = [r for r in opt.history if r.improved][-1]
    assert f"best validation loss {best.valid['loss']:.5g} epoch {best.epoch}" in text


def test_it_tells_the_monitors_of_training_validation_and_the_best(trained, page):
    last = trained[0].history[-1]
    best = trained[0].best_monitors
    assert page.table["loss"] == [f"{v:.5g}" for v in (last.train["loss"], last.valid["loss"], best["loss"])]
    assert page.table["<b>a&b</b>"] == ["1", "1", "1"]


def test_it_tells_hyperparameters_and_settings(page):
    assert page.table["learning_rate"] == ["0.1", ""]
    assert page.table["momentum"] == ["0.5", ""]
    assert page.table["max_epochs"] == ["4"]
    assert page.table["validate_every"] == ["2"]
    assert page.table["inputs"] == ["x, y"]
    assert (page.table["rows"], page.table["rows a batch"]) == (["40"], ["32"])
    assert page.table["backend"] == [f"PyTensor's mode, {pytensor.config.mode}"]
    assert "nesterov" not in page.table


def test_it_tells_shape_dtype_and_range_of_parameters(trained, page):
    w, b = (p.get_value() for p in trained[0].params)
    numbers = [np.sqrt((w**2).sum()), w.min(), w.max()]
    assert page.table[EVIL] == ["2", "float64", *(f"{v:.5g}" for v in numbers), "all"]
    assert page.table["b"] == ["scalar", "float64", *(f"{float(v):.5g}" for v in (abs(b), b, b)), "all"]
    assert "2 with 3 numbers in all; the values are as they are now." in " ".join(page.text)


def test_it_tells_the_events(trained, page):
    [event] = [r.events for r in trained[0].history if r.epoch == 4 and r.train]
    assert ["4", "8", event[0]] in page.rows


def test_it_tells_the_environment(page):
    assert page.table["pytensor"] == [pytensor.__version__]
    assert page.table["downhill2"] == [downhill2.__version__]
    assert page.table["Python"][0].startswith(".".join(map(str, sys.version_info[:3])))
    assert page.table["BLAS"][0] in ("Intel MKL", "that of SciPy")
    assert re.fullmatch(r"\d+ of \d+", page.table["cores"][0])


def test_it_shows_each_monitor_and_the_gradients_as_pictures_within_the_page(page):
    assert page.tags.count("img") == 3
    for address in page.sources:
        kind, _, data = address.partition(";base64,")
        assert kind == "data:image/svg+xml"
        assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")


def test_it_needs_no_network_and_runs_nothing(page):
    assert all(source.startswith("data:") for source in page.sources)
    assert not {"script", "link", "iframe", "object", "b"} & {*page.tags}


def test_names_are_escaped(trained, tmp_path):
    trained[0].report(tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text("utf-8")
    assert "<script" not in text
    assert "W&lt;/td&gt;&lt;script&gt;" in text
    assert "&lt;b&gt;a&amp;b&lt;/b&gt;" in text


# ---- from what a run left behind


def test_a_checkpoint_directory_tells_the_best_parameters_and_the_data(trained, tmp_path):
    opt, folder = trained
    report.write(tmp_path / "run.html", folder)
    page = Page(tmp_path / "run.html")
    w = opt.params[0].get_value()
    assert page.table[EVIL][:3] == ["2", "float64", f"{np.linalg.norm(w):.5g}"]
    assert page.table["rows a batch"] == ["32"]
    text = " ".join(" ".join(page.text).split())
    assert "Adam run first" in text
    assert "not recorded, the run has ended" in text
    assert "the values are the latest of the newest checkpoint" in text  # whose validation was the best
    assert "the run may have been made elsewhere" in text


def test_a_history_alone_is_enough(trained, tmp_path):
    opt = trained[0]
    opt.history.to_csv(tmp_path / "run.csv")
    for source in (opt.history, tmp_path / "run.csv", trained[1] / "history.jsonl"):
        known = facts.known_of(source)
        assert [*known.history] == [*opt.history]
        assert (known.params, known.settings, known.algorithm) == ([], {}, None)
    report.write(tmp_path / "run.html", opt.history[:1])  # of a validation alone
    assert "Parameters" not in Page(tmp_path / "run.html").text


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_then_to_the_history(trained, tmp_path):
    folder = shutil.copytree(trained[1], tmp_path / "copy")
    files = sorted(folder.glob("update-*"))
    assert len(files) > 1
    files[-1].write_bytes(b"damaged")
    (folder / "result.safetensors").unlink()
    known = facts.known_of(folder)
    assert [p.name for p in known.params] == [EVIL, "b"]
    assert known.state == "the run has not ended"
    assert known.which == "the best of the newest checkpoint"
    best = [r.valid["loss"] for r in known.history if r.improved]
    assert read(files[-2])[1]["best_monitors"]["loss"] in best
    for file in files:
        file.write_bytes(b"damaged")
    assert facts.known_of(folder).params == []


def test_parameters_before_the_first_validation_are_the_latest(tmp_path):
    opt = make()
    data = [np.ones((4, 2)), np.ones(4)]
    opt.minimize(data, max_epochs=1, validate_every=None, checkpoint=tmp_path / "run", rng=1)
    assert facts.known_of(tmp_path / "run").which == "the latest of the newest checkpoint"


# ---- facts


def test_what_is_not_finite_is_counted_and_left_out_of_the_range():
    value = np.array([[3.0, np.nan], [4.0, -np.inf]], "float32")
    assert facts.Param.of("W", value) == facts.Param("W", (2, 2), "float32", 5.0, 3.0, 4.0, 2)
    assert facts.Param.of("W", np.array([1e200, 1e200])).norm == np.inf  # and no warning
    assert facts.Param.of("W", np.zeros((0, 3))) == facts.Param("W", (0, 3), "float64", None, None, None, 0)


def test_parameters_that_are_not_finite_stand_out(tmp_path):
    opt = make()
    opt.minimize([np.ones((4, 2)), np.ones(4)], max_epochs=1, rng=1)
    opt.params[0].set_value(np.array([1.0, np.nan]))
    opt.report(tmp_path / "run.html")
    assert Page(tmp_path / "run.html").table[EVIL][-1] == "all but 1"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([np.ones((10, 2)), np.ones(10)], {"batches": 3, "batches an epoch": 3, "rows": 10, "rows a batch": 4}),
        (lambda: [np.ones((5, 2)), np.ones(5)], {"batches an epoch": 2}),
    ],
    ids=["rows", "batches"],
)
def test_the_data_is_told_as_by_a_checkpoint(data, told, tmp_path):
    opt = make()
    sizes = {"batch_size": 4} if isinstance(data, list) else {"train_batches": 2}
    opt.minimize(data, [np.ones((1, 2)), np.ones(1)], max_epochs=1, rng=1, checkpoint=tmp_path, **sizes)
    assert facts.known_of(tmp_path).settings == told
    assert told.items() <= facts.known_of(opt).settings.items()


def test_groups_schedules_and_choices_are_told():
    x, (w, b) = pt.vector("x"), (pytensor.shared(np.float64(1), name=n) for n in "wb")
    opt = downhill2.build(
        "sgd",
        (x.mean() - w * b) ** 2,
        groups=[{"params": w, "algo": "adam", "learning_rate": 0.5}, {"nesterov": True}],
        learning_rate=lambda updates: 0.1 / (1 + updates),
        momentum=0.9,
        backend="FAST_COMPILE",
        weight_decay=0.01 * x.mean(),
    )
    opt.minimize([np.ones(4)], batch_size=2, max_epochs=2, validate_every=1, rng=1)
    known = facts.known_of(opt)
    assert known.groups == [("Adam", "w"), ("SGD", "b")]
    changes = {name: (first, last) for name, first, last in facts.changes(known)}
    assert changes["learning_rate"] == (0.1, pytest.approx(0.1 / 5))
    assert changes["group0.learning_rate"] == (None, 0.5)
    assert changes["group1.nesterov"] == (None, True)
    assert changes["weight_decay"] == (None, "depends on data")
    assert known.settings["backend"] == "FAST_COMPILE"


def test_a_checkpoint_tells_the_choices_that_were_made(tmp_path):
    w, b = (pytensor.shared(np.float64(1), name=n) for n in "wb")
    groups = [{"params": w, "algo": "rmsprop", "centered": False}, {"nesterov": True}]
    opt = downhill2.build("sgd", (w * b - 1) ** 2, groups=groups, momentum=0.5, accumulate=1, lookahead=5)
    opt.minimize(train_batches=1, max_epochs=1, checkpoint=tmp_path / "run")
    told = facts.known_of(tmp_path / "run").hyper
    assert told == facts.known_of(opt).hyper == {"lookahead": 5, "group0.centered": False, "group1.nesterov": True}
    assert recorded_choices({"algorithm": "mine", "settings": {"own": 1, "lookahead": 0}}) == {"own": 1}


def test_monitors_beyond_the_pictures_are_counted(tmp_path):
    history = History([Record(1, 1, 1.0, {f"m{i}": 1.0 for i in range(14)}, {}, False, False)])
    report.write(tmp_path / "run.html", history)
    page = Page(tmp_path / "run.html")
    assert page.tags.count("img") == report.MOST_PICTURES
    assert "Of the first monitors; 2 more are in the history." in page.text


def test_a_hyperparameter_that_never_had_a_value_is_left_out():
    history = History([Record(1, 1, 1.0, {"loss": 1.0}, {}, False, False, {"learning_rate": np.nan, "beta1": 0.9})])
    assert facts.changes(facts.known_of(history)) == [("beta1", None, 0.9)]


def record(epoch, events=()):
    return Record(epoch, epoch, 1.0, {"loss": 1.0}, {}, False, False, events=events)


def test_of_many_events_the_latest_are_told(tmp_path):
    history = History(record(e, ("one", "two")) for e in range(3))
    assert facts.events(history, most=3) == ([(1, 1, "two"), (2, 2, "one"), (2, 2, "two")], 3)
    report.write(tmp_path / "run.html", History(record(e, ("<i>x</i>",)) for e in range(501)))
    page = Page(tmp_path / "run.html")
    assert "The latest 500; 1 earlier ones are in the history." in page.text
    assert "i" not in page.tags


def test_of_several_runs_the_latest_is_told():
    def run(epoch, valid):
        return Record(
            epoch, epoch, 1.0, {"loss": 3.0 + epoch}, {"loss": valid} if valid else {}, bool(valid), bool(valid)
        )

    earlier = History([run(1, 2.0), run(2, 1.0)])
    both = History([*earlier, run(1, None)])
    assert facts.best(earlier).epoch == 2
    assert facts.best(both) is None
    assert facts.monitors(both) == [("loss", [4.0, None, None])]
    assert facts.monitors(earlier) == [("loss", [5.0, 1.0, 1.0])]
    assert facts.monitors(History([*both, run(2, 0.5)])) == [("loss", [5.0, 0.5, 0.5])]


def test_numbers_are_short():
    values = [None, 0.123456789, 1e-12, float("nan"), 1234567, True, "text"]
    assert [report.number(v) for v in values] == ["–", "0.12346", "1e-12", "nan", "1,234,567", "True", "text"]


def test_the_environment_lives_without_optional_packages_and_affinity(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = environment.environment()
    assert (found["numpy"], found["OMP_NUM_THREADS"]) == (np.__version__, "3")
    assert "no-such-package" not in found
    assert found["cores"] == f"{os.cpu_count()} of {os.cpu_count()}"


# ---- what is wrong


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, "source must be an Optimizer, a History or the path of a run, got 3"),
        (History(), ValueError, "source must have records of a run, got .* whose history is empty"),
        ("nowhere.jsonl", FileNotFoundError, "nowhere.jsonl"),
        (".", ValueError, "source must be a directory with the run's history.jsonl, got ."),
        ("text", ValueError, "line 1 must be a record of a history"),
    ],
)
def test_what_is_no_run_is_refused_and_nothing_is_written(source, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no history\n")
    with pytest.raises(error, match=message):
        report.write("run.html", source)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_an_optimizer_that_has_not_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="source must have records of a run"):
        make().report(tmp_path / "run.html")
    with pytest.raises(TypeError, match="target must be a path, got 3"):
        make().report(3)


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_what_installs_it(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}, .* pip install 'downhill2\[report\]'"):
        report.write(tmp_path / "run.html", History([record(1)]))


def test_a_report_that_cannot_be_written_leaves_the_former_one(tmp_path, monkeypatch):
    target = tmp_path / "run.html"
    target.write_text("former")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        report.write(target, History([record(1)]))
    assert target.read_text() == "former"
    assert [*tmp_path.iterdir()] == [target]
    with pytest.raises(FileNotFoundError):
        report.write(tmp_path / "no" / "run.html", History([record(1)]))


# ---- in a browser

PROBE = """<!doctype html><iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe><pre></pre>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const pictures = [...page.images].map(i => [i.complete && i.naturalWidth > 0, i.getBoundingClientRect().width]);
  document.querySelector("pre").textContent = JSON.stringify(
    {{scroll: root.scrollWidth, client: root.clientWidth, pictures, title: page.title}});
}};
</script>"""


@pytest.mark.extras
@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_nothing_is_wider_than_the_window(width, trained, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium or Chrome on the PATH")
    trained[0].report(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text("utf-8")
    # Its own policy forbids what a page around it would do too: scripts.
    page = page.replace("&", "&amp;").replace('"', "&quot;")
    page = re.sub(r"<meta http-equiv=&quot;Content-Security-Policy.*?>", "", page)
    (tmp_path / "probe.html").write_text(PROBE.format(width=width, page=page))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1600,1000", "--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path}/probe.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r"<pre>(.*?)</pre>", done.stdout)[1])
    assert found["title"] == "Adam run"
    assert found["scroll"] <= found["client"] <= width
    assert len(found["pictures"]) == 3
    assert all(loaded and 250 < wide <= width for loaded, wide in found["pictures"])
