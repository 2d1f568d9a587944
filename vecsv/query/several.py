"""What several stores, each with its own model, say together; they are asked one by one and joined here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vecsv.query.ask import SearchResult
from vecsv.query.verify import Verification


@dataclass(frozen=True)
class Verdict:
    """The answers of several stores to "is this the same person?".

    Attributes
    ----------
    answers : mapping of str to Verification
        By the stores' names; at least one.
    """

    answers: Mapping[str, Verification]

    @property
    def undecided(self) -> bool:
        """Whether a store has no calibrated threshold."""
        return any(answer.same is None for answer in self.answers.values())

    @property
    def agree(self) -> bool:
        """Whether every store decides, and all decide the same."""
        return not self.undecided and len({answer.same for answer in self.answers.values()}) == 1

    @property
    def same(self) -> bool | None:
        """The decision where all stores agree; else None."""
        return next(iter(self.answers.values())).same if self.agree else None


@dataclass(frozen=True)
class Sightings:
    """The answers of several stores to "who is this?".

    Attributes
    ----------
    answers : mapping of str to SearchResult
        By the stores' names; at least one, all of the same query.
    """

    answers: Mapping[str, SearchResult]

    @property
    def agree(self) -> bool:
        """Whether every store found somebody, and the best hit of all is the same speaker."""
        found = [answer.hits[0].speaker if answer.hits else None for answer in self.answers.values()]
        return None not in found and len(set(found)) == 1

    @property
    def speaker(self) -> str | None:
        """The best hit's speaker where all stores agree, and it passes the search threshold of each; else None."""
        hits = [hit for answer in self.answers.values() for hit in answer.hits[:1]]
        return hits[0].speaker if self.agree and all(hit.passes is True for hit in hits) else None


def side_by_side(results: Mapping[str, Iterable[SearchResult]]) -> list[Sightings]:
    """Join the results of several stores, query by query; each has as many, in the same order."""
    return [Sightings(dict(zip(results, answers, strict=True))) for answers in zip(*results.values(), strict=True)]
