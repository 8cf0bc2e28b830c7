"""What each batch counts in the loss, and in words what the loss is a mean of."""

from typing import Any

from steppe.core import Batches, Objective, grouped, samples_of


class Weighing:
    """Weights of batches: w_b/Σ w, or 1 for a loss that sums, where batches add up.

    Args:
        batches: Says how batches are weighed.
        objective: Its loss may sum (`reduction="sum"`), which counts unless a weight was asked for.

    Attributes:
        total: The weight of all batches that were added.
        samples: Their samples.
    """

    def __init__(self, batches: Batches, objective: Objective) -> None:
        self._batches = batches
        self.sums = batches.weight is None and getattr(objective.loss, "reduction", None) == "sum"
        self.total, self.samples = 0.0, 0
        self._units: set[str] = set()

    def add(self, batch: Any) -> float:
        """Count a batch; returns its weight."""
        weight = self._batches.weigh(batch)
        weighing = self._batches.weighing(batch)
        self._units.add("a callable's weight" if callable(weighing) else weighing)
        self.total += weight
        self.samples += samples_of(batch)
        return 1.0 if self.sums else weight

    def scale(self, weight: float) -> float:
        """What a batch of this weight counts."""
        return 1.0 if self.sums else weight / self.total

    @property
    def words(self) -> str:
        """Such as "mean of 512 of 50 000 samples", "mean of 18 tokens" or "sum over 11 samples"."""
        part = self._batches.part_words
        units = " and ".join(sorted(self._units))
        total = int(self.total) if self.total == int(self.total) else None
        number = f"{self.total:g}" if total is None else grouped(total)
        if units == "samples" and part is not None:
            number = part
        elif total == 1:
            units = units.removesuffix("s")
        of = f" in {part} samples" if part is not None and units != "samples" else ""
        return f"{'sum over' if self.sums else 'mean of'} {number} {units}{of}"
