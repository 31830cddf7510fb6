"""Commands on radiology reports: their labels, their scores, and preferences among them."""

from pathlib import Path
from typing import Annotated

import typer

from cxrobust.cli.app import DataRoot, Out, StudyFile, app, out_folder, say_written, spare, warn
from cxrobust.errors import StudyError, counted, some

TEXTS = "Radiology reports as texts"


@app.command(epilog="Example: cxrobust label reports.csv --out labels.csv", rich_help_panel=TEXTS)
def label(
    reports: Annotated[
        Path, typer.Argument(help="Reports: a CSV or JSON lines, with an id and a text.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The CSV of labels to write.", show_default=False)],
    id_column: Annotated[str, typer.Option("--id", help="Column of the ids.")] = "id",
    text_column: Annotated[str, typer.Option("--text", help="Column of the texts.")] = "report",
    chexbert: Annotated[
        Path | None, typer.Option("--chexbert", help="CheXbert's checkpoint, chexbert.pth, to read by; else by rules.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="With --chexbert: a folder with bert-base-uncased's vocab.txt.")
    ] = None,
) -> None:
    """Read CheXpert's 14 labels from radiology reports, by rules that need no model, or by CheXbert."""
    from collections import Counter

    from cxrobust.radiology_reports.tables import label_reports, read_reports, write_labels

    spare(out, reports, chexbert)
    if (chexbert is None) != (tokenizer is None):
        raise StudyError("--chexbert and --tokenizer belong together: give both, or neither to read by rules")
    read = read_reports(reports, id_column=id_column, text_column=text_column)
    if chexbert is None or tokenizer is None:
        labelled = label_reports(read)
    else:
        from cxrobust.inference.runtime import choose_device, naming_a_mismatch
        from cxrobust.radiology_reports.chexbert import Chexbert

        with naming_a_mismatch():
            network = Chexbert(chexbert, tokenizer, device=choose_device("auto"))
        labelled = label_reports(read, network.label)
        if cut := [one.report.id for one in labelled if one.unread is None and network.is_cut(one.report.text)]:
            long = f"{counted(len(cut), 'report')} beyond {network.longest:,} tokens ({some(cut)})"
            warn(f"{long}: CheXbert reads no further")
    write_labels(out, labelled)
    for why, number in Counter(one.unread for one in labelled if one.unread).items():
        warn(f"{number:,} of {len(labelled):,} reports have no label, being {why}: see the column unread")
    say_written(out)


@app.command(
    epilog="Example: cxrobust score reports.csv --metrics rouge-l,f1-14-micro,words --out scores.csv",
    rich_help_panel=TEXTS,
)
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

    spare(out, reports, references, settings)
    asked = (name.strip() for name in metrics.split(",") if name.strip())
    table = score_table(
        reports,
        references=references,
        metrics=tuple(dict.fromkeys((*asked, "words"))),  # length is told beside every score
        scorers={} if settings is None else read_scores(settings),
        columns=Columns(id=id_column, report=text_column, reference=reference_column, patient=patient),
    )
    if table.strays:
        warn(f"{references}: {counted(len(table.strays), 'reference')} of no report: {some(table.strays)}")
    write_table(out, table)
    show(table)
    say_written(out)


@app.command(
    epilog="Example: cxrobust preferences study.toml --regime sft --data-root /data --out results",
    rich_help_panel=TEXTS,
)
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
        written = make_preferences(
            read, out_folder(study, out), regime=regime, judges=judge or (), report=report, say=warn
        )
    say_written(*written)
