"""How Sphinx builds the documentation: `make docs`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "downhill2"
author = "the downhill2 developers"
version = release = version_of("downhill2")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_parser",
    "mathml",
    "algorithm_pages",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build"]
suppress_warnings = ["ref.footnote"]  # the sections of references name papers that no sentence cites
autodoc_typehints = "none"  # docstrings say types, in words
napoleon_google_docstring = False
napoleon_use_rtype = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "downhill2"
html_math_renderer = "mathml"
