"""The command line `steppe`, one file per command: parse, call one library function, print.

Answers go to stdout, progress and complaints to stderr. Importing this room loads neither torch nor scikit-learn.

Provisional until 1.0.
"""

from .main import main

__all__ = ["main"]
