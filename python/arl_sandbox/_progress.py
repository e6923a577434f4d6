"""A progress bar, where tqdm is installed."""

from __future__ import annotations

import sys
from collections.abc import Sized
from types import TracebackType
from typing import Any, Self, TextIO


def _is_terminal(file: TextIO | None) -> bool:
    # A program without a terminal may have no standard error at all, or have closed it.
    return file is not None and not file.closed and file.isatty()


class Progress:
    """Counts items on a terminal."""

    def __init__(self, items: object, wanted: bool) -> None:
        self._bar: Any = None
        if wanted and _is_terminal(sys.stderr):
            try:
                from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]
            except ImportError:
                return
            self._bar = tqdm(total=len(items) if isinstance(items, Sized) else None, unit="item")

    def advance(self) -> None:
        """One more is done."""
        if self._bar is not None:
            self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
