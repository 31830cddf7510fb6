"""Sphinx settings: Markdown pages, API pages from docstrings, warnings are errors (make docs)."""

from importlib.metadata import version as installed

project = "cxrobust"
copyright = "The cxrobust developers"
release = version = installed("cxrobust")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "coverage.md", "procedures.md"]  # the latter two are parts of statistics.md
html_theme = "furo"
html_title = "cxrobust"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
