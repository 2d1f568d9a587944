from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import speak
from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity
from vecsv.audio.decode import Clip
from vecsv.audio.windows import Kept, WindowRule
from vecsv.embedding.recordings import EmbeddedRecording, embed_recordings
from vecsv.embedding.windowed import windowed
from vecsv.errors import AudioError, UsageError, VecsvError
from vecsv.models.protocol import Embedder, Prepared
from vecsv.serve.decoding import DecodedClip
from vecsv.serve.embedding_pool import EmbeddingPool, Overloaded

RATE = 16000
PATIENCE_S = 60.0

Result = TypeVar("Result")


def clip_of(wave: Waveform, name: str = "clip") -> DecodedClip:
    wave = np.ascontiguousarray(wave, np.float32)
    wave.setflags(write=False)
    return DecodedClip(name, wave, 1, RATE, wave.size / RATE, hashlib.sha256(wave.tobytes()).hexdigest())


def talk(seconds: int, speaker: str = "ann") -> Waveform:
    return np.concatenate([speak(speaker, take) for take in range(seconds)])


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it to its end; what waits for ever fails."""
    return asyncio.run(asyncio.wait_for(work, PATIENCE_S))


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


@pytest.fixture
def pools() -> Iterator[Callable[..., EmbeddingPool]]:
    """Makes pools, and closes them."""
    made: list[EmbeddingPool] = []

    def make(*models: Embedder, **options: Any) -> EmbeddingPool:
        made.append(EmbeddingPool({f"store-{number}": model for number, model in enumerate(models)}, **options))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


class Watched(SpectralEmbedder):
    """Notes what each call of the network gets, and lets no call pass while its gate is closed."""

    def __init__(self, seed: int = 0, **options: Any) -> None:
        super().__init__(seed, **options)
        self.prepared = 0
        self.calls: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        self.prepared += 1
        return super().prepare(waveform, activity)

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        self.calls.append([one.seconds for one in prepared])
        assert self.gate.wait(PATIENCE_S)
        return super().embed(prepared)


def of_file(model: Embedder, folder: Path, clip: DecodedClip) -> EmbeddedRecording | VecsvError:
    path = folder / f"{clip.name}.wav"
    soundfile.write(path, clip.waveform, RATE, "FLOAT")
    ((_, result),) = embed_recordings(model, [(0, Clip(path))])
    return result


def assert_same(found: EmbeddedRecording | VecsvError, expected: EmbeddedRecording | VecsvError) -> None:
    if isinstance(expected, AudioError):
        assert isinstance(found, AudioError)
        assert (found.code, found.what, found.hint) == (expected.code, expected.what, expected.hint)
        return
    assert isinstance(expected, EmbeddedRecording)
    assert isinstance(found, EmbeddedRecording)
    np.testing.assert_array_equal(found.vector, expected.vector)
    assert found.quality == expected.quality
    assert len(found.windows) == len(expected.windows)
    for ours, theirs in zip(found.windows, expected.windows, strict=True):
        np.testing.assert_array_equal(ours.vector, theirs.vector)
        assert (ours.segment, ours.offset_s, ours.quality) == (theirs.segment, theirs.offset_s, theirs.quality)


def sounds() -> list[DecodedClip]:
    """Short and long ones, with pauses, and such as are refused."""
    generator = np.random.default_rng(0)
    quiet = np.zeros(70 * RATE, np.float32)
    return [
        clip_of(talk(1), "short"),
        clip_of(talk(3, "ben"), "three"),
        clip_of(talk(65), "long"),
        clip_of(talk(130, "cid")[: 125 * RATE + 77], "longer"),
        clip_of(np.concatenate([talk(2), quiet, talk(3, "ben")]), "gap"),
        clip_of(np.concatenate([talk(60), np.zeros(RATE, np.float32)]), "silent-end"),
        clip_of(speak("ann", 0)[:800], "too-short"),
        clip_of(np.zeros(RATE, np.float32), "silent"),
        clip_of(0.1 * generator.standard_normal(2 * RATE), "noise"),
        clip_of(np.clip(4 * talk(2), -1, 1), "clipped"),
    ]


@pytest.mark.parametrize(
    "rule", [None, WindowRule(3.0, 1.5, Kept.POOLED), WindowRule(3.0, 1.5, Kept.ROWS)], ids=["whole", "pooled", "rows"]
)
@pytest.mark.parametrize("batch_s", [2.0, 120.0])
def test_a_clip_gives_what_a_file_of_its_samples_gives(
    tmp_path: Path, pools: Callable[..., EmbeddingPool], rule: WindowRule | None, batch_s: float
) -> None:
    model = windowed(SpectralEmbedder(batch_s=batch_s), rule)
    clips = sounds()
    found = run(pools(model).submit(clips))["store-0"]
    expected = [of_file(model, tmp_path, clip) for clip in clips]
    # Both kinds are among them.
    assert {type(one) for one in expected} == {EmbeddedRecording, AudioError}
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)
    for clip, one in zip(clips, found, strict=True):
        if isinstance(one, EmbeddedRecording):
            assert one.audio_sha256 == clip.sha256
        else:
            assert str(one).startswith(f"{clip.name}: ")


def test_a_long_clip_is_embedded_in_blocks(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched(block_s=2.0)
    (found,) = run(pools(model).submit([clip_of(talk(5))]))["store-0"]
    assert isinstance(found, EmbeddedRecording)
    assert model.calls == [[2.0, 2.0, 1.0]]


def test_what_arrives_together_is_embedded_together(pools: Callable[..., EmbeddingPool]) -> None:
    first, second = Watched(), Watched(1)
    batches: list[tuple[int, float]] = []
    pool = pools(first, second, window_ms=10_000, on_batch=lambda clips, seconds: batches.append((clips, seconds)))

    async def work() -> list[dict[str, Any]]:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(2, name))])) for name in "abcdef"]
        await until(lambda: pool.depth == 6)
        assert first.calls == []
        # Nothing more is to come, so nothing more is waited for.
        assert await pool.drain(PATIENCE_S)
        return await asyncio.gather(*waiting)

    answers = run(work())
    assert [len(call) for call in first.calls] == [6]
    assert [len(call) for call in second.calls] == [6]
    assert batches == [(6, 12.0)]
    for name, answer in zip("abcdef", answers, strict=True):
        alone = SpectralEmbedder(1)
        expected = alone.embed([alone.prepare(talk(2, name))])[0]
        np.testing.assert_allclose(answer["store-1"][0].vector, expected, atol=1e-6)


def test_a_full_batch_waits_for_nobody(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched(batch_s=6.0)
    pool = pools(model, window_ms=10_000_000)

    async def work() -> None:
        await asyncio.gather(*(pool.submit([clip_of(talk(2))]) for _ in range(3)))

    run(work())
    assert model.calls == [[2.0, 2.0, 2.0]]


def test_no_call_of_the_network_gets_much_more_than_a_batch(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched(batch_s=4.0)
    pool = pools(model, queue_limit=500)
    model.gate.clear()

    async def work() -> None:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(1 + number % 3))])) for number in range(60)]
        await until(lambda: pool.depth == 60 and bool(model.calls))
        model.gate.set()
        await asyncio.gather(*waiting)

    run(work())
    assert sum(sum(call) for call in model.calls) == 120.0
    assert max(sum(call) for call in model.calls) <= 4.0


def test_free_workers_share_what_waits(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched()
    pool = pools(model, workers=2, window_ms=20.0)
    model.gate.clear()

    async def work() -> None:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(1))])) for _ in range(6)]
        # Were all in the hands of one, there would never be a second call before the first one ends.
        await until(lambda: len(model.calls) == 2)
        model.gate.set()
        await asyncio.gather(*waiting)

    run(work())
    assert sorted(len(call) for call in model.calls) == [3, 3]


def test_stores_of_one_model_share_the_work(pools: Callable[..., EmbeddingPool]) -> None:
    first, twin, other = Watched(), Watched(), Watched(1)
    found = run(pools(first, twin, other).submit([clip_of(talk(2))]))
    assert (len(first.calls), len(twin.calls), len(other.calls)) == (1, 0, 1)
    assert list(found) == ["store-0", "store-1", "store-2"]
    assert_same(found["store-1"][0], found["store-0"][0])
    ours, others = found["store-0"][0], found["store-2"][0]
    assert isinstance(ours, EmbeddedRecording)
    assert isinstance(others, EmbeddedRecording)
    assert not np.array_equal(ours.vector, others.vector)


def test_windows_that_are_kept_are_not_shared_with_whole_recordings(pools: Callable[..., EmbeddingPool]) -> None:
    whole = SpectralEmbedder()
    rows = windowed(whole, WindowRule(3.0, 1.5, Kept.ROWS))
    assert rows.fingerprint == whole.fingerprint
    found = run(pools(whole, rows).submit([clip_of(talk(6))]))
    counts = [len(one.windows) for (one,) in found.values() if isinstance(one, EmbeddedRecording)]
    assert counts == [0, 3]


class Fragile(Watched):
    """Fails for every batch that holds a recording of two seconds, in the way it was told."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        if any(one.seconds == 2.0 for one in prepared):
            raise self.error
        return super().embed(prepared)


