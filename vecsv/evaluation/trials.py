"""Trial lists: which recordings to compare, and whether they are of one speaker.

A list is UTF-8 text, a trial a line, in one of two forms that are told apart by where the label stands:

- ``label enrol test``, as VoxCeleb has it: ``1 a.wav b.wav``;
- ``enrol test label``, as Kaldi has it: ``ann b.wav target``.

The label is ``1`` or ``target``, ``0`` or ``nontarget``. Fields are separated by white space, or, in a line that
holds a tab, by tabs alone, so that names may hold spaces. A byte order mark, CRLF and blank lines do no harm.

Sources: the trial lists of VoxCeleb 1 (A. Nagrani et al., 2017) and of Kaldi's ``egs/voxceleb/v2``.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from vecsv.arrays import Flags
from vecsv.calibration.populations import Positions
from vecsv.durable import write_text
from vecsv.errors import TrialListError

LABELS: Final = {"1": True, "target": True, "0": False, "nontarget": False}
"""Words for a label, in lower case."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BAD_LINES_SHOWN: Final = 10
# Where label, enrolment and test stand.
_LABEL_FIRST: Final = (0, 1, 2)
_LABEL_LAST: Final = (2, 0, 1)


@dataclass(frozen=True, eq=False)
class TrialList:
    """Trials as a list has them.

    Attributes
    ----------
    enrol_names, test_names : tuple of str
        The distinct names of either column, in the order in which they first come.
    enrol, test : ndarray of int64, shape (trials,)
        Positions in `enrol_names` and `test_names`.
    labels : ndarray of bool, shape (trials,)
        True for target trials.
    lines : ndarray of int64, shape (trials,)
        Where each trial stands in the list, counted from 1.
    """

    enrol_names: tuple[str, ...]
    test_names: tuple[str, ...]
    enrol: Positions
    test: Positions
    labels: Flags
    lines: Positions


def read_trials(path: Path) -> TrialList:
    r"""Read a trial list; one bad line refuses the whole of it, since figures on a part are no figures for the list.

    Raises
    ------
    TrialListError
        When the list is missing, cannot be read, holds no trial, or has bad lines; names the first by number with its
        fault, and the others by number.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "trials.txt"
    ...     _ = file.write_text("ann b.wav target\nann c.wav nontarget\n")
    ...     trials = read_trials(file)
    >>> trials.enrol_names, trials.test_names, trials.enrol.tolist(), trials.labels.tolist()
    (('ann',), ('b.wav', 'c.wav'), [0, 0], [True, False])
    """
    try:
        label_at, enrol_at, test_at = _form(path)
        enrol_names: dict[str, int] = {}
        test_names: dict[str, int] = {}
        enrol, test, lines, labels = array("q"), array("q"), array("q"), bytearray()
        bad: list[tuple[int, str]] = []
        for number, fields in _fields(path):
            if isinstance(fields, str):
                bad.append((number, fields))
                continue
            label = LABELS.get(fields[label_at].lower())
            if label is None:
                bad.append((number, f'label "{fields[label_at][:40]}" is none of {", ".join(LABELS)}'))
                continue
            enrol.append(enrol_names.setdefault(fields[enrol_at], len(enrol_names)))
            test.append(test_names.setdefault(fields[test_at], len(test_names)))
            lines.append(number)
            labels.append(label)
    except OSError as failure:
        missing = isinstance(failure, FileNotFoundError)
        what = "no such trial list" if missing else f"the trial list cannot be read: {failure.strerror}"
        raise TrialListError(what, where=str(path)) from failure
    if bad:
        raise _bad_lines(path, bad)
    if not lines:
        raise TrialListError("the list holds no trials", where=str(path))
    return TrialList(
        enrol_names=tuple(enrol_names),
        test_names=tuple(test_names),
        enrol=np.array(enrol, np.int64),
        test=np.array(test, np.int64),
        labels=np.frombuffer(bytes(labels), np.bool_),
        lines=np.array(lines, np.int64),
    )


def write_trials(trials: Iterable[tuple[bool, str, str]], out: Path | TextIO) -> int:
    r"""Write trials as ``label enrol test``, separated by tabs where a name holds white space, else by spaces.

    Parameters
    ----------
    trials : iterable of (bool, str, str)
        Label (True for the same speaker), enrolment and test.
    out : Path or text file
        A file is replaced only when it is written whole.

    Returns
    -------
    int
        How many trials were written.

    Raises
    ------
    TrialListError
        When a list cannot hold a name.

    Examples
    --------
    >>> import io
    >>> text = io.StringIO()
    >>> write_trials([(True, "a.wav", "b.wav"), (False, "a.wav", "c.wav")], text), text.getvalue()
    (2, '1 a.wav b.wav\n0 a.wav c.wav\n')
    """
    listed = list(trials)
    names = {name for _, *pair in listed for name in pair}
    for name in names:
        if not name or name != name.strip() or any(character in name for character in "\t\n\r\0"):
            raise TrialListError(f"a trial list cannot hold the name {name!r}")
    separator = "\t" if any(name.split() != [name] for name in names) else " "
    text = "".join(separator.join(("1" if label else "0", enrol, test)) + "\n" for label, enrol, test in listed)
    if isinstance(out, Path):
        write_text(out, text)
    else:
        out.write(text)
    return len(listed)


def name_beside(recording: str | os.PathLike[str], folder: Path) -> str:
    """How a list in `folder` names a file: relative to it, or absolute where it cannot be.

    Examples
    --------
    >>> name_beside("/speech/ann/1.wav", Path("/speech")), name_beside("/speech/ann/1.wav", Path("/lists"))
    ('ann/1.wav', '../speech/ann/1.wav')
    """
    try:
        return Path(os.path.relpath(recording, folder.resolve())).as_posix()
    except ValueError:
        # Another drive.
        return Path(recording).as_posix()


def _form(path: Path) -> tuple[int, int, int]:
    """Where label, enrolment and test stand: what the first line that leaves no doubt has."""
    for _, fields in _fields(path):
        if isinstance(fields, str):
            continue
        first, last = fields[0].lower() in LABELS, fields[2].lower() in LABELS
        if first != last:
            return _LABEL_FIRST if first else _LABEL_LAST
    return _LABEL_FIRST


def _fields(path: Path) -> Iterator[tuple[int, tuple[str, str, str] | str]]:
    """Number and fields of each line that is not blank; instead of fields, what is wrong with the line."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).decode("utf-8")
            except UnicodeDecodeError as failure:
                yield number, f"not UTF-8 at byte {failure.start + 1} of the line"
                continue
            if not line.strip():
                continue
            fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
            match fields:
                case [first, second, third] if first and second and third:
                    yield number, (first, second, third)
                case [_, _, _]:
                    yield number, "a field is empty"
                case _:
                    columns = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                    advice = ", separated by tabs where names hold spaces" if len(fields) > 3 else ""
                    yield number, f"{columns} instead of 3 (label enrol test, or enrol test label{advice})"


def _bad_lines(path: Path, bad: list[tuple[int, str]]) -> TrialListError:
    number, reason = bad[0]
    others = ", ".join(str(line) for line, _ in islice(bad, 1, _BAD_LINES_SHOWN))
    more = f"; {len(bad)} bad lines in all, also {others}" if others else ""
    if len(bad) > _BAD_LINES_SHOWN:
        more += ", ..."
    return TrialListError(f"{reason}{more}", where=f"{path}, line {number}", hint="mend them or take them out")
