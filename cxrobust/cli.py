"""The command line: `cxrobust run study.toml` and one command for each stage."""

import errno
import sys
import traceback
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated

import typer

from cxrobust import __version__
from cxrobust.errors import CxrobustError, StudyError, nearest
from cxrobust.files import atomic_write_text

if TYPE_CHECKING:
    from cxrobust.reports.document import Paper
    from cxrobust.results import Results

INTERRUPTED = 130
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""Wrong usage, of the click that typer brings with it or depends on, by version."""

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


@app.command(epilog="Example: cxrobust run study.toml --data-root /data --out results")
def run(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Do all: predict, analyze, report."""
    from cxrobust import pipeline
    from cxrobust.progress import reporting
    from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    folder = _out(study, out)
    with reporting() as report:
        documents = pipeline.run(read, folder, report_progress=report, say=_warn)
    _say_skipped(folder / PREDICTIONS)
    _say_flaws(folder / RESULTS)
    _say_written(folder / RESULTS, folder / ESTIMATES, *documents)


@app.command(epilog="Example: cxrobust predict study.toml --data-root /data --out results")
def predict(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Make clean and perturbed predictions; goes on where a killed run stopped."""
    from cxrobust import pipeline
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    with reporting() as report:
        folder = pipeline.predict(read, _out(study, out), report=report)
    _say_skipped(folder)
    _say_written(folder)


@app.command(epilog="Example: cxrobust status study.toml --out results")
def status(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Say which units of the predictions are done, running, failed (with the error) and left; loads no model."""
    from cxrobust.inference import engine, ledger
    from cxrobust.results import PREDICTIONS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    found = ledger.read_ledger(_out(study, out) / PREDICTIONS)
    ledger.show(found, changed=engine.changed_settings(read, found.made_for))


@app.command(epilog="Example: cxrobust analyze study.toml --out results")
def analyze(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Turn the predictions in OUT into estimates: results.json and estimates.csv."""
    from cxrobust import pipeline
    from cxrobust.progress import reporting
    from cxrobust.results import ESTIMATES, RESULTS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    folder = _out(study, out)
    with reporting() as report:
        pipeline.analyze(read, folder, report=report)
    _say_written(folder / RESULTS, folder / ESTIMATES)


@app.command(epilog="Example: cxrobust report results/results.json")
def report(
    results: Annotated[Path, typer.Argument(help="results.json of an analysis.", show_default=False)],
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
    from cxrobust import documents

    _say_written(*documents.report(results, out or results.parent, template=template, say=_warn))


templates = typer.Typer(help="The templates of the documents.", no_args_is_help=True)
app.add_typer(templates, name="templates")


@templates.command(epilog="Example: cxrobust templates export my-templates")
def export(folder: Annotated[Path, typer.Argument(help="Folder to write them to.", show_default=False)]) -> None:
    """Write our templates and style sheets, to change and to give to cxrobust report --template."""
    from cxrobust.reports.templating import export

    export(folder)
    _say_written(folder)


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


@app.command(epilog="Example: cxrobust verify report.pdf --predictions results/predictions")
def verify(
    document: Annotated[Path, typer.Argument(help="A PDF that cxrobust report wrote.", show_default=False)],
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Folder of predictions to compute from; else those that the PDF carries."),
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="Folder of templates that the report was made with, if not ours.")
    ] = None,
) -> None:
    """Check a PDF by what it carries: hashes, estimates computed again, pages printed again."""
    from cxrobust import verification
    from cxrobust.progress import reporting

    with reporting() as report:
        verdict = verification.verify(document, predictions=predictions, templates=template, report=report)
    typer.echo(verdict.text())
    if not verdict.agrees:
        raise typer.Exit(1)


@app.command("list", epilog="Example: cxrobust list attacks")
def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            help="datasets, models, attacks, corruptions, metrics, scores (of reports) or judges.", show_default=False
        ),
    ],
) -> None:
    """List the names that a study file may use, with a line on each."""
    from cxrobust import names

    names.show(names.listed(kind))


@app.command(
    epilog='Example: cxrobust perturb study.toml --image 00000001_000.png --condition "noise(eps=1/255)" --regime lora'
)
def perturb(
    study: StudyFile,
    image: Annotated[str, typer.Option("--image", help="Id of the image.", show_default=False)],
    condition: Annotated[
        str, typer.Option("--condition", help="The condition, as it stands in estimates.csv.", show_default=False)
    ],
    regime: Annotated[
        str | None, typer.Option("--regime", help="Whose model is attacked; needed where there are several.")
    ] = None,
    data_root: DataRoot = None,
    out: Out = None,
    to: Annotated[Path, typer.Option("--to", help="The file to write: .npy (exact) or .png (16 bits).")] = Path(
        "perturbed.png"
    ),
) -> None:
    """Make one image's perturbation again, as the model saw it."""
    from cxrobust.inference.one_image import perturbed_image, write_image
    from cxrobust.inference.units import plan
    from cxrobust.progress import reporting
    from cxrobust.results import PREDICTIONS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    with reporting() as report:
        planned = plan(read, _out(study, out) / PREDICTIONS, report=report)
        pixels = perturbed_image(planned, image=image, condition=condition, regime=regime)
    write_image(pixels, to)
    _say_written(to)


@app.command(epilog="Example: cxrobust check study.toml --data-root /data")
def check(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Validate all that can be known beforehand, and say how large the study is and how long it will take."""
    from cxrobust import checks
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    with reporting() as report:
        found = checks.check(read, _out(study, out), report=report)
    checks.show(found)


@app.command(epilog="Example: cxrobust register study.toml --data-root /data")
def register(
    study: StudyFile,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The registration to write; else beside the study file.")
    ] = None,
) -> None:
    """Freeze the study's plan with a hash and today's date, before it is run; the report then says what was planned."""
    from datetime import UTC, datetime

    from cxrobust.registration import place_of
    from cxrobust.registration.planned import register as freeze
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    path = out if out is not None else place_of(read)
    made = freeze(read, path, now=datetime.now(UTC))
    for name in made.inputs["unknown"]:
        whose = "the data" if name == "data" else f"regime {name!r}"
        _warn(f"the files of {whose} could not be read yet: their hashes are not registered")
    if path.resolve() != place_of(read).resolve():
        _warn(f"add registration = ... to [study], which would else look for {place_of(read)}")
    typer.echo(f"{made.date}  SHA-256 {made.sha256}")
    _say_written(path)


@app.command(epilog="Example: cxrobust compare results/2025 results/2026 --out compared")
def compare(
    old: Annotated[Path, typer.Argument(help="The old run: its folder or results.json.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="The new run: its folder or results.json.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the comparison; that of the new run when absent.")
    ] = None,
) -> None:
    """Say what changed between two runs, with a paired test of new − old where the test images are the same."""
    from cxrobust.comparison import runs as compared
    from cxrobust.comparison.document import write_comparison
    from cxrobust.comparison.text import show
    from cxrobust.progress import reporting

    runs = compared.read_run(old), compared.read_run(new)
    with reporting() as report:
        paired = compared.paired(*runs, report=report)
    show(*runs, paired)
    folder = out if out is not None else new if new.is_dir() else new.parent
    _say_written(*write_comparison(*runs, paired, out=folder, paper=_paper(runs[1].results), say=_warn))


@app.command(epilog="Example: cxrobust label reports.csv --out labels.csv")
def label(
    reports: Annotated[
        Path, typer.Argument(help="Reports: a CSV or JSON lines, with an id and a text.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The CSV of labels to write.", show_default=False)],
    id_column: Annotated[str, typer.Option("--id", help="Column of the ids.")] = "id",
    text_column: Annotated[str, typer.Option("--text", help="Column of the texts.")] = "report",
) -> None:
    """Read CheXpert's 14 labels from radiology reports, by rules that need no model."""
    from collections import Counter

    from cxrobust.radiology_reports.tables import label_reports, read_reports, write_labels

    labelled = label_reports(read_reports(reports, id_column=id_column, text_column=text_column))
    write_labels(out, labelled)
    for why, number in Counter(one.unread for one in labelled if one.unread).items():
        _warn(f"{number:,} of {len(labelled):,} reports have no label, being {why}: see the column unread")
    _say_written(out)


@app.command(epilog="Example: cxrobust score reports.csv --metrics rouge-l,f1-14-micro,words --out scores.csv")
def score(
    reports: Annotated[
        Path, typer.Argument(help="Reports: a CSV or JSON lines, with id, report and reference.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The CSV of scores to write.", show_default=False)],
    metrics: Annotated[
        str, typer.Option("--metrics", help="Names parted by commas: see cxrobust list scores.")
    ] = "bleu,rouge-l,f1-14-micro,f1-14-macro,words",
    references: Annotated[
        Path | None, typer.Option("--references", help="Another table, of the references: id and report.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help=r"A TOML file with tables \[scores.NAME], such as a study file.")
    ] = None,
    id_column: Annotated[str, typer.Option("--id", help="Column of the ids.")] = "id",
    text_column: Annotated[str, typer.Option("--text", help="Column of the reports.")] = "report",
    reference_column: Annotated[str, typer.Option("--reference", help="Column of the references.")] = "reference",
    patient: Annotated[
        str | None, typer.Option("--patient", help="Column of the patients, whom intervals draw; else reports.")
    ] = None,
) -> None:
    """Score radiology reports against reference reports, each and all together, with intervals."""
    from cxrobust.score_tables import Columns, score_table, show, write_table
    from cxrobust.study import read_scores

    table = score_table(
        reports,
        references=references,
        metrics=tuple(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip())),
        scorers={} if settings is None else read_scores(settings),
        columns=Columns(id=id_column, report=text_column, reference=reference_column, patient=patient),
    )
    write_table(out, table)
    show(table)
    _say_written(out)


@app.command(epilog="Example: cxrobust preferences study.toml --regime sft --data-root /data --out results")
def preferences(
    study: StudyFile,
    regime: Annotated[str, typer.Option("--regime", help="The regime whose reports are sampled.", show_default=False)],
    judge: Annotated[
        list[str] | None, typer.Option("--judge", help="A judge of the study, else all; may be given several times.")
    ] = None,
    data_root: DataRoot = None,
    out: Out = None,
) -> None:
    """Sample several reports of each image, judge them, and write the best against the worst as trl reads pairs."""
    from cxrobust.preferences.run import make_preferences
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    with reporting() as report:
        written = make_preferences(read, _out(study, out), regime=regime, judges=judge or (), report=report, say=_warn)
    _say_written(*written)


@app.command(epilog="Example: cxrobust bundle results --zip")
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
    _say_written(bundling.bundle(folder, target, wanted=wanted, as_zip=as_zip, say=_warn))


@app.command(epilog="Example: cxrobust reproduce bundle.zip --out again")
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
                say=_warn,
            )
    for line in verdict.lines():
        typer.echo(line)
    if not verdict.is_identical:
        raise typer.Exit(1)


@app.command(epilog="Example: cxrobust power study.toml --out results --difference 0.02 --simulate 1000")
def power(
    study: StudyFile,
    data_root: DataRoot = None,
    out: Out = None,
    difference: Annotated[
        float | None,
        typer.Option("--difference", help="Difference to detect; without it, the smallest detectable one is said."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Largest difference that does not matter, to show no more than that."),
    ] = None,
    estimand: Annotated[str | None, typer.Option("--estimand", help="Else as in the primary comparison.")] = None,
    finding: Annotated[str, typer.Option("--finding", help="A finding, macro, micro or report.")] = "macro",
    condition: Annotated[str | None, typer.Option("--condition", help="Else the primary condition.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="One metric, else each.")] = None,
    regime: Annotated[str | None, typer.Option("--regime", help="One regime, else each.")] = None,
    wanted: Annotated[float, typer.Option("--power", help="Wanted probability that the test rejects.")] = 0.8,
    alpha: Annotated[float, typer.Option("--alpha", help="Level of all comparisons together.")] = 0.05,
    comparisons: Annotated[
        int | None,
        typer.Option(
            "--comparisons", min=1, help="How many tests share alpha; else all that the results adjust together."
        ),
    ] = None,
    simulate: Annotated[
        int, typer.Option("--simulate", min=0, help="Studies to simulate for each row, as a check of the formula.")
    ] = 0,
) -> None:
    """Say how many patients a difference needs, and how small a one the analysis in OUT can detect."""
    from cxrobust import planning
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    folder = _out(study, out)
    question = planning.Question(
        difference=difference,
        margin=margin,
        power=wanted,
        alpha=alpha,
        comparisons=comparisons,
        simulations=simulate,
    )
    which = planning.Which(estimand=estimand, finding=finding, condition=condition, metric=metric, regime=regime)
    with reporting() as report:
        rows = planning.power(read, folder, which=which, question=question, report=report)
    planning.show(rows, question)
    _say_written(folder / planning.POWER)


@app.command(epilog="Example: cxrobust init my-study.toml --data mimic-cxr-jpg --model encoder-head")
def init(
    study: Annotated[Path, typer.Argument(help="The study file to write.")] = Path("study.toml"),
    data: Annotated[str, typer.Option("--data", help="Kind of the data set.")] = "nih-chestxray14",
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Family of a further model; may be given several times.")
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option("--attack", help="A further attack or corruption; may be given several times."),
    ] = None,
) -> None:
    """Write a commented study file to start from; an existing file is left alone."""
    if study.exists():
        raise StudyError(f"{study}: the file exists: choose another name, or remove it first")
    from cxrobust.inference.perturbations import entry

    text = Template(files("cxrobust.templates").joinpath("study.toml").read_text(encoding="utf-8"))
    models = "".join(_entry("models", one, "--model", "family of models") for one in dict.fromkeys(model or ()))
    wanted = dict.fromkeys(attack or ())
    attacks = "".join(map(entry, (name for name in wanted if f' = "{name}"' not in text.template)))
    data = _entry("data", data, "--data", "kind of data")
    atomic_write_text(study, text.substitute(data=data, models=models, attacks=attacks))
    _say_written(study)


def _entry(folder: str, name: str, option: str, what: str) -> str:
    """Return the table of a study file that stands in a folder of templates."""
    tables = {file.name: file for file in files("cxrobust.templates").joinpath(folder).iterdir()}
    known = sorted(file.removesuffix(".toml") for file in tables if file.endswith(".toml"))
    if name not in known:
        raise StudyError(f"{option} {name}: unknown {what}{nearest(name, known)}: known are {', '.join(known)}")
    return tables[f"{name}.toml"].read_text(encoding="utf-8")


@app.command(epilog="Example: cxrobust demo --out demo")
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints, study file and all output.")] = Path(
        "demo"
    ),
) -> None:
    """Fine-tune six regimes of a small model on phantoms, attack them and report: a few minutes on two cores."""
    from cxrobust import pipeline
    from cxrobust.demo import prepare
    from cxrobust.progress import reporting
    from cxrobust.results import ESTIMATES, RESULTS
    from cxrobust.study import read_study

    with reporting() as report:
        study = read_study(prepare(out, report=report))
        documents = pipeline.run(study, out, report_progress=report, say=_warn)
    _say_written(out / RESULTS, out / ESTIMATES, *documents)


def main() -> None:
    """Run the command line and exit with 0 done, 1 data or run, 2 usage or study file, 130 interrupted."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    wanted = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(wanted or ["--help"], prog_name="cxrobust", standalone_mode=False)
    except CxrobustError as error:
        return _fail(str(error), error.exit_code, debug)
    except UsageError as error:
        return _fail(f"{error.format_message()} (see cxrobust --help)", StudyError.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        return _fail(f"{error.filename or 'the run'}: {error.strerror or error}: {_mend(error)}", 1, debug)
    if code == INTERRUPTED:
        return _fail("interrupted; what is done is kept, and the same command goes on", INTERRUPTED, debug)
    return int(code or 0)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    typer.echo(f"cxrobust: {' '.join(message.split())}", err=True)
    return code


def _mend(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "make room and run again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "correct its permissions, or choose another place"
    return "correct the path and run again"


def _warn(message: str) -> None:
    typer.echo(f"cxrobust: {message}", err=True)


def _say_skipped(folder: Path) -> None:
    from cxrobust.predictions import INDEX, skipped_images

    if skipped := skipped_images(folder):
        image, why = next(iter(skipped.items()))
        images = "1 image" if len(skipped) == 1 else f"{len(skipped):,} images"
        _warn(f"left out of every cell: {images} ({folder / INDEX} lists them), {image}: {why}")


def _say_flaws(results: Path) -> None:
    from collections import Counter

    from cxrobust.radiology_reports.findings import told_of_flaws
    from cxrobust.results import read_results

    writing = [one for one in read_results(results).regimes if one.get("report_faults")]
    if writing:
        flaws = sum((Counter(one["report_faults"]) for one in writing), Counter[str]())
        _warn(told_of_flaws(flaws, sum(one["n_reports"] for one in writing)))


def _paper(results: "Results") -> "Paper":
    paper: Paper = results.study["report"]["paper"]
    return paper


def _out(study: Path, out: Path | None) -> Path:
    return out if out is not None else study.parent / "out"


def _say_written(*paths: Path) -> None:
    """Name what was written, the report's PDF last, where the eye falls."""
    for path in sorted(paths, key=lambda path: (path.suffix == ".pdf", path.stem == "report")):
        typer.echo(path)
