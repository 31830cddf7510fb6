"""Commands on a study file: from an empty one to its estimates."""

from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from cxrobust.cli.app import DataRoot, Out, StudyFile, app, out_folder, say_written, spare, warn
from cxrobust.cli.starting import data_table, preferences_table, regime_table
from cxrobust.errors import StudyError, counted, some
from cxrobust.files import atomic_write_text

STUDIES = "A study, from its file to its estimates"


@app.command(epilog="Example: cxrobust demo --out demo", rich_help_panel=STUDIES)
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints, study file and all output.")] = Path(
        "demo"
    ),
) -> None:
    """Fine-tune six regimes of a small model on phantoms, attack them and report: a few minutes on two cores."""
    from cxrobust.demo import prepare, run_all
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    with reporting() as report:
        study = read_study(prepare(out, report=report))
        written = run_all(study, report=report, say=warn)
    say_written(*written)


@app.command(
    epilog="Example: cxrobust init my-study.toml --data mimic-cxr-jpg --model encoder-head", rich_help_panel=STUDIES
)
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
    preferences: Annotated[
        bool, typer.Option("--preferences", help="With a table for cxrobust preferences, of a generator's reports.")
    ] = False,
) -> None:
    """Write a commented study file to start from; an existing file is left alone."""
    if study.exists():
        raise StudyError(f"{study}: the file exists: choose another name, or remove it first")
    from cxrobust.inference.datasets import dataset
    from cxrobust.inference.models import model_family
    from cxrobust.inference.perturbations import entry

    text = Template(files("cxrobust.templates").joinpath("study.toml").read_text(encoding="utf-8"))
    table = data_table(data)
    families = dict.fromkeys(model or ())
    models = "".join(regime_table(family, kind=data) for family in families)
    of_reports = any(model_family[family].writes_reports for family in families)
    wanted = [name for name in dict.fromkeys(attack or ()) if f' = "{name}"' not in text.template]
    attacks = "".join(entry(name, of_reports=of_reports) for name in wanted)
    written = text.substitute(data=table, models=models, attacks=attacks, finding=dataset[data].example.finding)
    atomic_write_text(study, f"{written}{preferences_table(data) if preferences else ''}")
    say_written(study)


