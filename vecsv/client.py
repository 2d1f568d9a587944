"""A service, asked from Python."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias
from urllib.parse import quote, urlsplit

from vecsv.client_answers import (
    BusyServiceError,
    CalibrationInfo,
    ClipsRefusedError,
    ClipVerdict,
    EnrolAnswer,
    EraseAnswer,
    KeyRefusedError,
    Person,
    SearchAnswer,
    ServiceError,
    ServiceUnknownSpeakerError,
    SpeakersAnswer,
    UnreachableServiceError,
    VerifyAnswer,
    read,
)
from vecsv.errors import AudioError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    import httpx2

Recording: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""A file's path, its bytes, or an open file that can be read again from its beginning."""

_LONGEST_CONNECT_S: Final = 10.0
_LONGEST_WAIT_S: Final = 60.0
_FIRST_WAIT_S: Final = 0.2
_SPEAKERS_PER_PAGE: Final = 1000
_KEY: Final = re.compile(r"[!-~]+")
_TOO_MUCH: Final = frozenset({429, 503})


class Client:
    """Asks a service; safe to use from many threads.

    A request that the service has no room for (503, 429) is sent again when it says, and one that reached nobody a
    little later, both a bounded number of times. One that broke off after it was sent is sent again only where asking
    twice is the same as asking once, which is where nothing is changed and no recording sent.

    Parameters
    ----------
    base_url : str
        Where the service is: ``http://127.0.0.1:8000``.
    key : str, optional
        API key, where the service asks for one.
    timeout_s : float
        How long to wait for the service to go on, in seconds; a request as a whole may take longer.
    retries : int
        How often a request may be sent again.
    ca_file : path, optional
        PEM file with the certificate to trust for HTTPS, where it is not one that the machine trusts anyhow.

    Raises
    ------
    MissingDependencyError
        When httpx2 is not installed.
    UsageError
        When the address or the key is none.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8000") as client:       # doctest: +SKIP
    ...     client.enrol("alice", ["monday.wav", "tuesday.wav"])
    ...     print(client.verify("today.wav", speaker="alice").decision)
    same
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: int = 4,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        _require_address(base_url)
        if key is not None and not _KEY.fullmatch(key):
            raise UsageError("a key is made of visible ASCII characters", hint="vecsv keys add prints one")
        if not timeout_s > 0 or retries < 0:
            raise UsageError("the timeout has to be more than 0, and the retries not negative")
        self._httpx = _httpx()
        self._retries = retries
        self._url = base_url.rstrip("/")
        self._http = self._httpx.Client(
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=self._httpx.Timeout(timeout_s, connect=min(timeout_s, _LONGEST_CONNECT_S)),
            verify=_trust(ca_file),
            # A key is shown to nobody but the service it was given for.
            follow_redirects=False,
        )

    def __enter__(self) -> Client:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def verify(
        self,
        first: Recording,
        second: Recording | None = None,
        *,
        speaker: str | None = None,
        threshold_name: str | None = None,
    ) -> VerifyAnswer:
        """Say whether two recordings, or a recording and a known speaker, are the same person.

        Parameters
        ----------
        first : Recording
        second : Recording, optional
        speaker : str, optional
            In place of a second recording.
        threshold_name : str, optional
            By default the threshold in force decides.

        Raises
        ------
        UnknownSpeakerError
            When the service knows nobody of that name.
        ServiceError
            When it refuses, or does not answer.
        AudioError
            When a file cannot be read here.
        """
        if (second is None) == (speaker is None):
            raise UsageError("give a second recording or a speaker, one of the two")
        recordings = {"first": [first]} | ({} if second is None else {"second": [second]})
        fields = {"speaker": speaker, "threshold_name": threshold_name}
        return read(VerifyAnswer, self._ask("POST", "/v1/verify", recordings, fields))

    def search(
        self, clip: Recording, *, top_k: int = 5, level: Literal["speaker", "utterance"] = "speaker"
    ) -> SearchAnswer:
        """Find the known speakers, or their utterances, that are closest to a recording.

        Raises
        ------
        ServiceError
            When the service refuses, or does not answer.
        AudioError
            When the file cannot be read here.
        """
        fields = {"top_k": str(top_k), "level": level}
        return read(SearchAnswer, self._ask("POST", "/v1/search", {"clip": [clip]}, fields))

    def enrol(self, speaker: str, clips: Sequence[Recording]) -> EnrolAnswer:
        """Enrol a person; when this returns, it is committed. Enrolling the same recordings again changes nothing.

        Raises
        ------
        ClipsRefusedError
            When a recording will not do; says of each why. Nothing was enrolled then.
        UnreachableServiceError
            When the answer did not come. The recordings are then enrolled all or not at all.
        ServiceError
            When the service refuses otherwise.
        AudioError
            When a file cannot be read here.
        """
        if isinstance(clips, str | bytes | os.PathLike):
            raise UsageError("recordings are given in a list")
        return read(EnrolAnswer, self._ask("POST", f"{_path(speaker)}/enrollments", {"clips": clips}))

    def speakers(self) -> list[Person]:
        """Everybody the service knows, by name; read in pages, so what changes meanwhile may come twice or not at all.

        Raises
        ------
        ServiceError
            When the service refuses, or does not answer.
        """
        found: list[Person] = []
        while True:
            path = f"/v1/speakers?offset={len(found)}&limit={_SPEAKERS_PER_PAGE}"
            page = read(SpeakersAnswer, self._ask("GET", path))
            found += page.speakers
            if not page.speakers or len(found) >= page.total:
                return found

    def speaker(self, speaker: str) -> Person:
        """One speaker.

        Raises
        ------
        UnknownSpeakerError
            When the service knows nobody of that name.
        ServiceError
            When it refuses, or does not answer.
        """
        return read(Person, self._ask("GET", _path(speaker)))

    def erase(self, speaker: str) -> EraseAnswer:
        """Erase everything about a speaker; gives the receipts.

        Raises
        ------
        UnknownSpeakerError
            When the service knows nobody of that name.
        UnreachableServiceError
            When the answer did not come; erasing again completes what was cut off.
        ServiceError
            When it refuses otherwise.
        """
        return read(EraseAnswer, self._ask("DELETE", _path(speaker)))

    def calibration(self) -> dict[str, CalibrationInfo]:
        """The thresholds of each store, and what they rest on.

        Raises
        ------
        ServiceError
            When the service refuses, or does not answer.
        """
        return {name: read(CalibrationInfo, one) for name, one in self._ask("GET", "/v1/calibration").items()}

    def ready(self) -> bool:
        """Whether the service takes requests now; False also where nobody answers. Asks once."""
        try:
            response = self._http.get(f"{self._url}/readyz")
        except self._httpx.TransportError:
            return False
        return bool(response.status_code == 200)

    def metrics(self) -> str:
        """Figures in Prometheus's text format.

        Raises
        ------
        ServiceError
            When the service refuses, or does not answer.
        """
        return self._send("GET", "/metrics").text

    def _ask(
        self,
        method: str,
        path: str,
        recordings: dict[str, Any] | None = None,
        fields: Mapping[str, str | None] | None = None,
    ) -> dict[str, Any]:
        response = self._send(method, path, recordings, fields)
        found = _document(response)
        if found is None:
            raise ServiceError(
                "the answer is not what a vecsv service gives",
                status=response.status_code,
                where=self._url,
                hint="check the address",
            )
        return found

    def _send(
        self,
        method: str,
        path: str,
        recordings: dict[str, Any] | None = None,
        fields: Mapping[str, str | None] | None = None,
    ) -> httpx2.Response:
        """Send a request, and again as long as that is worth it; gives a response of the kind 2xx."""
        data = {name: value for name, value in (fields or {}).items() if value is not None}
        changeless = method == "GET"
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                with _opened(recordings or {}) as files:
                    response: httpx2.Response = self._http.request(
                        method, self._url + path, data=data or None, files=files or None
                    )
            except self._httpx.TransportError as error:
                unsent = isinstance(error, self._httpx.ConnectError | self._httpx.ConnectTimeout)
                if last or not (unsent or changeless):
                    raise self._unreachable(error) from error
                _sleep(_FIRST_WAIT_S * 2**attempt)
                continue
            except self._httpx.HTTPError as error:
                raise self._unreachable(error) from error
            if response.is_success:
                return response
            wait = _retry_after(response)
            if last or response.status_code not in _TOO_MUCH or wait is None or wait > _LONGEST_WAIT_S:
                raise _refusal(response, self._url)
            _sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: Exception) -> UnreachableServiceError:
        reason = str(error) or type(error).__name__
        return UnreachableServiceError(
            f"no answer: {reason}", where=self._url, hint="check that vecsv serve runs there"
        )


def _require_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{url!r} is no service's address", hint="give one such as http://127.0.0.1:8000")


# Replaced by tests.
_sleep: Callable[[float], None] = time.sleep


def _httpx() -> ModuleType:
    try:
        import httpx2
    except ImportError as error:
        raise MissingDependencyError(
            "asking a service takes the package httpx2", hint="pip install 'vecsv[client]'"
        ) from error
    return httpx2


def _trust(ca_file: str | os.PathLike[str] | None) -> Any:
    if ca_file is None:
        return True
    import ssl

    try:
        return ssl.create_default_context(cafile=os.fspath(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise UsageError("no certificate can be read", where=os.fspath(ca_file)) from error


def _path(speaker: str) -> str:
    """Where a speaker is found, whatever characters the name has."""
    try:
        quoted = quote(speaker, safe="")
    except UnicodeEncodeError as error:
        raise UsageError(f"{speaker!r} is no name", hint="use characters that Unicode has") from error
    if not speaker:
        raise UsageError("a speaker's name cannot be empty")
    # Else these would lead to another place.
    return f"/v1/speakers/{quoted.replace('.', '%2E') if speaker in {'.', '..'} else quoted}"


@contextmanager
def _opened(recordings: dict[str, Any]) -> Iterator[list[tuple[str, tuple[str, BinaryIO]]]]:
    """Recordings as form fields, each from its beginning; what was opened here is closed again."""
    with ExitStack() as stack:
        yield [(field, _named(one, stack)) for field, several in recordings.items() for one in several]


def _named(recording: Recording, stack: ExitStack) -> tuple[str, BinaryIO]:
    if isinstance(recording, bytes):
        return "recording", BytesIO(recording)
    if isinstance(recording, str | os.PathLike):
        path = Path(recording)
        try:
            return path.name, stack.enter_context(path.open("rb"))
        except OSError as error:
            raise AudioError("unreadable", error.strerror or "it cannot be read", where=str(path)) from error
    name = Path(str(getattr(recording, "name", "recording"))).name
    try:
        recording.seek(0)
    except OSError as error:
        raise AudioError("unreadable", "it cannot be read from its beginning", where=name) from error
    return name, recording


def _retry_after(response: httpx2.Response) -> float | None:
    """How long the service asks to wait, in seconds; None where it does not say."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _document(response: httpx2.Response) -> dict[str, Any] | None:
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refusal(response: httpx2.Response, url: str) -> ServiceError:
    """The error for a response that is none of the kind 2xx."""
    problem = _document(response) or {}
    status = response.status_code
    kind = str(problem.get("type", "")).rpartition(":")[2]
    error = _kind_of(status, kind, problem)(
        str(problem.get("detail") or f"the service answered {status} {response.reason_phrase}"),
        hint=_text(problem.get("hint")),
        status=status,
        kind=kind,
        request_id=str(problem.get("request_id") or response.headers.get("x-request-id", "")),
        problem=problem,
        where=_text(problem.get("clip")) or (None if problem else url),
    )
    if isinstance(error, BusyServiceError):
        error.retry_after_s = _retry_after(response) or 0.0
    if isinstance(error, ClipsRefusedError):
        error.clips = tuple(read(ClipVerdict, one) for one in problem["clips"])
    return error


def _kind_of(status: int, kind: str, problem: dict[str, Any]) -> type[ServiceError]:
    if status in _TOO_MUCH:
        return BusyServiceError
    if status in {401, 403}:
        return KeyRefusedError
    if status == 404 and kind == "unknown-speaker":
        return ServiceUnknownSpeakerError
    if status == 422 and isinstance(problem.get("clips"), list):
        return ClipsRefusedError
    return ServiceError


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
