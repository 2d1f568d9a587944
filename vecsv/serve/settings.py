"""What a service is started with: stores, address, limits, secrets."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vecsv.errors import UsageError
from vecsv.serve.addresses import is_loopback, networks, require_safe
from vecsv.serve.decoding import DecodeLimits
from vecsv.serve.keys import KeyRing
from vecsv.store.generation import require_latest
from vecsv.store.sealing import configured_key

DEFAULT_STORE: Final = "default"
"""What a store is called in answers when it was given without a name."""

_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_ORIGIN: Final = re.compile(r"^https?://[^/\s*]+$")


@dataclass(frozen=True)
class ServeSettings:
    """What a service is started with.

    Attributes
    ----------
    stores : mapping of str to Path
        Stores by name; each answers every question with its own model.
    model : str or None
        The model of a single store, where its own name for it does not do.
    host, port : str, int
        Address to listen at; port 0 is any that is free.
    max_upload_mb : float
        Size of one uploaded recording, in MB (1000 x 1000 bytes).
    max_duration_s : float
        Length of one recording, in seconds.
    decode_s : float
        Time that decoding one recording may take, in seconds.
    queue : int
        Recordings that the models work on or that wait for them at once, and as many again that are being decoded;
        more are told to come back.
    rate_per_minute : int
        Requests a minute of one key, or of one address where there are no keys; 0 sets no limit.
    keys_file : Path or None
        API keys; see `vecsv.serve.keys`.
    allowed_origins : tuple of str
        Origins of other sites' pages that may ask; none by default.
    allowed_hosts : tuple of str
        Names besides its address that the service answers to, such as a proxy's.
    trusted_proxies : tuple of str
        Networks or addresses whose ``X-Forwarded-For`` is believed; nobody's by default.
    tls_certificate, tls_key : Path or None
        PEM files; both or neither.
    audit_file : Path or None
        Where the audit log goes.
    spoof_model : Path or None
        ONNX countermeasure; see `vecsv.serve.spoof`.
    wanted_speech_s : float
        Speech with which a person counts as fully enrolled, in seconds.
    shortest_speech_s : float
        Speech that a recording must have to be enrolled, in seconds.
    workers : int
        Threads that embed, and processes that decode; 0 is one for each core.
    batch_window_ms : float
        How long a request waits for others to share a call of the network with, in milliseconds.
    shutdown_s : float
        How long work that was accepted may take after the service was told to end, in seconds.
    header_s, body_s, keep_alive_s : float
        How long a client may take to send a request's headers and its body, and may stay silent between two requests,
        in seconds.
    engine, device, precision : str
        See `vecsv.engines.protocol.EngineSettings`.
    """

    stores: Mapping[str, Path]
    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    max_upload_mb: float = 25.0
    max_duration_s: float = 120.0
    decode_s: float = 20.0
    queue: int = 64
    rate_per_minute: int = 600
    keys_file: Path | None = None
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    audit_file: Path | None = None
    spoof_model: Path | None = None
    wanted_speech_s: float = 10.0
    shortest_speech_s: float = 1.0
    workers: int = 0
    batch_window_ms: float = 4.0
    shutdown_s: float = 30.0
    header_s: float = 10.0
    body_s: float = 60.0
    keep_alive_s: float = 20.0
    engine: str = "auto"
    device: str = "cpu"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if not self.stores:
            raise UsageError("give at least one store", hint="--store PATH")
        for name in self.stores:
            if not _NAME.match(name):
                raise UsageError(f"{name!r} is no name for a store", hint="use letters, digits, '.', '_' and '-'")
        if self.model is not None and len(self.stores) > 1:
            raise UsageError("--model goes with one store", hint="each of several has a model of its own")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port}: it has to be between 0 and 65535")
        for name in _POSITIVE:
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{name.replace('_', ' ')} {value:g}: it has to be more than 0")
        if self.rate_per_minute < 0 or self.workers < 0 or not 0 <= self.batch_window_ms <= 1000:
            raise UsageError("rate, workers and batch window must not be negative, and the window at most 1000 ms")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UsageError("TLS takes a certificate and its key", hint="give --tls-certificate and --tls-key")
        networks(self.trusted_proxies)
        for origin in self.allowed_origins:
            if not _ORIGIN.match(origin):
                raise UsageError(
                    f"{origin!r} is no origin", hint="it is a scheme, a host and maybe a port: https://example.org:8443"
                )

    @property
    def max_upload_bytes(self) -> int:
        """Size of one uploaded recording, in bytes."""
        return round(self.max_upload_mb * 1e6)

    @property
    def decode_limits(self) -> DecodeLimits:
        """What one recording may cost its decoder."""
        return DecodeLimits(
            max_bytes=self.max_upload_bytes,
            max_duration_s=self.max_duration_s,
            wall_s=self.decode_s,
            cpu_s=self.decode_s,
        )

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but programs on this machine can reach the service.

        Examples
        --------
        >>> stores = {"default": Path("index")}
        >>> ServeSettings(stores).on_loopback, ServeSettings(stores, host="0.0.0.0").on_loopback
        (True, False)
        """
        return is_loopback(self.host)

    def require_safe(self) -> tuple[str, ...]:
        """Refuse what would let strangers in, and what could not be served.

        Returns
        -------
        tuple of str
            What whoever starts it should know.

        Raises
        ------
        UsageError
            When others than this machine could reach the service and no keys are asked of them, or a file it was
            given is not there or cannot be used.
        StoreError
            When there is no store in a folder.
        """
        keys = 0 if self.keys_file is None else len(KeyRing(self.keys_file))
        notes = require_safe(self.host, keys=keys, tls=self.tls_certificate is not None)
        # Where none is kept yet, a key that is not there would be missed only by the first enrolment.
        configured_key()
        for folder in self.stores.values():
            require_latest(folder)
        if self.spoof_model is not None and not self.spoof_model.is_file():
            raise UsageError("no such file", where=str(self.spoof_model))
        if self.tls_certificate is not None:
            tls_context(self.tls_certificate, self.tls_key)
        return notes


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """What a server speaks TLS with.

    Raises
    ------
    UsageError
        When the files cannot be read, or are not a certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        what = getattr(error, "reason", None) or error.strerror or error
        raise UsageError(f"certificate and key cannot be used: {what}", where=str(certificate)) from error
    return context


_POSITIVE: Final = (
    "max_upload_mb",
    "max_duration_s",
    "decode_s",
    "queue",
    "wanted_speech_s",
    "shortest_speech_s",
    "shutdown_s",
    "header_s",
    "body_s",
    "keep_alive_s",
)
