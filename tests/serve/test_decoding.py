from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.fixtures.sounds import cut_in_half, noise, tone, voiced, write
from tests.serve.faulty_decoder import answer
from vecsv.audio.decode import Clip, read
from vecsv.errors import AudioError
from vecsv.serve.decoding import DecodedClip, DecodeLimits, DecoderPool
from vecsv.serve.overload import Overloaded

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc to look into")

FAULTY = "tests.serve.faulty_decoder"
TIGHT = DecodeLimits(max_bytes=2_000_000, max_duration_s=10.0, wall_s=3.0, cpu_s=1.0, memory_mb=512, wait_s=60.0)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """Children as they are, with limits that a few seconds of audio cross."""
    with DecoderPool(2, DecodeLimits(max_bytes=2_000_000, max_duration_s=10.0)) as pool:
        yield pool


@pytest.fixture(scope="module")
def faulty() -> Iterator[DecoderPool]:
    """Children that obey, and have little of everything."""
    with DecoderPool(2, TIGHT, child=FAULTY) as pool:
        yield pool


def wav(seconds: float = 0.5, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voiced(seconds, **options), 16000, "PCM_16", format="WAV")
    return file.getvalue()


def code_of(pool: DecoderPool, data: bytes, name: str = "clip") -> str:
    with pytest.raises(AudioError) as caught:
        pool.decode(data, name)
    assert caught.value.where == name
    assert "\n" not in str(caught.value)
    return caught.value.code


