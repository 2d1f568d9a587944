from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import read_enrolments, require_whole, write_speakers
from tests.serve.conftest import SEEDS, decoded, talk
from vecsv.arrays import Waveform
from vecsv.calibration.run import CalibrateSettings, calibrate
from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.embedding.run import embed_manifest
from vecsv.errors import (
    AudioError,
    FingerprintMismatchError,
    StoreBusyError,
    UnknownSpeakerError,
    UsageError,
    VecsvError,
)
from vecsv.index.build import OpenIndex, open_index
from vecsv.query.search import Level
from vecsv.serve.embedding_batch import embed_together
from vecsv.serve.gallery import Gallery
from vecsv.serve.results import Heard, RefusedClipsError, percent_of
from vecsv.serve.service import Service
from vecsv.serve.verdicts import ClipReport
from vecsv.store.generation import latest
from vecsv.store.reader import Snapshot


def service_of(stores: Path, *names: str, wanted_speech_s: float = 6.0, shortest_speech_s: float = 1.0) -> Service:
    galleries = [Gallery(name, stores / name, SpectralEmbedder(SEEDS[name])) for name in names or ("default",)]
    return Service(galleries, wanted_speech_s=wanted_speech_s, shortest_speech_s=shortest_speech_s)


def hear(service: Service, waveforms: Sequence[Waveform]) -> list[Heard]:
    clips = [decoded(waveform, f"{place}.wav") for place, waveform in enumerate(waveforms)]
    outcomes = embed_together([gallery.embedder for gallery in service.galleries.values()], clips)
    heard = []
    for place, clip in enumerate(clips):
        recordings = {name: outcomes[row][place] for row, name in enumerate(service.galleries)}
        kept = {name: one for name, one in recordings.items() if isinstance(one, EmbeddedRecording | VecsvError)}
        assert len(kept) == len(recordings)
        heard.append(Heard(clip, kept))
    return heard


def takes(speaker: str, count: int = 3) -> list[Waveform]:
    return [talk(speaker, take) for take in range(count)]


def test_two_clips_of_one_speaker_are_the_same_and_of_two_are_not(stores: Path) -> None:
    service = service_of(stores)
    ann, again, bob = hear(service, [talk("ann", 0), talk("ann", 1), talk("bob", 0)])
    assert service.verify(ann, again).same is True
    assert service.verify(ann, bob).same is False


def test_a_clip_is_compared_with_what_the_store_knows_of_a_speaker(stores: Path) -> None:
    service = service_of(stores)
    (clip,) = hear(service, [talk("speaker-003", 7)])
    assert service.verify(clip, "speaker-003").same is True
    assert service.verify(clip, "speaker-004").same is False
    assert len(service.verify(clip, "speaker-003").answers["default"].second.vectors) == 6


def test_nobody_is_compared_with_an_unknown_speaker(stores: Path) -> None:
    service = service_of(stores)
    (clip,) = hear(service, [talk("ann")])
    with pytest.raises(UnknownSpeakerError, match="nobody"):
        service.verify(clip, "nobody")


def test_the_named_threshold_decides(stores: Path) -> None:
    service = service_of(stores)
    ann, again = hear(service, [talk("ann", 0), talk("ann", 1)])
    threshold = service.verify(ann, again, threshold_name="eer").answers["default"].threshold
    assert threshold is not None
    assert threshold.name == "eer"
    with pytest.raises(UsageError, match="no threshold is called 'x'"):
        service.verify(ann, again, threshold_name="x")


