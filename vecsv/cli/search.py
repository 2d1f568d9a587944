"""`vecsv search`: who is this?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecsv.cli.options import ChannelOption, JsonOption, ModelOption, StoreOption
from vecsv.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from vecsv.query.ask import Query, SearchResult

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
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Hits for each recording.")] = 5,
    level: Annotated[str, typer.Option("--level", help="speaker or utterance.", metavar="LEVEL")] = "speaker",
    store: StoreOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    json: JsonOption = False,
) -> None:
    """Find the speakers of a store closest to a recording.

    Each hit has the score of its best utterance. Whether a hit *passes* is decided by the threshold that `vecsv
    calibrate --search` made; a 1:1 threshold would give too many false alarms.

    Examples: `vecsv search query.wav --top-k 5`, `vecsv search --queries calls.tsv --json`
    """
    from vecsv.api import Store
    from vecsv.cli import show
    from vecsv.query.search import Level

    if (query is None) == (queries is None):
        raise UsageError("give a recording or --queries, one of the two")
    if level not in set(Level):
        raise UsageError(f"level {level!r}", hint="it is speaker or utterance")
    target = Store(store, model=model, on_message=show.message)
    if query is not None:
        result = target.search(query, top_k=top_k, level=level, channel=channel)
        if json:
            show.as_json(_document(result))
        else:
            _print(result)
            _print_rule([result])
        return
    asked, unreadable = _read_queries(Path(str(queries)), channel)
    results = target.search_batch(asked, top_k=top_k, level=level)
    if json:
        show.as_json({"queries": [_document(result) for result in results]})
    else:
        for result in results:
            _print(result, titled=True)
        _print_rule(results)
    for problem in unreadable:
        show.message(problem)
    if unreadable or any(result.error for result in results):
        raise typer.Exit(1)


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
        [(hit.rank, hit.speaker, f"{hit.score:.4f}", _PASSES[hit.passes], hit.utt_id) for hit in result.hits],
        right=[0, 2],
    )
    if titled:
        show.line()


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