def told(pool: DecoderPool) -> dict[str, Any]:
    with pytest.raises(AudioError) as caught:
        pool.decode(b"tell", "clip")
    assert caught.value.code == "told"
    return dict(json.loads(caught.value.what))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> set[tuple[int, bool]]:
    """Our own children, and whether each has ended without being reaped."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == os.getpid():
            found.add((int(status.parent.name), state == "Z"))
    return found


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_a_clip_is_what_the_file_is(pool: DecoderPool, tmp_path: Path, name: str, rate: int, channels: int) -> None:
    waves = [voiced(1.3, rate, pitch=100.0 + 40 * number) for number in range(channels)]
    path = write(tmp_path / name, np.stack(waves, axis=1), rate)
    clip = pool.decode(path.read_bytes(), "hello")
    assert np.array_equal(clip.waveform, read(Clip(path)))
    assert clip.waveform.dtype == np.float32
    assert (clip.channels, clip.sample_rate) == (channels, rate)
    assert clip.duration_s == clip.waveform.size / 16000
    assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="read-only"):
        clip.waveform[0] = 1.0


@needs_ffmpeg
def test_what_libsndfile_does_not_know_is_decoded_too(pool: DecoderPool, tmp_path: Path) -> None:
    assert FFMPEG is not None
    source = write(tmp_path / "a.wav", np.stack([voiced(2.0, 48000)] * 2, axis=1), 48000)
    for name in ("a.m4a", "a.webm"):
        subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-i", source, tmp_path / name], check=True, timeout=60)
        clip = pool.decode((tmp_path / name).read_bytes(), name)
        assert np.array_equal(clip.waveform, read(Clip(tmp_path / name)))
        assert (clip.channels, clip.sample_rate) == (2, 48000)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"Dear server, this is no sound.", "not-audio"),
        (b"\0\1\2\3" * 5000, "not-audio"),
        (wav()[:44], "no-samples"),
    ],
    ids=["empty", "text", "bytes", "header"],
)
def test_what_is_no_recording_is_refused(pool: DecoderPool, data: bytes, code: str) -> None:
    expected = {code} if FFMPEG or code != "not-audio" else {code, "needs-ffmpeg"}
    assert code_of(pool, data) in expected


def test_damage_is_found(pool: DecoderPool, tmp_path: Path) -> None:
    half = cut_in_half(write(tmp_path / "a.flac", noise(2.0)))
    assert code_of(pool, half.read_bytes()) == "truncated"
    broken = tone(1.0)
    broken[8000] = np.nan
    path = write(tmp_path / "nan.wav", broken, subtype="FLOAT")
    assert code_of(pool, path.read_bytes()) == "not-finite"


def test_a_file_with_too_many_bytes_is_refused(pool: DecoderPool) -> None:
    at_most = wav() + bytes(2_000_000 - len(wav()))
    assert pool.decode(at_most, "clip").duration_s == 0.5
    assert code_of(pool, at_most + b"\0") == "too-large"


def test_a_recording_that_says_it_is_too_long_is_believed(pool: DecoderPool, tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(1.0))
    data = bytearray(path.read_bytes())
    # The last 36 bits before the checksum of the first block are the number of samples: an hour, of which one second
    # is there. Decoding it would find it truncated.
    data[21] &= 0xF0
    data[22:26] = (3600 * 16000).to_bytes(4, "big")
    assert code_of(pool, bytes(data)) == "too-long"


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_a_recording_that_is_too_long_is_refused(pool: DecoderPool, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "long.wav", tone(12.0))
    if name == "a.m4a":
        if FFMPEG is None:
            pytest.skip("ffmpeg is not installed")
        subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-i", path, tmp_path / name], check=True, timeout=60)
    else:
        write(tmp_path / name, tone(12.0))
    assert code_of(pool, (tmp_path / name).read_bytes()) == "too-long"


def test_the_longest_recording_is_taken(pool: DecoderPool) -> None:
    assert pool.decode(wav(10.0), "clip").duration_s == 10.0
    assert code_of(pool, wav(10.001)) == "too-long"


def test_a_tiny_file_that_becomes_hours_is_stopped_early(pool: DecoderPool, tmp_path: Path) -> None:
    # Eight hours of silence in a few thousand bytes, with a header that does not know its length.
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 1000, 1) as file:
        for _ in range(480):
            file.write(np.zeros(60000, np.float32))
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert len(data) < 2_000_000
    # Without ffmpeg a stream of unknown length cannot be read at all.
    assert code_of(pool, bytes(data)) in ({"too-long"} if FFMPEG else {"needs-ffmpeg"})


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\nb", "\0", "ünïcode 语音.wav", "http://x/y", "-i", "a" * 5000, ""]
)
def test_a_name_is_only_a_name(pool: DecoderPool, name: str) -> None:
    clip = pool.decode(wav(), name)
    assert clip.name.isprintable()
    assert 0 < len(clip.name) <= 400
    with pytest.raises(AudioError) as caught:
        pool.decode(b"", name)
    assert caught.value.where == clip.name


def test_a_name_that_is_a_file_here_is_not_opened(pool: DecoderPool, tmp_path: Path) -> None:
    path = write(tmp_path / "here.wav", tone(1.0))
    assert code_of(pool, b"\0\1\2\3" * 100, str(path)[:100]) in {"not-audio", "needs-ffmpeg"}


@needs_ffmpeg
def test_a_playlist_opens_no_file_of_this_machine(pool: DecoderPool, tmp_path: Path) -> None:
    other = write(tmp_path / "other.mp3", voiced(2.0))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nfile:{other}\n#EXT-X-ENDLIST\n".encode()
    for data in (playlist + b"\0", b"ID3\4\0\0\0\0\0\0" + playlist):
        assert code_of(pool, data) == "not-audio"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_damaged_bytes_give_a_clip_or_a_reason(pool: DecoderPool, tmp_path: Path, name: str) -> None:
    sound = write(tmp_path / name, voiced(0.6, 44100), 44100).read_bytes()
    chance = random.Random(name)
    reasons = {"not-audio", "needs-ffmpeg", "truncated", "too-long", "no-samples", "not-finite"}
    for _ in range(40):
        data = bytearray(sound)
        for _ in range(chance.choice((1, 5, 50))):
            data[chance.randrange(chance.choice((64, len(data))))] = chance.randrange(256)
        try:
            assert np.isfinite(pool.decode(bytes(data), "clip").waveform).all()
        except AudioError as error:
            assert error.code in reasons


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (b"segfault", "decoder-crashed"),
        (b"exit", "decoder-crashed"),
        (b"balloon", "too-much-memory"),
        (b"loop", "too-slow"),
        (b"sleep", "too-slow"),
        (b"raise", "undecodable"),
        (b"write", "undecodable"),
        (b"open", "undecodable"),
    ],
)
def test_a_child_that_misbehaves_costs_one_request(faulty: DecoderPool, order: bytes, code: str) -> None:
    assert code_of(faulty, order) == code
    # As many as there are children, so that each of them is asked.
    for _ in range(2):
        assert faulty.decode(wav(), "clip").duration_s == 0.5


@pytest.mark.parametrize(
    "lie",
    [
        b"\xff\xff\xff\xff",
        answer("{}"),
        answer("[]"),
        answer("not json"),
        answer('{"samples": -1, "channels": 1, "sample_rate": 1}'),
        answer('{"samples": 1e9, "channels": 1, "sample_rate": 1}'),
        answer('{"samples": 1000000000000, "channels": 1, "sample_rate": 1}'),
        answer('{"samples": 2, "channels": true, "sample_rate": 1}'),
        answer('{"code": 1, "what": "x", "hint": null}'),
        answer('{"code": "a", "what": "x", "hint": ["y"]}'),
        answer("[" * 60000),
    ],
)
def test_a_child_that_lies_is_not_believed(faulty: DecoderPool, lie: bytes) -> None:
    assert code_of(faulty, b"say " + lie) == "decoder-crashed"
    assert faulty.decode(wav(), "clip").duration_s == 0.5


@needs_proc
def test_a_killed_child_that_had_nothing_to_do_is_not_missed(faulty: DecoderPool) -> None:
    for _ in range(4):
        pid = told(faulty)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        for _ in range(2):
            assert faulty.decode(wav(), "clip").duration_s == 0.5


@needs_proc
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGKILL, "decoder-crashed"), (signal.SIGSTOP, "too-slow")])
def test_a_child_that_is_killed_or_stopped_at_work_costs_its_request_alone(
    tmp_path: Path, signum: signal.Signals, code: str
) -> None:
    with DecoderPool(1, TIGHT, child=FAULTY) as pool, ThreadPoolExecutor(2) as threads:
        pid = told(pool)["pid"]
        busy = threads.submit(code_of, pool, b"sleep " + os.fsencode(tmp_path / "begun"))
        wait_until((tmp_path / "begun").exists)
        behind = threads.submit(pool.decode, wav(), "behind")
        os.kill(pid, signum)
        assert busy.result(60) == code
        assert behind.result(60).duration_s == 0.5
        assert not alive(pid)


@needs_proc
def test_what_a_child_has_started_ends_with_it(faulty: DecoderPool, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    assert code_of(faulty, b"spawn " + os.fsencode(note)) == "too-slow"
    wait_until_gone(int(note.read_text()))


@needs_proc
def test_children_have_no_more_than_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSV_ENROLMENT_KEY_FILE", "secret")
    with DecoderPool(1, TIGHT, child=FAULTY) as pool:
        child = told(pool)
    assert "secret" not in child["environment"].values()
    limits = child["limits"]
    assert limits["RLIMIT_AS"] == [512 << 20] * 2
    assert limits["RLIMIT_NOFILE"] == [64, 64]
    assert limits["RLIMIT_CORE"] == [0, 0]
    assert limits["RLIMIT_FSIZE"][1] < 4_000_000
    assert 1 <= limits["RLIMIT_CPU"][0] < 60
    assert child["oom"] == 1000
    if hasattr(os, "memfd_create"):
        assert child["path"].startswith(f"/proc/{child['pid']}/fd/")


def test_many_threads_get_each_their_own(pool: DecoderPool) -> None:
    lengths = [0.2 + 0.01 * number for number in range(40)]
    files = [wav(length) for length in lengths]
    with ThreadPoolExecutor(12) as threads:
        clips = list(threads.map(pool.decode, files * 5, map(str, range(200))))
    assert [clip.name for clip in clips] == [str(number) for number in range(200)]
    assert [clip.duration_s for clip in clips] == pytest.approx(lengths * 5, abs=1e-4)


def test_an_event_loop_can_have_it_done(pool: DecoderPool) -> None:
    async def decode() -> list[DecodedClip]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(None, pool.decode, wav(), "clip") for _ in range(8)))

    assert [clip.duration_s for clip in asyncio.run(decode())] == [0.5] * 8


@needs_proc
def test_hundreds_of_clips_and_crashes_leave_nothing_behind() -> None:
    def descriptors(pid: int | str) -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    before = children()
    with DecoderPool(2, TIGHT, child=FAULTY) as pool:
        assert pool.decode(wav(), "clip").duration_s == 0.5
        assert pool.decode(wav(), "clip").duration_s == 0.5
        ours = descriptors("self")
        for number in range(400):
            if number % 100 == 50:
                assert code_of(pool, b"segfault") == "decoder-crashed"
            elif number % 20 == 10:
                assert code_of(pool, b"no audio at all") == "not-audio"
            else:
                pool.decode(wav(), "clip")
        assert descriptors("self") == ours
        assert len(children()) == len(before) + 2
        assert max(descriptors(told(pool)["pid"]) for _ in range(2)) < 10
    assert children() == before
    assert descriptors("self") == ours - 2


@needs_proc
def test_closing_ends_all_children_once_they_are_done(tmp_path: Path) -> None:
    before = children()
    pool = DecoderPool(2, TIGHT, child=FAULTY)
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(code_of, pool, b"sleep " + os.fsencode(tmp_path / "begun"))
        wait_until((tmp_path / "begun").exists)
        pool.close()
        assert busy.result(0.5 + TIGHT.wall_s) == "too-slow"
    assert children() == before
    pool.close()
    with pytest.raises(RuntimeError, match="ended"):
        pool.decode(wav(), "clip")


def test_who_waits_too_long_for_a_child_is_told_to_come_back(tmp_path: Path) -> None:
    limits = DecodeLimits(wall_s=3.0, wait_s=0.05)
    with DecoderPool(1, limits, child=FAULTY) as pool, ThreadPoolExecutor(1) as threads:
        busy = threads.submit(code_of, pool, b"sleep " + os.fsencode(tmp_path / "begun"))
        wait_until((tmp_path / "begun").exists)
        with pytest.raises(Overloaded) as caught:
            pool.decode(wav(), "clip")
        assert caught.value.retry_after_s > 0
        assert busy.result(60) == "too-slow"


@needs_proc
def test_children_of_a_server_that_is_killed_end_by_themselves() -> None:
    program = (
        "import time; from tests.serve.test_decoding import *; pool = DecoderPool(2, TIGHT, child=FAULTY); "
        "print(*{told(pool)['pid'], told(pool)['pid']}, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    with server:
        assert server.stdout is not None
        pids = [int(word) for word in server.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        server.kill()
    for pid in pids:
        wait_until_gone(pid)


def test_children_load_little() -> None:
    program = "import sys; import vecsv.serve.decoder_child; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60).stdout.split()
    heavy = {
        b"fastapi",
        b"torch",
        b"onnxruntime",
        b"pyarrow",
        b"scipy",
        b"vecsv.api",
        b"vecsv.models",
        b"multiprocessing",
    }
    assert not heavy & set(loaded)


def test_a_pool_without_children_is_refused() -> None:
    with pytest.raises(ValueError, match="0 decoding processes"):
        DecoderPool(0, DecodeLimits())


def test_threads_that_meet_a_closing_pool_end() -> None:
    closing = DecoderPool(1, TIGHT, child=FAULTY)
    endings: list[str] = []

    def decode() -> None:
        try:
            while True:
                closing.decode(wav(), "clip")
        except RuntimeError:
            endings.append("refused")

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    closing.close()
    for thread in threads:
        thread.join(60)
    assert endings == ["refused"] * 4