def test_two_models_answer_side_by_side(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    ann, again = hear(service, [talk("ann", 0), talk("ann", 1)])
    verdict = service.verify(ann, again)
    assert verdict.agree
    assert verdict.same is True
    fingerprints = {answer.fingerprint for answer in verdict.answers.values()}
    assert fingerprints == {SpectralEmbedder(seed).fingerprint for seed in SEEDS.values()}
    assert len({answer.score for answer in verdict.answers.values()}) == 2


def test_a_search_finds_the_speaker_first(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    (clip,) = hear(service, [talk("speaker-005", 3)])
    found = service.search(clip, top_k=3)
    for answer in found.sightings.answers.values():
        assert [hit.rank for hit in answer.hits] == [1, 2, 3]
        assert answer.hits[0].speaker == "speaker-005"
    assert found.sizes == {"default": 14, "other": 14}


def test_a_search_by_utterance_gives_several_of_one_speaker(stores: Path) -> None:
    service = service_of(stores)
    (clip,) = hear(service, [talk("speaker-005", 3)])
    hits = service.search(clip, top_k=4, level=Level.UTTERANCE).sightings.answers["default"].hits
    assert [hit.speaker for hit in hits] == ["speaker-005"] * 4


def test_an_enrolment_is_found_at_once_and_is_on_the_disk(stores: Path) -> None:
    service = service_of(stores)
    done = service.enrol("zoë 你好", hear(service, takes("ann")))
    assert (done.added, done.already, done.total, done.percent) == (3, 0, 3, percent_of(done.speech_s, 6.0))
    (clip,) = hear(service, [talk("ann", 9)])
    hit = service.search(clip).sightings.answers["default"].hits[0]
    assert (hit.speaker, hit.enrolled) == ("zoë 你好", True)
    # Another process sees what is on the disk, no more.
    elsewhere = service_of(stores)
    assert elsewhere.speaker("zoë 你好").stores["default"].enrolments == 3
    require_whole(stores / "default")


def test_what_is_enrolled_has_names_of_the_servers_making(stores: Path) -> None:
    service = service_of(stores)
    (clip,) = hear(service, [talk("ann")])
    renamed = Heard(decoded(clip.clip.waveform, "../../etc/passwd"), clip.recordings)
    service.enrol("ann", [renamed])
    ((_, utterance, path, *_),) = read_enrolments(stores / "default")
    assert (utterance, path) == (f"clip-{clip.clip.sha256[:8]}", "uploaded")


def test_the_same_clips_again_change_nothing(stores: Path) -> None:
    service = service_of(stores)
    clips = hear(service, takes("ann"))
    service.enrol("ann", clips)
    again = service.enrol("ann", clips)
    assert (again.added, again.already, again.total) == (0, 3, 3)


def test_one_clip_that_is_unlike_the_others_refuses_all(stores: Path) -> None:
    service = service_of(stores)
    with pytest.raises(RefusedClipsError) as refused:
        service.enrol("ann", hear(service, [talk("ann", 0), talk("bob", 0), talk("ann", 1)]))
    assert [clip.reasons for clip in refused.value.clips] == [(), ("unlike-the-others",), ()]
    assert "ann" not in {person.speaker for person in service.speakers()}


def test_a_clip_is_held_against_what_was_enrolled_before(stores: Path) -> None:
    service = service_of(stores)
    service.enrol("ann", hear(service, takes("ann", 2)))
    with pytest.raises(RefusedClipsError) as refused:
        service.enrol("ann", hear(service, [talk("bob", 0)]))
    assert refused.value.clips[0].reasons == ("unlike-the-others",)
    assert service.enrol("ann", hear(service, [talk("ann", 5)])).total == 3


def test_without_a_calibration_clips_are_not_held_against_each_other_and_that_is_said(stores: Path) -> None:
    shutil.rmtree(stores / "default")
    embed_manifest(write_speakers(stores / "few", 2, 2), stores / "default", SpectralEmbedder(0))
    service = service_of(stores)
    done = service.enrol("ann", hear(service, [talk("ann"), talk("bob")]))
    assert done.total == 2
    assert "not held against each other" in done.warnings[0]


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (talk("ann")[: 16000 // 2], "too-short"),
        (np.zeros(32000, np.float32), "silent"),
        (np.float32(0.1) * np.sin(np.arange(32000, dtype=np.float32) * 0.3), "steady"),
        (np.clip(8 * talk("ann"), -1, 1), "clipped"),
    ],
)
def test_each_bad_clip_is_refused_with_its_reason(stores: Path, waveform: Waveform, reason: str) -> None:
    service = service_of(stores)
    with pytest.raises(RefusedClipsError) as refused:
        service.enrol("ann", hear(service, [talk("ann", 1), waveform, talk("ann", 2)]))
    good, bad, also_good = refused.value.clips
    assert good.accepted
    assert also_good.accepted
    assert reason in bad.reasons
    assert bad.quality is not None
    assert read_enrolments(stores / "default") == ()


def test_a_noisy_clip_is_refused(stores: Path) -> None:
    service = service_of(stores)
    quiet_at_first = np.concatenate([np.zeros(32000, np.float32), talk("ann", 1)])
    rumble = 0.15 * np.sin(2 * np.pi * 20 * np.arange(quiet_at_first.size) / 16000).astype(np.float32)
    waveform = quiet_at_first + rumble
    with pytest.raises(RefusedClipsError) as refused:
        service.enrol("ann", hear(service, [waveform]))
    assert "noisy" in refused.value.clips[0].reasons


def test_a_clip_that_could_not_be_decoded_is_refused_like_any_other(stores: Path) -> None:
    service = service_of(stores)
    (good,) = hear(service, [talk("ann")])
    broken = ClipReport("b.wav", None).with_reason("undecodable", "cannot be decoded")
    with pytest.raises(RefusedClipsError) as refused:
        service.enrol("ann", [good, broken])
    assert [clip.accepted for clip in refused.value.clips] == [True, False]
    assert read_enrolments(stores / "default") == ()


def test_a_clip_that_one_model_makes_nothing_of_is_enrolled_in_no_store(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    clips = hear(service, takes("ann"))
    deaf = {**clips[1].recordings, "other": AudioError("no-speech", "no speech was found in it")}
    with pytest.raises(RefusedClipsError) as refused:
        service.enrol("ann", [clips[0], Heard(clips[1].clip, deaf), clips[2]])
    assert refused.value.clips[1].reasons == ("no-speech",)
    assert [read_enrolments(stores / name) for name in SEEDS] == [(), ()]


def test_an_enrolment_goes_into_every_store(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    done = service.enrol("ann", hear(service, takes("ann")))
    assert {name: (one.added, one.total) for name, one in done.stores.items()} == {"default": (3, 3), "other": (3, 3)}
    vectors = [gallery.known("ann") for gallery in service.galleries.values()]
    assert not np.allclose(*vectors)


def test_an_enrolment_cut_off_between_two_stores_is_completed_by_the_same_clips(
    stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(stores, "default", "other")
    clips = hear(service, takes("ann"))

    def busy(rows: object) -> int:
        raise StoreBusyError("locked")

    with monkeypatch.context() as patch:
        patch.setattr(service.galleries["other"], "enrol", busy)
        with pytest.raises(StoreBusyError):
            service.enrol("ann", clips)
    person = service.speaker("ann")
    assert set(person.stores) == {"default"}
    assert person.percent == 0
    done = service.enrol("ann", clips)
    assert {name: (one.added, one.total) for name, one in done.stores.items()} == {"default": (0, 3), "other": (3, 3)}
    assert (done.added, done.already, done.total) == (3, 0, 3)


def test_two_at_once_who_enrol_different_voices_as_one_speaker_do_not_both_succeed(stores: Path) -> None:
    service = service_of(stores)
    voices = [hear(service, takes(name, 2)) for name in ("ann", "bob")]
    outcomes: list[object] = []
    barrier = threading.Barrier(2)

    def enrol(clips: list[Heard]) -> None:
        barrier.wait()
        try:
            outcomes.append(service.enrol("carol", clips))
        except RefusedClipsError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=enrol, args=(clips,)) for clips in voices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, RefusedClipsError) for one in outcomes) == 1
    assert len(service.galleries["default"].known("carol")) == 2


def test_how_much_speech_is_wanted_counts_all_that_is_known(stores: Path) -> None:
    service = service_of(stores, wanted_speech_s=100.0)
    first = service.enrol("ann", hear(service, takes("ann", 2)))
    second = service.enrol("ann", hear(service, [talk("ann", 5)]))
    assert 0 < first.percent < second.percent < 100
    assert second.speech_s > first.speech_s


def test_speakers_of_all_stores_are_one_list_by_name(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    service.galleries["other"].erase("speaker-000")
    people = service.speakers()
    assert [person.speaker for person in people] == [f"speaker-{number:03d}" for number in range(14)]
    assert set(people[0].stores) == {"default"}
    assert people[0].percent == 0
    assert people[1].stores["default"].utterances == 6


def test_an_erased_speaker_is_gone_from_every_store_at_once(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    service.enrol("speaker-005", hear(service, takes("speaker-005", 2)))
    (clip,) = hear(service, [talk("speaker-005", 9)])
    assert service.search(clip).sightings.answers["default"].hits[0].speaker == "speaker-005"
    receipts = service.erase("speaker-005")
    assert {name: (one.embeddings, one.enrolments) for name, one in receipts.items()} == {
        "default": (6, 2),
        "other": (6, 2),
    }
    for answer in service.search(clip, top_k=20).sightings.answers.values():
        assert "speaker-005" not in {hit.speaker for hit in answer.hits}
    with pytest.raises(UnknownSpeakerError):
        service.speaker("speaker-005")
    with pytest.raises(UnknownSpeakerError):
        service.verify(clip, "speaker-005")
    for name in SEEDS:
        require_whole(stores / name)


def test_an_unknown_speaker_cannot_be_erased(stores: Path) -> None:
    with pytest.raises(UnknownSpeakerError):
        service_of(stores, "default", "other").erase("nobody")


def test_an_erasure_that_one_store_has_had_already_is_completed_in_the_other(stores: Path) -> None:
    service = service_of(stores, "default", "other")
    service.galleries["default"].erase("speaker-002")
    assert set(service.erase("speaker-002")) == {"other"}


def test_what_another_process_commits_is_seen_by_the_next_question(stores: Path) -> None:
    service, elsewhere = service_of(stores), service_of(stores)
    (clip,) = hear(service, [talk("speaker-001", 9)])
    assert service.verify(clip, "speaker-001").same is True
    elsewhere.erase("speaker-001")
    with pytest.raises(UnknownSpeakerError):
        service.verify(clip, "speaker-001")
    before = service.verify(clip, "speaker-002").answers["default"].threshold
    calibrate(stores / "default", CalibrateSettings(in_force="eer"))
    after = service.verify(clip, "speaker-002").answers["default"].threshold
    assert before is not None
    assert after is not None
    assert (before.name, after.name) == ("fmr-0.01", "eer")


def test_the_index_is_opened_once_a_generation(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def counted(snapshot: Snapshot) -> OpenIndex:
        opened.append(snapshot.generation.number)
        return open_index(snapshot)

    monkeypatch.setattr("vecsv.serve.gallery.open_index", counted)
    service = service_of(stores)
    (clip,) = hear(service, [talk("ann")])
    for _ in range(3):
        service.search(clip)
    service.erase("speaker-001")
    for _ in range(3):
        service.search(clip)
    generation = latest(stores / "default")
    assert generation is not None
    assert len(opened) == 2
    assert opened[1] == generation.number


def test_a_store_of_another_model_is_not_opened(stores: Path) -> None:
    with pytest.raises(FingerprintMismatchError):
        Gallery("default", stores / "default", SpectralEmbedder(1))


def test_searching_while_speakers_are_erased_gives_only_whole_answers(stores: Path) -> None:
    service = service_of(stores)
    clips = hear(service, [talk(f"speaker-{number:03d}", 9) for number in range(14)])
    stop, failures = threading.Event(), []

    def ask() -> None:
        place = 0
        while not stop.is_set():
            try:
                hits = service.search(clips[place % 14], top_k=3).sightings.answers["default"].hits
                assert len(hits) == 3
            except Exception as error:
                failures.append(error)
                return
            place += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            service.erase(f"speaker-{number:03d}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert isinstance(clips[0].of("default"), EmbeddedRecording)
