"""From a place to the engine that computes there. What an engine needs is imported only when it is asked for."""

import os

from .engine import Engine, Place, Terms


def engine_at(place: Place, terms: Terms, tasks: int, source: str) -> Engine:
    """The engine of a place.

    Args:
        place: Where to compute.
        terms: Deadline, retries and preloaded modules.
        tasks: How many tasks there will be; no more workers are started than that.
        source: Digest of the study's sources, which workers elsewhere must have too.
    """
    if place.kind == "local":
        from .engine_local import LocalEngine

        return LocalEngine(min(place.workers or os.cpu_count() or 1, tasks), terms)
    from .engine_executor import ExecutorEngine

    return ExecutorEngine(place, terms, source)
