"""Several stores side by side: the same question to each, with its own model, threshold and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vecsv.api import Message, PathLike, Store
from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.query.ask import Query
    from vecsv.query.search import Level
    from vecsv.query.several import Sightings, Verdict


class Stores:
    """Stores by name, asked together.

    Scores of two models never meet: each store answers for itself, and only the decisions are compared.

    Parameters
    ----------
    stores : mapping of str to Store or path
        At least one.
    on_message : callable, optional
        For stores given by their path; see `vecsv.api.Store`.

    Examples
    --------
    >>> both = Stores({"wavlm": "calls-wavlm", "ecapa": "calls-ecapa"})
    >>> both.verify("a.wav", "b.wav").agree                               # doctest: +SKIP
    True
    """

    def __init__(self, stores: Mapping[str, Store | PathLike], *, on_message: Message | None = None) -> None:
        if not stores:
            raise UsageError("give at least one store")
        self.by_name: dict[str, Store] = {
            name: one if isinstance(one, Store) else Store(one, on_message=on_message) for name, one in stores.items()
        }

    def verify(
        self,
        first: PathLike,
        second: PathLike | None = None,
        *,
        speaker: str | None = None,
        threshold_name: str | None = None,
        channel: int | None = None,
    ) -> Verdict:
        """Ask each store whether two recordings, or a recording and a speaker, are the same person.

        Parameters and errors are those of `vecsv.api.Store.verify`; the first store that cannot answer ends it.
        """
        from vecsv.query.several import Verdict

        return Verdict(
            {
                name: store.verify(first, second, speaker=speaker, threshold_name=threshold_name, channel=channel)
                for name, store in self.by_name.items()
            }
        )

    def search(
        self, query: PathLike, *, top_k: int = 5, level: Level | str = "speaker", channel: int | None = None
    ) -> Sightings:
        """Ask each store who is closest to a recording.

        Parameters and errors are those of `vecsv.api.Store.search`; the first store that cannot answer ends it.
        """
        from vecsv.query.several import Sightings

        return Sightings(
            {
                name: store.search(query, top_k=top_k, level=level, channel=channel)
                for name, store in self.by_name.items()
            }
        )

    def search_batch(
        self, queries: Sequence[Query], *, top_k: int = 5, level: Level | str = "speaker"
    ) -> list[Sightings]:
        """Ask each store who is closest to each of many recordings; a query that fails harms no other."""
        from vecsv.query.several import side_by_side

        return side_by_side(
            {name: store.search_batch(queries, top_k=top_k, level=level) for name, store in self.by_name.items()}
        )


def parse_stores(given: Sequence[str]) -> dict[str, Path] | Path | None:
    """What the values of ``--store`` say: nothing, one store by its path, or stores by name.

    ``NAME=PATH`` is a store by name, anything without ``=`` a path. One named store is that store alone.

    Raises
    ------
    UsageError
        When one of several has no name, or two have the same.

    Examples
    --------
    >>> parse_stores(["wavlm=a", "ecapa=b=c"])
    {'wavlm': PosixPath('a'), 'ecapa': PosixPath('b=c')}
    """
    named: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            if len(given) == 1:
                return Path(text)
            raise UsageError(f"--store {text}: several stores need a name each", hint=f"--store NAME={text}")
        if not name or not path:
            raise UsageError(f"--store {text}: it takes a name and a path, --store NAME=PATH")
        if name in named:
            raise UsageError(f"two stores are called {name!r}", hint="give each a name of its own")
        named[name] = Path(path)
    if len(named) == 1:
        return next(iter(named.values()))
    return named or None
