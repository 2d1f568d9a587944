"""`vecsv serve`: an HTTP service and a web page over one or several stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import DeviceOption, EngineOption, ModelOption, PrecisionOption
from vecsv.errors import MissingDependencyError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            metavar="[NAME=]PATH",
            help="The store's folder. Default: $VECSV_STORE, else ./index. Several, as NAME=PATH each, answer side by "
            "side.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at. Any but this machine's own needs --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            help="File of API keys, see vecsv keys; callers must show one.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            "--tls-certificate",
            help="PEM certificate chain. Away from this machine, browsers give the microphone to HTTPS only.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="Its PEM key.", show_default=False, readable=False)
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit",
            help="Write who asked what to this file, a JSON line each, without audio, vectors or names.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", help="Let this other site's page ask, such as https://example.org.", show_default=False
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Answer to this name too, such as a proxy's.", show_default=False),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy", help="Network whose X-Forwarded-For is believed, such as 10.0.0.0/8.", show_default=False
        ),
    ] = None,
    enrolment_key: Annotated[
        Path | None,
        typer.Option(
            "--enrolment-key",
            help="File with the key that enrolments are sealed with. Default: $VECSV_ENROLMENT_KEY_FILE.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    spoof_model: Annotated[
        Path | None,
        typer.Option(
            "--spoof-model",
            help="ONNX countermeasure against replayed and synthetic voices: waveform at 16 kHz in, one score out.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "fp32",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Embedding threads and decoding processes; 0: one a core each.")
    ] = 0,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Recordings in the house at once; more are told to come back.")
    ] = 64,
    batch_window: Annotated[
        float, typer.Option("--batch-window", help="Milliseconds a recording waits for others to share a batch with.")
    ] = 4.0,
    rate: Annotated[
        int, typer.Option("--rate", min=0, help="Requests a minute of one key, or of one address; 0: no limit.")
    ] = 600,
    max_upload: Annotated[float, typer.Option("--max-upload", help="Size of one recording, in MB.")] = 25.0,
    max_duration: Annotated[float, typer.Option("--max-duration", help="Length of one recording, in seconds.")] = 120.0,
    max_decode: Annotated[
        float, typer.Option("--max-decode", help="Time that decoding one recording may take, in seconds.")
    ] = 20.0,
    wanted_speech: Annotated[
        float, typer.Option("--wanted-speech", help="Seconds of speech with which a person is fully enrolled.")
    ] = 10.0,
    shutdown: Annotated[
        float, typer.Option("--shutdown", help="Seconds that accepted work has when the service is told to end.")
    ] = 30.0,
) -> None:
    """Serve verification, search and enrolment over HTTP, with a web page.

    Away from this machine it wants API keys. It prints its address when it answers, and ends in good order on Ctrl-C or
    SIGTERM: what was accepted is finished. Several such processes may serve one store.

    Examples: `vecsv serve --store calls`, `vecsv serve --store ge2e=calls --store ecapa=calls-ecapa --port 8080`
    """
    import os

    from vecsv.cli import show
    from vecsv.config import default_store
    from vecsv.stores import parse_stores

    try:
        from vecsv.serve.server import serve as run
        from vecsv.serve.settings import DEFAULT_STORE, ServeSettings
    except ImportError as error:
        raise MissingDependencyError(
            f"the service needs a package that is not installed: {error.name}", hint="pip install 'vecsv[serve]'"
        ) from error

    if enrolment_key is not None:
        os.environ["VECSV_ENROLMENT_KEY_FILE"] = str(enrolment_key)
    folders = parse_stores(store or [])
    settings = ServeSettings(
        stores=folders if isinstance(folders, dict) else {DEFAULT_STORE: folders or default_store()},
        model=model,
        host=host,
        port=port,
        max_upload_mb=max_upload,
        max_duration_s=max_duration,
        decode_s=max_decode,
        queue=queue,
        rate_per_minute=rate,
        keys_file=keys,
        allowed_origins=tuple(allow_origin or ()),
        allowed_hosts=tuple(allow_host or ()),
        trusted_proxies=tuple(trusted_proxy or ()),
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        audit_file=audit,
        spoof_model=spoof_model,
        wanted_speech_s=wanted_speech,
        workers=workers,
        batch_window_ms=batch_window,
        shutdown_s=shutdown,
        engine=engine,
        device=device,
        precision=precision,
    )
    run(settings, on_message=show.message)