@pytest.mark.parametrize("error", [AudioError("no-embedding", "nothing to be made of it"), MemoryError()])
def test_a_clip_the_network_fails_on_harms_no_other(pools: Callable[..., EmbeddingPool], error: Exception) -> None:
    pool = pools(Fragile(error), window_ms=10_000)

    async def work() -> list[Any]:
        clips = [clip_of(talk(seconds)) for seconds in (1, 2, 3)]
        waiting = [asyncio.ensure_future(pool.submit([clip])) for clip in clips]
        await until(lambda: pool.depth == 3)
        await pool.drain(PATIENCE_S)
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = run(work())
    assert isinstance(first["store-0"][0], EmbeddedRecording)
    assert isinstance(third["store-0"][0], EmbeddedRecording)
    # A clip's own fault is an answer; a defect is raised, and to its own request alone.
    assert (second["store-0"][0] if isinstance(error, AudioError) else second) is error


def test_workers_outlive_what_goes_wrong(pools: Callable[..., EmbeddingPool]) -> None:
    pool = pools(Fragile(MemoryError()))

    async def work() -> None:
        for _ in range(3):
            with pytest.raises(MemoryError):
                await pool.submit([clip_of(talk(2))])
        assert isinstance((await pool.submit([clip_of(talk(1))]))["store-0"][0], EmbeddedRecording)

    run(work())
    assert pool.depth == 0


