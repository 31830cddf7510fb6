"""The application that every command joins, and what its commands share: their options and what they say."""

from pathlib import Path
from typing import Annotated

import typer

from cxrobust import __version__
from cxrobust.errors import StudyError

app = typer.Typer(
    help="What fine-tuning does to the robustness of chest X-ray models: patient-level, paired, verifiable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyFile = Annotated[Path, typer.Argument(help="The study file (TOML).", show_default=False)]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder that data paths of the study file are relative to; else the study file's own."
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for all output; `out` beside the study file when absent.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxrobust {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold options that stand before a command."""


def out_folder(study: Path, out: Path | None) -> Path:
    """Return the folder for all output of a study."""
    return out if out is not None else study.parent / "out"


def spare(written: Path, *read: Path | None) -> None:
    """See that a file to be written is none of those that are read, under whatever name.

    Raises
    ------
    StudyError
        When it is one of them.
    """
    if written.exists() and any(one is not None and one.exists() and written.samefile(one) for one in read):
        raise StudyError(f"{written}: this file is read, and would be written over: name another one to write")


def warn(message: str) -> None:
    """Say one sentence beside the output."""
    typer.echo(f"cxrobust: {message}", err=True)


def say_written(*paths: Path) -> None:
    """Name what was written, the report's PDF last, where the eye falls."""
    for path in sorted(paths, key=lambda path: (path.suffix == ".pdf", path.stem == "report")):
        typer.echo(path)
