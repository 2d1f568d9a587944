"""`vecsv search`: who is this?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecsv.cli.options import (
    ChannelOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    StoresOption,
)
from vecsv.cli.stores import open_stores
from vecsv.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from vecsv.query.ask import Query, SearchResult
    from vecsv.query.search import Hit
    from vecsv.query.several import Sightings

_PASSES = {True: "yes", False: "no", None: "-"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


def search(
    query: Annotated[Path | None, typer.Argument(help="A recording.", show_default=False, readable=False)] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries", help="A TSV of recordings (as a manifest; the speaker may be left out).", readable=False
        ),
    ] = None,
    rttm: Annotated[
        Path | None,
        typer.Option(
            "--rttm",
            help="Ask for each speaker of this RTTM file, by what they say while nobody else speaks.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    each_channel: Annotated[bool, typer.Option("--each-channel", help="Ask for each channel on its own.")] = False,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Hits for each recording.")] = 5,
    level: Annotated[str, typer.Option("--level", help="speaker or utterance.", metavar="LEVEL")] = "speaker",
    store: StoresOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    engine: EngineOption = "auto",
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Find the speakers of a store closest to a recording.

    Each hit has the score of its best utterance. Whether a hit *passes* is decided by the threshold that `vecsv
    calibrate --search` made; a 1:1 threshold would give too many false alarms.

    With --rttm or --each-channel there is an answer for each person in the recording. With several stores, all are
    asked; --json then has each one's answer under `stores`.

    Examples: `vecsv search query.wav --top-k 5`, `vecsv search --queries calls.tsv --json`,
    `vecsv search call.wav --rttm call.rttm`
    """
    from vecsv.cli import show
    from vecsv.query.search import Level
    from vecsv.stores import Stores

    if level not in set(Level):
        raise UsageError(f"level {level!r}", hint="it is speaker or utterance")
    batch = queries is not None or rttm is not None or each_channel
    asked, unreadable = _asked(query, queries, rttm, channel, each_channel=each_channel)
    target = open_stores(store, model=model, engine=engine, device=device, precision=precision)
    if isinstance(target, Stores):
        found = target.search_batch(asked, top_k=top_k, level=level)
        results = [result for one in found for result in one.answers.values()]
        documents = [_joined_document(one) for one in found]
    else:
        found = []
        results = target.search_batch(asked, top_k=top_k, level=level)
        documents = [_document(result) for result in results]
    if not batch:
        for result in results:
            if result.error is not None:
                raise result.error
    if json:
        show.as_json({"queries": documents} if batch else documents[0])
    elif found:
        for one in found:
            _print_joined(one)
    else:
        for result in results:
            _print(result, titled=batch)
        _print_rule(results)
    for problem in unreadable:
        show.message(problem)
    if unreadable or any(result.error for result in results):
        raise typer.Exit(1)


def _asked(
    query: Path | None, queries: Path | None, rttm: Path | None, channel: int | None, *, each_channel: bool
) -> tuple[list[Query], list[str]]:
    """The queries that the options mean, and what of a list could not be read."""
    from vecsv.audio.decode import Clip
    from vecsv.query.ask import Query
    from vecsv.query.parts import query_each_channel, query_each_speaker

    if (query is None) == (queries is None):
        raise UsageError("give a recording or --queries, one of the two")
    if query is None:
        if rttm is not None or each_channel:
            raise UsageError("--rttm and --each-channel go with a recording, not with --queries")
        return _read_queries(Path(str(queries)), channel)
    if each_channel:
        if rttm is not None or channel is not None:
            raise UsageError("--each-channel goes without --rttm and --channel")
        return query_each_channel(query), []
    if rttm is not None:
        return query_each_speaker(query, rttm, channel=channel), []
    return [Query(Clip(query, channel), str(query))], []