def test_more_than_there_is_room_for_is_refused_at_once(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched()
    pool = pools(model, queue_limit=5)
    model.gate.clear()

    async def work() -> None:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(1)), clip_of(talk(1))])) for _ in range(2)]
        await until(lambda: pool.depth == 4)
        # One more would fit, two do not.
        pool.require_room(1)
        with pytest.raises(Overloaded) as caught:
            pool.require_room(2)
        assert caught.value.retry_after_s >= 1.0
        with pytest.raises(Overloaded):
            # Nothing ends while the gate is closed: an answer comes at once or not at all.
            await pool.submit([clip_of(talk(1)), clip_of(talk(1))])
        waiting.append(asyncio.ensure_future(pool.submit([clip_of(talk(1))])))
        await until(lambda: pool.depth == 5)
        with pytest.raises(Overloaded):
            await pool.submit([clip_of(talk(1))])
        model.gate.set()
        assert len(await asyncio.gather(*waiting)) == 3
        assert pool.depth == 0
        await pool.submit([clip_of(talk(1))])

    run(work())


def test_a_request_larger_than_the_queue_is_taken_when_nothing_else_is_there(
    pools: Callable[..., EmbeddingPool],
) -> None:
    pool = pools(Watched(), queue_limit=2)
    assert len(run(pool.submit([clip_of(talk(1))] * 5))["store-0"]) == 5


