"""Rows, verdicts and figures as one HTML page that opens anywhere and loads nothing.

Provisional until 1.0.
"""

from .live import Live, restamp
from .page import banner, render, write

__all__ = ["Live", "banner", "render", "restamp", "write"]
