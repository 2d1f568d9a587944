"""The `vecsv` command: gathers the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from vecsv.errors import VecsvError

#: Exit code after Ctrl-C, as shells have it: 128 and the number of the signal.
INTERRUPTED = 130

app = typer.Typer(
    name="vecsv",
    help="A speaker database: who is this, and is it the same person? With thresholds calibrated on your own data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

# In the order of the way through a project; each module has one function `register(app)`.
_COMMANDS = (
    "manifest",
    "embed",
    "index",
    "calibrate",
    "trials",
    "eval",
    "compare",
    "verify",
    "search",
    "enroll",
    "speakers",
    "erase",
    "failures",
    "serve",
    "report",
    "audit",
    "train",
    "models",
    "keys",
)

for _command in _COMMANDS:
    import_module(f"vecsv.cli.{_command}").register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from vecsv import __version__

        sys.stdout.write(f"vecsv {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    try:
        app(standalone_mode=True)
    except VecsvError as error:
        sys.stderr.write(f"vecsv: {error}\n")
        sys.exit(error.exit_code)
    except SystemExit as stop:
        # Typer turns Ctrl-C into this exit code and says nothing.
        if stop.code == INTERRUPTED:
            sys.stderr.write("vecsv: interrupted; what was finished is kept\n")
        raise
    except BrokenPipeError:
        # The reader of a pipe (head, say) has gone: not an error. Python would complain once more when it closes
        # stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # What no function foresaw about a disk or a file, such as a store that may not be read.
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"vecsv: {place}{error.strerror or error}\n")
        sys.exit(VecsvError.exit_code)
