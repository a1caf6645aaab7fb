"""The texts tell the truth: their code runs as it stands, and prints what stands below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import downhill2

ROOT = Path(__file__).parents[1]
TEXTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize(("text", "blocks"), [("README.md", 7), ("CONTRIBUTING.md", 1)])
def test_code_runs_and_prints_what_stands_below_it(text, blocks, capsys, monkeypatch):
    def compare(example):
        assert capsys.readouterr().out == example.parsed

    # The class that CONTRIBUTING.md shows must not stay among the algorithms.
    monkeypatch.setattr(downhill2.Optimizer, "registry", dict(downhill2.Optimizer.registry))
    sybil = Sybil([PythonCodeBlockParser(), CodeBlockParser("text", compare)], pattern=text)
    examples = list(sybil.parse(ROOT / text))
    for example in examples:
        example.evaluate()
    assert len(examples) == blocks
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", TEXTS)
def test_links_lead_to_files_that_exist(text):
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / text).read_text()):
        assert (ROOT / target).exists(), target


def test_the_readme_fits_one_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80
