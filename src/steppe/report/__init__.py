"""Rows, verdicts and figures as one HTML page that opens anywhere and loads nothing.

Provisional until 1.0.
"""

from .page import render, write

__all__ = ["render", "write"]
