"""One paper, one file, one value `STUDY`; `catalog` lists them without importing any.

Provisional until 1.0.
"""

from .catalog import CATALOG, Entry, known_studies

__all__ = ["CATALOG", "Entry", "known_studies"]
