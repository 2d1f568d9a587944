"""Every failure a user can cause, as one hierarchy.

An error says what went wrong, where (file, line, row) and what to do about it, in one line. The command line prints
that line and exits with the error's ``exit_code``; nobody ever sees a traceback for a mistake of theirs.
"""

from __future__ import annotations


class VecsvError(Exception):
    """Base of all errors a user can cause or mend.

    Parameters
    ----------
    what : str
        What is wrong, as a phrase without a final full stop.
    where : str, optional
        The file, line or row it is wrong in; printed first.
    hint : str, optional
        What to do about it; printed last.

    Examples
    --------
    >>> str(VecsvError("no such file", where="train.tsv, row 3", hint="check the path"))
    'train.tsv, row 3: no such file (check the path)'
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.what}{advice}"


class UsageError(VecsvError):
    """Options that cannot go together, or a value out of range."""


class ManifestError(VecsvError):
    """A manifest, or one row of it, that cannot be read."""


class TrialListError(VecsvError):
    """A trial list, or one line of it, that cannot be read or evaluated."""


class AudioError(VecsvError):
    """A recording that gives no embedding.

    Parameters
    ----------
    code : str
        A stable word for machines, such as ``"missing"``, ``"truncated"`` or ``"no-speech"``; it stands in the
        failure ledger.
    """

    def __init__(self, code: str, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint)
        self.code = code


class ModelError(VecsvError):
    """A model that is unknown, cannot be fetched, or is not what it should be."""


class StoreError(VecsvError):
    """A store that is missing, damaged, or does not hold what was asked for."""


class StoreBusyError(StoreError):
    """Another process is writing to the store."""


class UnknownSpeakerError(StoreError):
    """A store knows nobody of that name."""


class FingerprintMismatchError(StoreError):
    """Embeddings of two different models were about to meet."""


class CalibrationError(VecsvError):
    """The data cannot carry the calibration that was asked for."""


class TrainingError(VecsvError):
    """A training that is configured wrongly, has unusable data, or cannot go on."""


class MissingDependencyError(VecsvError):
    """An optional package is needed and not installed."""
