"""What a client is told when there is more work than can be taken on."""

from __future__ import annotations

from vecsv.errors import VecsvError


class Overloaded(VecsvError):  # noqa: N818 - it is a state of the service, not a mistake of anybody's
    """There is no room for more work just now.

    Parameters
    ----------
    what : str
        What is full.
    retry_after_s : float
        When there should be room again, in seconds from now.

    Examples
    --------
    >>> str(Overloaded("the queue is full", retry_after_s=2.0))
    'the queue is full (try again in 2 s)'
    """

    def __init__(self, what: str, *, retry_after_s: float) -> None:
        super().__init__(what, hint=f"try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s
