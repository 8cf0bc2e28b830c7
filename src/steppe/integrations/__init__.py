"""Follow sharpness inside other people's trainers; one file per outside package, which is an optional extra.

The files are entered by name, because the names inside repeat: `from steppe.integrations.huggingface import
SharpnessCallback` needs `steppe[hf]`, `from steppe.integrations.lightning import SharpnessCallback` needs
`steppe[lightning]`. Importing this door loads neither package.

Provisional until 1.0.
"""

from importlib import import_module
from typing import Any

__all__: list[str] = []  # both files import their package, which may not be installed


def __getattr__(name: str) -> Any:
    if name in ("huggingface", "lightning"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
