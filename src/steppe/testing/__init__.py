"""Conformance checks for what users write: a study that passes `check_study` runs anywhere, in any order.

Provisional until 1.0.
"""

from .study import check_study

__all__ = ["check_study"]
