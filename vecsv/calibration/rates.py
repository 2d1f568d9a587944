"""The errors a threshold makes on trials it was not placed on, and how sure one can be of their rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from vecsv.arrays import Flags, Scores

Interval = tuple[float, float]


@dataclass(frozen=True)
class Rates:
    """Errors at one threshold on one set of trials.

    Attributes
    ----------
    false_accepts, misses, targets, non_targets : int
        The counts.
    fmr, fnmr : float or None
        The rates; None where there is no trial of that kind.
    fmr_interval, fnmr_interval : (float, float) or None
        Speaker-bootstrap interval of each rate; None where none was worked out.
    """

    false_accepts: int
    misses: int
    targets: int
    non_targets: int
    fmr: float | None
    fnmr: float | None
    fmr_interval: Interval | None = None
    fnmr_interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rates:
        """Read what `to_json` gave.

        Examples
        --------
        >>> import numpy as np
        >>> rates = count_errors(0.5, np.float32([0.4, 0.6]), np.array([True, False]))
        >>> Rates.from_json(rates.to_json()) == rates
        True
        """
        known = {field.name: values[field.name] for field in fields(cls)}
        intervals = {
            name: None if known[name] is None else (float(known[name][0]), float(known[name][1]))
            for name in ("fmr_interval", "fnmr_interval")
        }
        return cls(**(known | intervals))


def count_errors(threshold: float, scores: Scores, labels: Flags) -> Rates:
    """Count the errors a threshold makes, compared in float32 as it is when serving.

    Examples
    --------
    >>> import numpy as np
    >>> count_errors(0.5, np.float32([0.4, 0.6, 0.5, 0.1]), np.array([True, True, False, False]))
    ... # doctest: +NORMALIZE_WHITESPACE
    Rates(false_accepts=1, misses=1, targets=2, non_targets=2, fmr=0.5, fnmr=0.5, fmr_interval=None,
          fnmr_interval=None)
    """
    accepted = scores >= np.float32(threshold)
    targets = int(np.count_nonzero(labels))
    non_targets = labels.size - targets
    false_accepts = int(np.count_nonzero(accepted & ~labels))
    misses = int(np.count_nonzero(~accepted & labels))
    return Rates(
        false_accepts=false_accepts,
        misses=misses,
        targets=targets,
        non_targets=non_targets,
        fmr=false_accepts / non_targets if non_targets else None,
        fnmr=misses / targets if targets else None,
    )
