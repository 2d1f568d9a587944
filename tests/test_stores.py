from pathlib import Path

import pytest

from vecsv.errors import UsageError
from vecsv.stores import Stores, parse_stores


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], None),
        (["calls"], Path("calls")),
        (["wavlm=calls"], Path("calls")),
        (["odd=name=x"], Path("name=x")),
        (["wavlm=a", "ecapa=b"], {"wavlm": Path("a"), "ecapa": Path("b")}),
    ],
)
def test_stores_are_a_path_or_names_with_paths(given: list[str], expected: object) -> None:
    assert parse_stores(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "b"], "several stores need a name each"),
        (["x=a", "b"], "several stores need a name each"),
        (["x=a", "x=b"], "two stores are called 'x'"),
        (["=a"], "it takes a name and a path"),
        (["x="], "it takes a name and a path"),
    ],
)
def test_stores_that_cannot_be_told_apart_are_refused(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_stores(given)


def test_no_store_at_all_is_refused() -> None:
    with pytest.raises(UsageError):
        Stores({})
