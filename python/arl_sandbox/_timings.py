"""Percentiles of times, in memory that does not grow."""

from __future__ import annotations

import math
import threading

from ._models import Percentiles, Timings

_GROWTH = math.log(1.02)
_SMALLEST = 1e-5


class Histogram:
    """Counts times in buckets that are 2 % apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[int, int] = {}
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        bucket = max(0, math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _GROWTH))
        with self._lock:
            self._counts[bucket] = self._counts.get(bucket, 0) + 1
            self._max = max(self._max, seconds)

    def percentiles(self) -> Percentiles:
        """Of all that were counted; zeros where none were."""
        with self._lock:
            counts, longest = sorted(self._counts.items()), self._max
        total = sum(count for _, count in counts)

        def at(part: float) -> float:
            rank, seen = math.ceil(part * total), 0
            for bucket, count in counts:
                seen += count
                if seen >= rank:
                    return min(longest, _SMALLEST * math.exp(bucket * _GROWTH))
            return longest

        return Percentiles(total, at(0.5), at(0.9), at(0.99), longest)


class Clock:
    """Times of a client."""

    def __init__(self) -> None:
        self.claim = Histogram()
        self.command = Histogram()

    def timings(self) -> Timings:
        """So far."""
        return Timings(self.claim.percentiles(), self.command.percentiles())
