from __future__ import annotations

import pytest

from vecsv.fetching import transport
from vecsv.fetching.transport import RefusedError


@pytest.mark.parametrize(
    ("url", "target", "following"),
    [
        ("http://hub/a/b", "/c", "http://hub/c"),
        ("http://hub/a/b", "https://cdn/x?y=1", "https://cdn/x?y=1"),
        ("https://hub/a/b", "//cdn/x", "https://cdn/x"),
    ],
)
def test_a_redirect_may_lead_to_another_path_or_host(url: str, target: str, following: str) -> None:
    assert transport._redirected(url, target) == following


def test_a_redirect_does_not_leave_an_encrypted_connection() -> None:
    with pytest.raises(RefusedError, match="https://hub redirects to http://hub, which is not followed"):
        transport._redirected("https://hub/a", "http://hub/a")


@pytest.mark.parametrize(
    ("url", "private"),
    [("https://hub", True), ("http://hub", False), ("http://localhost:1", True), ("http://127.0.0.1.evil", False)],
)
def test_a_token_is_sent_where_nobody_can_read_it(url: str, private: bool) -> None:
    assert transport._is_private(url) is private
