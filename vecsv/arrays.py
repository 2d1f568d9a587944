"""Names for the arrays that travel between packages.

A `Waveform` is mono float32 of shape ``(samples,)``, nominally in [-1, 1]. `Vectors` are float32 of shape ``(n, dim)``;
as embeddings their rows have unit length.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Waveform: TypeAlias = NDArray[np.float32]
Vectors: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]
RowIds: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float32]