class Slow(Watched):
    """Takes a hundredth of a second for each second of audio."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        threading.Event().wait(sum(one.seconds for one in prepared) / 100)
        return super().embed(prepared)


def test_when_to_come_back_is_told_from_the_measured_rate(pools: Callable[..., EmbeddingPool]) -> None:
    model = Slow()
    pool = pools(model, queue_limit=10)

    async def work() -> tuple[float, float]:
        # Before anything was measured there is nothing to tell it from.
        model.gate.clear()
        first = asyncio.ensure_future(pool.submit([clip_of(talk(2))] * 10))
        await until(lambda: pool.depth == 10)
        with pytest.raises(Overloaded) as blind:
            pool.require_room()
        model.gate.set()
        await first
        for _ in range(5):
            await pool.submit([clip_of(talk(10))])
        model.gate.clear()
        second = asyncio.ensure_future(pool.submit([clip_of(talk(30))] * 10))
        await until(lambda: pool.depth == 10)
        with pytest.raises(Overloaded) as measured:
            pool.require_room()
        model.gate.set()
        await second
        return blind.value.retry_after_s, measured.value.retry_after_s

    blind, measured = run(work())
    assert blind == 1.0
    # 300 s of audio at a hundredth each; whatever else the machine does only makes it slower.
    assert measured >= 2.99


def test_who_gives_up_waiting_costs_nothing_more(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched(batch_s=1.0)
    pool = pools(model)
    model.gate.clear()

    async def work() -> None:
        first = asyncio.ensure_future(pool.submit([clip_of(talk(1))]))
        await until(lambda: len(model.calls) == 1)
        second = asyncio.ensure_future(pool.submit([clip_of(talk(2))]))
        third = asyncio.ensure_future(pool.submit([clip_of(talk(3))]))
        await until(lambda: pool.depth == 3)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.depth == 2
        model.gate.set()
        await asyncio.gather(first, third)

    run(work())
    assert model.calls == [[1.0], [3.0]]
    assert model.prepared == 2


def test_what_was_given_up_while_its_batch_is_prepared_is_left_out(pools: Callable[..., EmbeddingPool]) -> None:
    reached, released = threading.Event(), threading.Event()

    class Halting(Watched):
        def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
            reached.set()
            assert released.wait(PATIENCE_S)
            return super().prepare(waveform, activity)

    model = Halting(batch_s=6.0)
    pool = pools(model, window_ms=10_000_000)

    async def work() -> None:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(seconds))])) for seconds in (1, 2, 3)]
        await until(reached.is_set)
        waiting[1].cancel()
        await asyncio.sleep(0)
        released.set()
        await asyncio.gather(waiting[0], waiting[2])
        assert waiting[1].cancelled()

    run(work())
    assert model.calls == [[1.0, 3.0]]
    assert pool.depth == 0


def test_the_event_loop_goes_on_while_the_network_computes(pools: Callable[..., EmbeddingPool]) -> None:
    beats = 0

    class Listening(SpectralEmbedder):
        """Ends only when the loop has gone round several times since it began."""

        def embed(self, prepared: Sequence[Prepared]) -> Vectors:
            begun = beats
            for _ in range(int(PATIENCE_S * 1000)):
                if beats >= begun + 3:
                    return super().embed(prepared)
                threading.Event().wait(0.001)
            raise RuntimeError("the event loop stood still")

    pool = pools(Listening(), queue_limit=1000, workers=2)

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.001)

    async def work() -> list[dict[str, Any]]:
        heart = asyncio.ensure_future(beat())
        clips = [clip_of(talk(1, name)) for name in "abcde"]
        answers = await asyncio.gather(*(pool.submit([clips[number % 5]]) for number in range(400)))
        heart.cancel()
        return answers

    answers = run(work())
    assert len(answers) == 400
    for number, answer in enumerate(answers):
        assert_same(answer["store-0"][0], answers[number % 5]["store-0"][0])
    assert beats > 3


def test_draining_finishes_what_is_there_and_takes_nothing_more(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched(batch_s=1.0)
    pool = pools(model)
    model.gate.clear()

    async def work() -> None:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(1))])) for _ in range(5)]
        await until(lambda: pool.depth == 5)
        draining = asyncio.ensure_future(pool.drain(PATIENCE_S))
        refused = False
        while not refused:
            try:
                pool.require_room()
            except Overloaded:
                refused = True
            await asyncio.sleep(0.001)
        with pytest.raises(Overloaded, match="shutting down"):
            await pool.submit([clip_of(talk(1))])
        model.gate.set()
        assert await draining
        for answer in await asyncio.gather(*waiting):
            assert isinstance(answer["store-0"][0], EmbeddedRecording)

    run(work())
    assert not [thread for thread in threading.enumerate() if thread in pool._workers]


def test_draining_ends_when_its_time_is_over(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched(batch_s=1.0)
    pool = pools(model)
    model.gate.clear()

    async def work() -> None:
        waiting = [asyncio.ensure_future(pool.submit([clip_of(talk(1))])) for _ in range(3)]
        await until(lambda: pool.depth == 3 and bool(model.calls))
        assert not await pool.drain(0.05)
        # What was begun is finished; what was not is told so, and nobody waits for ever.
        for never in waiting[1:]:
            with pytest.raises(Overloaded, match="shutting down"):
                await never
        model.gate.set()
        assert isinstance((await waiting[0])["store-0"][0], EmbeddedRecording)

    run(work())
    assert len(model.calls) == 1


def test_several_event_loops_may_use_one_pool(pools: Callable[..., EmbeddingPool]) -> None:
    pool = pools(SpectralEmbedder(), workers=2, queue_limit=1000)
    found: list[Any] = []

    async def work() -> None:
        found.extend(await asyncio.gather(*(pool.submit([clip_of(talk(1))]) for _ in range(20))))

    threads = [threading.Thread(target=run, args=(work(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(found) == 80


def test_a_loop_that_is_gone_does_not_end_a_worker(pools: Callable[..., EmbeddingPool]) -> None:
    model = Watched()
    pool = pools(model)
    model.gate.clear()

    async def leave() -> None:
        asyncio.ensure_future(pool.submit([clip_of(talk(1))]))  # noqa: RUF006 - it is to be left behind
        await until(lambda: bool(model.calls))

    asyncio.run(leave())
    model.gate.set()
    assert isinstance(run(pool.submit([clip_of(talk(1))]))["store-0"][0], EmbeddedRecording)


def test_no_clips_are_no_work(pools: Callable[..., EmbeddingPool]) -> None:
    assert run(pools(Watched(), Watched(1)).submit([])) == {"store-0": [], "store-1": []}


@pytest.mark.parametrize("options", [{"queue_limit": 0}, {"workers": 0}, {"window_ms": -1.0}])
def test_settings_that_make_no_pool_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EmbeddingPool({"main": SpectralEmbedder()}, **options)
    with pytest.raises(UsageError):
        EmbeddingPool({})


def test_a_model_of_another_rate_is_refused() -> None:
    class Telephone(SpectralEmbedder):
        sample_rate = 8000

    with pytest.raises(UsageError, match="8000 Hz"):
        EmbeddingPool({"main": Telephone()})