@app.command(epilog="Example: cxrobust check study.toml --data-root /data", rich_help_panel=STUDIES)
def check(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Validate all that can be known beforehand, and say how large the study is and how long it will take."""
    from cxrobust import checks
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    with reporting() as report:
        found = checks.check(read, out_folder(study, out), report=report)
    checks.show(found)


@app.command(epilog="Example: cxrobust register study.toml --data-root /data", rich_help_panel=STUDIES)
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
        warn(f"the files of {whose} could not be read yet: their hashes are not registered")
    if path.resolve() != place_of(read).resolve():
        warn(f"add registration = ... to [study], which would else look for {place_of(read)}")
    typer.echo(f"{made.date}  SHA-256 {made.sha256}")
    say_written(path)


@app.command(epilog="Example: cxrobust run study.toml --data-root /data --out results", rich_help_panel=STUDIES)
def run(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Do all: predict, analyze, report."""
    from cxrobust import pipeline
    from cxrobust.progress import reporting
    from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    folder = out_folder(study, out)
    with reporting() as report:
        documents = pipeline.run(read, folder, report_progress=report, say=warn)
    _say_skipped(folder / PREDICTIONS, folder)
    _say_notes(folder / PREDICTIONS)
    _say_faults(folder / RESULTS)
    say_written(folder / RESULTS, folder / ESTIMATES, *documents)


@app.command(epilog="Example: cxrobust predict study.toml --data-root /data --out results", rich_help_panel=STUDIES)
def predict(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Make clean and perturbed predictions; goes on where a killed run stopped."""
    from cxrobust import pipeline
    from cxrobust.progress import reporting
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    with reporting() as report:
        folder = pipeline.predict(read, out_folder(study, out), report=report)
    _say_skipped(folder, folder.parent)
    _say_notes(folder)
    say_written(folder)


@app.command(epilog="Example: cxrobust analyze study.toml --out results", rich_help_panel=STUDIES)
def analyze(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Turn the predictions in OUT into estimates: results.json and estimates.csv."""
    from cxrobust import pipeline
    from cxrobust.progress import reporting
    from cxrobust.results import ESTIMATES, RESULTS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    folder = out_folder(study, out)
    with reporting() as report:
        pipeline.analyze(read, folder, report=report)
    say_written(folder / RESULTS, folder / ESTIMATES)


@app.command(epilog="Example: cxrobust status study.toml --out results", rich_help_panel=STUDIES)
def status(study: StudyFile, data_root: DataRoot = None, out: Out = None) -> None:
    """Say which units of predictions, and of sampled reports, are done, running, failed (with the error) and left."""
    from cxrobust.inference import engine, ledger
    from cxrobust.preferences.sampling import begun_in, changed_keys
    from cxrobust.results import PREDICTIONS
    from cxrobust.study import read_study

    read = read_study(study, data_root=data_root)
    folder = out_folder(study, out)
    sampled = begun_in(folder)
    if (folder / PREDICTIONS / ledger.UNITS).exists() or not sampled:
        found = ledger.read_ledger(folder / PREDICTIONS)
        ledger.show(found, changed=engine.changed_settings(read, found.made_for))
    for one in sampled:
        found = ledger.read_ledger(one)
        typer.echo(f"\nReports sampled for cxrobust preferences, {one.parent}:")
        ledger.show(found, changed=changed_keys(read, found.made_for))


@app.command(
    rich_help_panel=STUDIES,
    epilog='Example: cxrobust perturb study.toml --image 00000001_000.png --condition "noise(eps=1/255)" --regime lora',
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
    replicate: Annotated[
        int | None, typer.Option("--replicate", help="Which training run of the regime; the first without it.")
    ] = None,
    finding: Annotated[
        str | None,
        typer.Option("--finding", help="The finding that is read from the image, where each has one of its own."),
    ] = None,
    data_root: DataRoot = None,
    out: Out = None,
    to: Annotated[Path, typer.Option("--to", help="The file to write: .npy (exact) or .png (16 bits).")] = Path(
        "perturbed.png"
    ),
) -> None:
    """Make one image's perturbation again, as the model saw it."""
    from cxrobust.inference.datasets import files_of
    from cxrobust.inference.one_image import check_written, perturbed_image, write_image
    from cxrobust.inference.units import plan
    from cxrobust.progress import reporting
    from cxrobust.results import PREDICTIONS
    from cxrobust.study import read_study

    check_written(to)
    read = read_study(study, data_root=data_root)
    with reporting() as report:
        planned = plan(read, out_folder(study, out) / PREDICTIONS, report=report)
        spare(to, study, *(file for part in planned.parts for file in files_of(part.table)))
        pixels = perturbed_image(
            planned, image=image, condition=condition, regime=regime, replicate=replicate, finding=finding
        )
    write_image(pixels, to)
    say_written(to)


@app.command(
    epilog="Example: cxrobust power study.toml --out results --difference 0.02 --simulate 1000", rich_help_panel=STUDIES
)
def power(
    study: StudyFile,
    data_root: DataRoot = None,
    out: Out = None,
    difference: Annotated[
        float | None,
        typer.Option("--difference", help="Difference to detect; else each metric is planned for as it is tested."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", help="Largest difference that does not matter, to show no more than that; else the study's."
        ),
    ] = None,
    estimand: Annotated[str | None, typer.Option("--estimand", help="Else as in the primary comparison.")] = None,
    finding: Annotated[str, typer.Option("--finding", help="A finding, macro, micro or report.")] = "macro",
    condition: Annotated[str | None, typer.Option("--condition", help="Else the primary condition.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="One metric, else each.")] = None,
    regime: Annotated[str | None, typer.Option("--regime", help="One regime, else each.")] = None,
    wanted: Annotated[float, typer.Option("--power", help="Wanted probability that the test rejects.")] = 0.8,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="Level of all comparisons together; else 1 − the study's level."),
    ] = None,
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
    folder = out_folder(study, out)
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
    planning.show(rows, question, read)
    say_written(folder / planning.POWER)


@app.command("list", epilog="Example: cxrobust list attacks", rich_help_panel=STUDIES)
def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            help="datasets, models, attacks, corruptions, metrics, scores (of reports) or judges.", show_default=False
        ),
    ],
) -> None:
    """List the names that a study file may use, with a line on each."""
    from cxrobust import listing

    listing.show(listing.listed(kind))


def _say_faults(results: Path) -> None:
    from collections import Counter

    from cxrobust.radiology_reports.findings import REFERENCES, told_of_faults
    from cxrobust.results import read_results

    read = read_results(results)
    faulty = {one["name"]: None for one in read.regimes if one.get("report_faults")}
    if faulty:
        faults = sum((Counter(one.get("report_faults", {})) for one in read.regimes), Counter[str]())
        n_reports = sum(one.get("n_reports", 0) for one in read.regimes)
        warn(f"{told_of_faults(faults, n_reports)} (from {some(map(repr, faulty), most=8)})")
    references = read.data.get("references") or {}
    if references.get("faults"):
        warn(told_of_faults(references["faults"], read.data["n_images"], of=REFERENCES))


def _say_skipped(predictions: Path, out: Path) -> None:
    from cxrobust.left_out import LEFT_OUT, named
    from cxrobust.predictions import skipped_images

    if skipped := skipped_images(predictions):
        images = counted(len(skipped), "image")
        warn(f"left out of every cell: {images} ({out / LEFT_OUT} lists them all): {named(skipped)}")


def _say_notes(predictions: Path) -> None:
    from cxrobust.predictions import notes_on_labels

    for note in notes_on_labels(predictions):
        warn(note)
