"""A model together with the windows that recordings are cut into before it sees them.

Where a recording's windows are pooled, its vector is another one than the model gives for the recording in one piece:
the two never meet, because the rule is part of the fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity
from vecsv.audio.windows import Kept, WindowRule
from vecsv.errors import UsageError
from vecsv.models.fingerprint import canonical_json
from vecsv.models.protocol import Embedder, Prepared


def pooled_fingerprint(fingerprint: str, rule: WindowRule) -> str:
    """Fingerprint of a model whose windows are pooled by `rule`.

    SHA-256 (hex) over the model's fingerprint and the rule as canonical JSON, a line each.

    Examples
    --------
    >>> pooled_fingerprint("ab", WindowRule(3, 1.5)) == pooled_fingerprint("ab", WindowRule(3.0, 1.5))
    True
    """
    values = {"length_s": float(rule.length_s), "hop_s": float(rule.hop_s), "pooling": "speech-weighted-mean"}
    return hashlib.sha256(f"{fingerprint}\n{canonical_json({'windows': values})}\n".encode()).hexdigest()


class Windowed:
    """An `vecsv.models.protocol.Embedder` that takes recordings in windows.

    `vecsv.embedding.recordings.embed_recordings` cuts a recording by the rule and pools its windows.

    Parameters
    ----------
    embedder : Embedder
        The model; each window goes through it as if it were a recording of its own.
    rule : WindowRule

    Raises
    ------
    UsageError
        When a window is longer than the model takes in one piece.
    """

    def __init__(self, embedder: Embedder, rule: WindowRule) -> None:
        if rule.length_s > embedder.block_s:
            raise UsageError(
                f"a window of {rule.length_s:g} s is longer than the {embedder.block_s:g} s that {embedder.name} takes "
                "in one piece"
            )
        self.embedder = embedder
        self.rule = rule

    @property
    def name(self) -> str:
        """The model's name."""
        return self.embedder.name

    @property
    def fingerprint(self) -> str:
        """The model's where each window keeps its vector; else one that the rule is part of."""
        if self.rule.kept is Kept.ROWS:
            return self.embedder.fingerprint
        return pooled_fingerprint(self.embedder.fingerprint, self.rule)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.embedder.dim

    @property
    def sample_rate(self) -> int:
        """Rate the waveforms must have, in Hz."""
        return self.embedder.sample_rate

    @property
    def block_s(self) -> float:
        """Longest stretch that the model takes in one piece, in seconds."""
        return self.embedder.block_s

    @property
    def batch_s(self) -> float:
        """Seconds of audio that one call of `embed` should be given."""
        return self.embedder.batch_s

    @property
    def engine(self) -> str:
        """What runs the network."""
        return self.embedder.engine

    @property
    def reference_calibration(self) -> Mapping[str, Any] | None:
        """The model's, where vectors are the model's own; pooled windows score on a scale of their own."""
        return self.embedder.reference_calibration if self.rule.kept is Kept.ROWS else None

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        """Turn one window into the network's input."""
        return self.embedder.prepare(waveform, activity)

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Embed prepared windows."""
        return self.embedder.embed(prepared)


def rule_of(embedder: Embedder) -> WindowRule | None:
    """The windows that a model takes recordings in; None where it takes them whole."""
    return embedder.rule if isinstance(embedder, Windowed) else None


def windowed(embedder: Embedder, rule: WindowRule | None) -> Embedder:
    """The model with a rule; without one, and where it is there already, the model as it is.

    Raises
    ------
    UsageError
        When the model has another rule already.
    """
    before = rule_of(embedder)
    if rule is None or rule == before:
        return embedder
    if before is not None:
        raise UsageError(f"the model is taken with {before}, not with {rule}")
    return Windowed(embedder, rule)


def for_queries(embedder: Embedder, rule: WindowRule | None) -> Embedder:
    """The model as it compares recordings with a store of this rule.

    Where each window has a row, a query is one vector of the model: of the recording in one piece.
    """
    return windowed(embedder, rule) if rule is not None and rule.kept is Kept.POOLED else embedder
