"""Sphinx configuration."""

from steppe._version import __version__

project = "steppe"
author = "the steppe authors"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.bibtex",
]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["../src/steppe/studies/references.bib"]  # `steppe cite` reads it too
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_show_sourcelink = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
exclude_patterns = ["_build"]
nitpicky = False


def setup(app):
    """Absolute values in docstrings are no substitutions."""

    def escape(app, what, name, obj, options, lines):
        lines[:] = [line.replace("|", r"\|") for line in lines]

    app.connect("autodoc-process-docstring", escape)
