"""Commands on the results of a study: its documents, and what a reviewer does with them."""

from pathlib import Path
from typing import Annotated

import typer

from cxrobust.cli.app import app, say_written, warn

DOCUMENTS = "Documents, and what a reviewer does with them"


@app.command(epilog="Example: cxrobust report results/results.json", rich_help_panel=DOCUMENTS)
def report(
    results: Annotated[Path, typer.Argument(help="results.json of an analysis, or its folder.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the documents; that of the results when absent.")
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            "--template", help="Folder of templates that come before ours; else the one that the study names."
        ),
    ] = None,
) -> None:
    """Write the documents from a results file."""
    from cxrobust.collecting import end_uncollected

    with end_uncollected():
        from cxrobust import documents
        from cxrobust.results import RESULTS

        file = results / RESULTS if results.is_dir() else results
        say_written(*documents.report(file, out or file.parent, template=template, say=warn))


templates = typer.Typer(help="The templates of the documents.", no_args_is_help=True)
app.add_typer(templates, name="templates", rich_help_panel=DOCUMENTS)


@templates.command(epilog="Example: cxrobust templates export my-templates")
def export(folder: Annotated[Path, typer.Argument(help="Folder to write them to.", show_default=False)]) -> None:
    """Write our templates and style sheets, to change and to give to cxrobust report --template."""
    from cxrobust.reports.templating import export

    export(folder)
    say_written(folder)


@templates.command("list", epilog="Example: cxrobust templates list")
def list_(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the tables of docs/templates.md.")] = False,
) -> None:
    """List each template with its blocks and with what it is given."""
    from cxrobust.reports.templating import described, reference

    if markdown:
        typer.echo(reference(), nl=False)
        return
    for one in described():
        typer.echo(one.name)
        for title, names in (("blocks", one.blocks), ("variables", one.variables)):
            if names:
                typer.echo(f"  {title}: {', '.join(names)}")


@app.command(epilog="Example: cxrobust verify report.pdf --predictions results/predictions", rich_help_panel=DOCUMENTS)
def verify(
    document: Annotated[Path, typer.Argument(help="A PDF that cxrobust report or compare wrote.", show_default=False)],
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            help="Folder of predictions to compute from; else those that the PDF carries. For a comparison once a run.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="Folder of templates that it was made with, if not ours.")
    ] = None,
) -> None:
    """Check a PDF by what it carries: hashes, estimates computed again, pages printed again."""
    from cxrobust import verification
    from cxrobust.progress import reporting

    with reporting() as report:
        verdict = verification.verify(document, predictions=predictions or (), templates=template, report=report)
    typer.echo(verdict.text())
    if not verdict.agrees:
        raise typer.Exit(1)


@app.command(epilog="Example: cxrobust compare results/2025 results/2026 --out compared", rich_help_panel=DOCUMENTS)
def compare(
    old: Annotated[Path, typer.Argument(help="The old run: its folder or results.json.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="The new run: its folder or results.json.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the comparison; that of the new run when absent.")
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            "--template", help="Folder of templates that come before ours; else the one that the new run's study names."
        ),
    ] = None,
) -> None:
    """Say what changed between two runs, with a paired test of new − old where the test images are the same."""
    from cxrobust.comparison import comparing
    from cxrobust.comparison.text import show
    from cxrobust.progress import reporting

    with reporting() as report:
        found = comparing.compare(old, new, out=out, template=template, report=report, say=warn)
    show(found.old, found.new, found.paired)
    say_written(*found.written)


@app.command(epilog="Example: cxrobust bundle results --zip", rich_help_panel=DOCUMENTS)
def bundle(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished run.", show_default=False)],
    as_zip: Annotated[
        bool, typer.Option("--zip", help="Write one zip instead of a folder, as --out with .zip does.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The bundle to write; bundle or bundle.zip in the run's folder when absent."),
    ] = None,
    predictions: Annotated[
        bool | None,
        typer.Option(
            "--predictions/--no-predictions",
            help="Whether the predictions, with ids and labels, go in; else where the data are public.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        bool | None,
        typer.Option(
            "--images/--no-images",
            help="Whether example images and generated reports go in, in the documents too; else of phantoms alone.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Put a run into an RO-Crate that a reviewer opens and reproduces."""
    from cxrobust.bundles import bundling

    as_zip = as_zip or (out is not None and out.suffix == ".zip")
    target = out if out is not None else folder / (bundling.ZIP if as_zip else bundling.FOLDER)
    wanted = bundling.Wanted(predictions=predictions, images=images)
    say_written(bundling.bundle(folder, target, wanted=wanted, as_zip=as_zip, say=warn))


@app.command(epilog="Example: cxrobust reproduce bundle.zip --out again", rich_help_panel=DOCUMENTS)
def reproduce(
    bundle: Annotated[Path, typer.Argument(help="A bundle: its folder or zip.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to keep what is written; else it is thrown away.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Folder of the predictions, where the bundle holds none.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Difference of two numbers that counts as none.")
    ] = 0.0,
) -> None:
    """Analyse a bundle again, write its documents again, and say "identical", or what differs; 0 or 1 as exit code."""
    import tempfile

    from cxrobust.bundles.reproducing import reproduce as again
    from cxrobust.bundles.unpacking import unpack
    from cxrobust.progress import reporting

    with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
        folder = bundle
        if not bundle.is_dir():
            folder = Path(made) / "bundle"
            folder.mkdir()
            unpack(bundle, folder)
        with reporting() as report:
            verdict = again(
                folder,
                out if out is not None else Path(made) / "out",
                predictions=predictions,
                tolerance=tolerance,
                report=report,
                say=warn,
            )
    for line in verdict.lines():
        typer.echo(line)
    if not verdict.is_identical:
        raise typer.Exit(1)
