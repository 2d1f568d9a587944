"""The client and the service: every call, against a real server process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.fixtures.serving import Service
from tests.fixtures.stores import traces
from tests.serve.conftest import SEEDS, SPEAKERS, talk, wav
from tests.serve.spectral import MODULE
from vecsv.client import Client
from vecsv.client_answers import ClipsRefusedError, KnownSpeaker, SentClip, UnreachableServiceError
from vecsv.errors import UnknownSpeakerError

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")


@pytest.fixture(scope="module")
def client(made_stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a service over two stores."""
    stores = tmp_path_factory.mktemp("client") / "stores"
    shutil.copytree(made_stores, stores)
    with (
        Service(*(f"{name}={stores / name}" for name in SEEDS), options=("--rate", "0"), module=MODULE) as service,
        service.client() as client,
    ):
        yield client


def test_every_call_gives_what_the_service_answered(client: Client, tmp_path: Path) -> None:
    assert client.ready()
    mine, other = tmp_path / "mine.wav", tmp_path / "other.wav"
    mine.write_bytes(wav(talk("speaker-000", 9)))
    other.write_bytes(wav(talk("speaker-001", 9)))

    verified = client.verify(mine, mine)
    assert verified.same is True
    assert verified.score == pytest.approx(1.0, abs=1e-5)
    assert list(verified.answers) == list(SEEDS)
    assert isinstance(verified.second, SentClip)
    assert verified.second.name == "mine.wav"
    assert client.verify(mine, other).same is False
    known = client.verify(mine, speaker="speaker-000", threshold_name="eer")
    assert isinstance(known.second, KnownSpeaker)
    assert known.answers["other"].threshold_name == "eer"
    assert known.answers["default"].threshold_origin == "store"

    found = client.search(mine, top_k=3)
    assert [hit.rank for hit in found.hits] == [1, 2, 3]
    assert found.hits[0].speaker == "speaker-000"
    assert found.clip.name == "mine.wav"
    utterances = client.search(mine, top_k=3, level="utterance")
    assert {hit.speaker for hit in utterances.hits} == {"speaker-000"}

    assert [person.speaker for person in client.speakers()] == [f"speaker-{n:03d}" for n in range(SPEAKERS)]
    assert client.speaker("speaker-000").utterances == 6
    calibration = client.calibration()
    assert list(calibration) == list(SEEDS)
    assert calibration["default"].histogram is not None
    assert sum(calibration["default"].histogram.targets) > 0
    assert calibration["default"].search is not None
    assert 'vecsv_requests_total{method="POST",route="/v1/verify",status="200"} 3.0' in client.metrics()


@pytest.mark.parametrize("name", ["zoë 李雷", "../../etc/passwd", "..", "a?b#c%2Fd"])
def test_somebody_is_enrolled_found_and_erased_whatever_the_name(client: Client, name: str) -> None:
    clips = [wav(talk("zoe", take, 3)) for take in range(3)]
    enrolled = client.enrol(name, clips)
    assert (enrolled.added, enrolled.already, enrolled.total) == (3, 0, 3)
    assert {count.total for count in enrolled.stores.values()} == {3}
    assert client.enrol(name, clips).already == 3
    assert client.speaker(name).enrolled == 3
    assert client.search(wav(talk("zoe", 8))).speaker == name
    receipts = client.erase(name).receipts
    assert {one.enrolments for one in receipts.values()} == {3}
    for ask in (client.speaker, client.erase, lambda name: client.verify(clips[0], speaker=name)):
        with pytest.raises(UnknownSpeakerError):
            ask(name)


def test_a_refused_enrolment_says_what_was_wrong(client: Client) -> None:
    with pytest.raises(ClipsRefusedError) as caught:
        client.enrol("zoe", [wav(talk("zoe", 0)), b"no recording", wav(talk("zoe", 1))])
    assert [clip.accepted for clip in caught.value.clips] == [True, False, True]
    assert caught.value.clips[1].reasons == ("not-audio",)
    with pytest.raises(UnknownSpeakerError):
        client.speaker("zoe")


def test_a_certificate_of_ones_own_is_trusted_where_it_is_given(stores: Path, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with Service(stores / "default", options=options, module=MODULE) as service:
        assert service.url.startswith("https://")
        with Client(service.url, ca_file=certificate) as client:
            assert client.ready()
            assert len(client.speakers()) == SPEAKERS
        with Client(service.url, retries=0) as client, pytest.raises(UnreachableServiceError, match="certificate"):
            client.speakers()
        with Client(service.url.replace("https", "http"), retries=0) as client, pytest.raises(UnreachableServiceError):
            client.speakers()


def test_enrolments_are_sealed_on_the_disk_and_need_their_key(stores: Path, tmp_path: Path) -> None:
    from vecsv.store.sealing import make_key_file

    store, key, other = stores / "default", tmp_path / "enrolment.key", tmp_path / "other.key"
    make_key_file(key)
    make_key_file(other)
    clips = [wav(talk("zoe", take, 3)) for take in range(3)]
    with (
        Service(store, options=("--enrolment-key", str(key)), module=MODULE) as service,
        service.client() as client,
    ):
        client.enrol("zoe-of-the-lake", clips)
        assert client.search(wav(talk("zoe", 8))).speaker == "zoe-of-the-lake"
    assert not traces(store, ["zoe-of-the-lake"])
    for options in ((), ("--enrolment-key", str(other))):
        with pytest.raises(RuntimeError, match=r"ended with 2: vecsv: .*key"):
            Service(store, options=options, module=MODULE)
    with (
        Service(store, options=("--enrolment-key", str(key)), module=MODULE) as service,
        service.client() as client,
    ):
        assert client.speaker("zoe-of-the-lake").enrolled == 3
        assert client.erase("zoe-of-the-lake").receipts["default"].enrolments == 3


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vecsv")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    written = folder / "certificate.pem", folder / "key.pem"
    written[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    written[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    written[1].chmod(0o600)
    return written