def _read_queries(path: Path, channel: int | None) -> tuple[list[Query], list[str]]:
    from vecsv.audio.decode import Clip
    from vecsv.manifest import ManifestRow, read_manifest
    from vecsv.query.ask import Query

    asked, unreadable = [], []
    for row in read_manifest(path, speaker_required=False):
        if isinstance(row, ManifestRow):
            clip = Clip(row.path, row.channel or channel, row.start_s, row.end_s)
            asked.append(Query(clip, row.utt_id, row.speaker or None))
        else:
            unreadable.append(f"{path}, line {row.line}: {row.reason}")
    if not asked:
        raise ManifestError("no recordings in it", where=str(path))
    return asked, unreadable


def _print(result: SearchResult, *, titled: bool = False) -> None:
    from vecsv.cli import show

    if titled:
        expected = f" ({result.query.expected})" if result.query.expected else ""
        show.line(f"{result.query.name}{expected}")
    if result.error is not None:
        show.message(str(result.error))
        return
    show.table(
        ["rank", "speaker", "score", "passes", "best utterance"],
        [(hit.rank, hit.speaker, f"{hit.score:.4f}", _PASSES[hit.passes], _place(hit)) for hit in result.hits],
        right=[0, 2],
    )
    if titled:
        show.line()


def _place(hit: Hit) -> str:
    """The utterance and, where it is stored as windows, the one that scored."""
    is_part = hit.offset_s > 0.0 or hit.segment > 0
    return f"{hit.utt_id} (from {hit.offset_s:.2f} s)" if is_part else hit.utt_id


def _print_joined(found: Sightings) -> None:
    """The hits of each store in turn, and whether they agree."""
    from vecsv.cli import show

    for name, result in found.answers.items():
        show.line(f"{name}: {result.query.name}")
        _print(result)
        _print_rule([result])
        show.line()
    if found.agree:
        best = next(iter(found.answers.values())).hits[0].speaker
        passes = "passes in all" if found.speaker is not None else "does not pass in all"
        show.line(f"all agree on {best}, who {passes}")
    else:
        show.line("the stores do not agree on the closest speaker")


def _print_rule(results: Sequence[SearchResult]) -> None:
    """Say once what decides whether a hit passes, and what to know about it."""
    from vecsv.cli import show
    from vecsv.query.search_threshold import NO_SEARCH_THRESHOLD

    found = [result for result in results if result.hits]
    threshold = found[0].threshold if found else None
    if threshold is not None:
        show.line(
            f"passes at {threshold.value:.4f}: FPIR {threshold.fpir:.2%} among {threshold.gallery_size:,} speakers, "
            f"from {threshold.probes:,} searches for strangers"
        )
    elif found:
        show.warnings([NO_SEARCH_THRESHOLD])
    show.warnings(warning for result in results for warning in result.warnings)


def _joined_document(found: Sightings) -> dict[str, Any]:
    return {
        "query": next(iter(found.answers.values())).query.name,
        "stores": {name: _document(result) for name, result in found.answers.items()},
        "agree": found.agree,
        "decision": found.speaker,
    }


def _document(result: SearchResult) -> dict[str, Any]:
    from dataclasses import asdict

    from vecsv.query.search_threshold import NO_SEARCH_THRESHOLD

    threshold = result.threshold
    return {
        "query": result.query.name,
        "path": str(result.query.clip.path),
        "expected": result.query.expected,
        "error": None if result.error is None else str(result.error),
        "quality": None if result.quality is None else asdict(result.quality),
        "threshold": None if threshold is None else threshold.value,
        "threshold_fpir": None if threshold is None else threshold.fpir,
        "threshold_gallery_size": None if threshold is None else threshold.gallery_size,
        "gallery_size": None if threshold is None else threshold.searched,
        "passes_reason": NO_SEARCH_THRESHOLD if threshold is None else None,
        "hits": [asdict(hit) for hit in result.hits],
        "warnings": list(result.warnings),
    }
