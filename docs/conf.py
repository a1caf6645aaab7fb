"""How Sphinx builds the documentation: `make docs`.

With the tag `draft`, `make docs DRAFT=1`, it neither draws algorithms nor runs examples: what is there is shown.
"""

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
    "gallery",
    "reference",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build"]
suppress_warnings = ["ref.footnote"]  # the sections of references name papers that no sentence cites
if tags.has("draft"):  # noqa: F821 - Sphinx defines it
    suppress_warnings.append("image.not_readable")

# Names in single backticks lead to their entries. Types are said in words and settings have no entries, so that
# these may lead nowhere; every other reference must lead somewhere.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", ".*")]

autodoc_typehints = "none"  # docstrings say types, in words
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "downhill2"
html_show_copyright = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["page.css"]
