"""The folder `paper/`: numbers as in the results, words as in the report, LaTeX that a real TeX takes, hostile names."""

import csv
import html
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pypdf
import pytest

from cxrobust.conditions import parse_condition
from cxrobust.errors import DataError
from cxrobust.reports import beside, drawing
from cxrobust.reports.beside import Beside, Task
from cxrobust.reports.document import PARAGRAPH, Document, compose, section_bodies
from cxrobust.reports.figures.style import MM, ONE_COLUMN, TWO_COLUMNS, Drawing, Files
from cxrobust.reports.kept import Kept
from cxrobust.reports.manuscript import write
from cxrobust.reports.manuscript.latex import PREAMBLE, escape
from cxrobust.reports.manuscript.markup import read, to_latex
from cxrobust.reports.manuscript.numbers import macro_pairs, macro_words, macros, numbers_tex
from cxrobust.reports.manuscript.tables import csv_of
from cxrobust.reports.parts import Cell, Column, Figure, Group, Table
from cxrobust.reports.view import View
from cxrobust.results import Results, read_results, write_results

from .made import SMALL, TYPICAL, Made, results

MADE = Made(n_regimes=4, n_findings=3, n_severities=1)
HOSTILE = {
    "linear-probe": r"a_b & 50% #1 $x$ {y} ~z^2 \input{/etc/passwd} <b> `q` --",
    "lora": "αβγ Δ ε-regime 漢字",
    "adversarial": "نموذج قوي",
    "supervised": "a_b",
    "Effusion": r"\end{document} \write18{touch /tmp/x}",
}
NEEDS_TEX = pytest.mark.skipif(
    not all(map(shutil.which, ("pdflatex", "bibtex"))),
    reason="no TeX: apt-get install texlive-latex-recommended texlive-latex-extra texlive-science",
)


@cache
def typical() -> Results:
    return results(MADE)


def renamed(one: Results, names: dict[str, str], folder: Path) -> Results:
    """The same results of regimes and findings with other names."""
    write_results(one, folder / "before.json")
    text = (folder / "before.json").read_text(encoding="utf-8")
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new, ensure_ascii=False))
    (folder / "after.json").write_text(text, encoding="utf-8")
    return read_results(folder / "after.json")


def document(one: Results) -> Document:
    return compose(View.of(one, images=None))


def written(one: Results, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `paper/` of results, its figures empty files."""
    monkeypatch.setattr(beside, "_cores", lambda: 1)
    return whole(one, folder, draw=lambda figure, width: Files(telling=""))


def whole(one: Results, folder: Path, *, draw: Callable[[Drawing, float], Files] = drawing.draw_files) -> Path:
    composed = document(one)
    with Beside() as others:
        begun = {
            width: drawing.begin_drawing(composed, others, Kept(), draw=draw, width=width)
            for width in (ONE_COLUMN, TWO_COLUMNS)
        }
        return write.write_manuscript(composed, folder, begun=begun).parent


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & c", r"a\_b \& c"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("50% of $5 #1 ~ ^", r"50\% of \$5 \#1 \textasciitilde{} \textasciicircum{}"),
        ("−0.1 ≥ ε", r"\ensuremath{-}0.1 \ensuremath{\geq} \ensuremath{\varepsilon}"),
        ("one\ntwo", "one two"),
        ("--,,-", "-{}-,{},-"),
        ("Müller, Łódź", "Müller, Łódź"),
        ("سلامة", r"\cxscript{سلامة}{[U+0633 U+0644 U+0627 U+0645 U+0629]}"),
        ("\x07", "?"),
    ],
)
def test_text_as_latex(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_words_as_latex() -> None:
    html = (
        '<p>See <a class="ref" href="#x.1">Table\N{NO-BREAK SPACE}3</a><sup class=\'cite\'><a href="#ref-a">1</a>,'
        '<a href="#ref-b">2</a></sup>: <i>p</i><sub>0</sub> &lt; <b class="regime">a_b</b></p>'
    )
    expected = r"See Table~\ref{tab:x-1}\cite{a,b}: \textit{p}\textsubscript{0} \textless{} \cxregime{a\_b}"
    assert to_latex(read(html).children).strip() == expected


@pytest.mark.parametrize("html", ["<p>open", "<p>crossed<b></p></b>", "<video></video>"])
def test_markup_without_a_counterpart_is_refused(html: str) -> None:
    with pytest.raises(DataError, match="template"):
        to_latex(read(html).children)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_the_numbers_of_the_primary_table_against_the_estimates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, folder = typical(), written(typical(), tmp_path, monkeypatch)
    primary = one.primary_condition
    names = {
        "AUROC": "auroc",
        "Accuracy": "accuracy",
        "Mean confidence": "confidence",
        "ECE": "ece",
        "Brier score": "brier",
    }
    found = rows(folder / "tables" / "primary-estimates.csv")
    assert len(found) == len(names) * MADE.n_regimes
    for row in found:
        for head, estimand, condition in (
            ("Clean", "value", "clean"),
            ("Perturbed", "value", primary),
            ("Change", "perturbed-clean", primary),
            ("Difference-in-differences", "difference-in-differences", primary),
        ):
            if row[head] == "reference":
                continue
            (estimate,) = one.find(
                estimand=estimand,
                metric=names[row["Metric"]],
                regime=row["Regime"],
                condition=condition,
                finding="macro",
            )
            digits = len(row[head].partition(".")[2])
            for text, value in (
                (row[head], estimate.estimate),
                (row[f"{head}, 95% CI, low"], estimate.ci_low),
                (row[f"{head}, 95% CI, high"], estimate.ci_high),
            ):
                assert float(text) == pytest.approx(value, abs=0.5001 * 10**-digits), (row, head)


def tokens(text: str) -> Counter[str]:
    """The words and numbers of a text, however their digits are grouped and their signs are written."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", html.unescape(text).replace("−", "-").replace("\N{NO-BREAK SPACE}", " "))
    return Counter(
        word.removeprefix("+") for word in re.findall(r"[^\s,;()\"%\u200b\u2060]+", plain) if word not in {"to", "–"}
    )


def test_every_number_of_a_table_stands_in_its_csv_latex_and_html(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(typical(), tmp_path, monkeypatch)
    for path in (folder / "tables").glob("*.csv"):
        heads, *body = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        assert len(set(heads)) == len(heads), (path.name, heads)
        printed = (
            path.with_suffix(".html").read_text(encoding="utf-8").partition("</thead>")[2].partition("</table>")[0]
        )
        left_out = tokens(re.sub(r"<[^>]*>", " ", printed)) - tokens("\n".join(cell for row in body for cell in row))
        assert not left_out, (path.name, left_out)
        numbers = sorted(
            cell
            for row in csv.reader(path.read_text(encoding="utf-8").splitlines())
            for cell in row
            if re.fullmatch(r"-?\d*\.\d+", cell)
        )
        for suffix, cleaned in (
            (".tex", lambda text: re.sub(r"^.*?\\midrule|\\ensuremath\{(-)\}", r"\1", text)),
            (".html", lambda text: text.replace("−", "-")),
        ):
            text = cleaned(path.with_suffix(suffix).read_text(encoding="utf-8"))
            missing = [one for one in numbers if not re.search(rf"(?<![\d.]){re.escape(one)}(?!\d)", text)]
            assert not missing, (path.name, suffix)


def test_a_cell_that_begins_as_a_formula_is_none_in_a_csv() -> None:
    table = Table(
        key="t",
        columns=(Column(title="=Regime", left=True), Column(title="Value")),
        groups=(Group(head="=1+1", rows=((Cell(text="−0.5", under="−0.7 to −0.3"),),)),),
    )
    assert csv_of(table).splitlines() == ['\'=Regime,Value,"Value, low","Value, high"', "'=1+1,-0.5,-0.7,-0.3"]


def test_what_stands_in_brackets_or_in_a_second_line_has_a_column_and_its_unit_in_the_head() -> None:
    table = Table(
        key="t",
        columns=(
            Column(title="Regime"),
            Column(title="Detectable", under="SE"),
            Column(title="Longer", under="more harm", within="result"),
            Column(title="Flipped", under="n (share; 95% CI)"),
            Column(title="Move", under="(of half-width)", within="metric"),
            Column(title="Patients", under="n (%)"),
            Column(title="Clean", under="95% CI"),
            Column(title="95% CI"),
            Column(title="Value"),
            Column(title="Missing", under="images"),
        ),
        groups=(
            Group(
                head="a",
                rows=(
                    (
                        Cell(text="0.006", under="0.0021"), Cell(text="0.2%", under="pass"),
                        Cell(text="1,425 (74.6%; 69.5%\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}79.1%)"),
                        Cell(text="0.032 (0.65)", under="F1 score"), Cell(text="2 (1 to 184)"),
                        Cell(text="not estimable", under="one label only"), Cell(text="−0.1 to 0.2"),
                        Cell(text="2%"), Cell(text="0"),
                    ),
                    (
                        Cell(text="0.010", under="0.0030"), Cell(text="–"), Cell(text="3 (<0.1%)"), Cell(text="–"),
                        Cell(text="860 (13.9)"), Cell(text="0.8", under="0.7 to 0.9"), Cell(text=""),
                        Cell(text="2"), Cell(text=""),
                    ),
                ),
            ),
        ),
    )  # fmt: skip
    first, second = csv.DictReader(io.StringIO(csv_of(table)))
    assert first == {
        "Regime": "a", "Detectable": "0.006", "Detectable, SE": "0.0021",
        "Longer, more harm (%)": "0.2", "Longer, result": "pass",
        "Flipped, n": "1425", "Flipped, share (%)": "74.6", "Flipped, 95% CI, low (%)": "69.5",
        "Flipped, 95% CI, high (%)": "79.1", "Move": "0.032", "Move, of half-width": "0.65", "Move, metric": "F1 score",
        "Patients": "2", "Patients, in brackets, low": "1", "Patients, in brackets, high": "184", "Patients, %": "",
        "Clean": "not estimable", "Clean, note": "one label only", "Clean, 95% CI, low": "", "Clean, 95% CI, high": "",
        "95% CI, low": "-0.1", "95% CI, high": "0.2", "Value": "2%", "Missing, images": "0",
    }  # fmt: skip
    assert (second["Longer, more harm (%)"], second["Longer, result"], second["Value"]) == ("–", "", "2")
    assert (second["Flipped, share (%)"], second["Flipped, 95% CI, low (%)"]) == ("<0.1%", "")
    assert (second["Patients"], second["Patients, %"], second["Clean, 95% CI, high"]) == ("860", "13.9", "0.9")


def test_macros_are_letters_and_unique_and_hold_the_estimates(tmp_path: Path) -> None:
    one = renamed(typical(), HOSTILE, tmp_path)
    view = View.of(one, images=None)
    found = list(macros(view))
    names = [macro.name for macro in found]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[A-Za-z]+", name) for name in names)
    plain = {macro.name: macro.printed for macro in macros(View.of(typical(), images=None))}
    change = typical().find(
        estimand="difference-in-differences", metric="auroc", regime="lora", finding="macro",
        condition=typical().primary_condition,
    )[0]  # fmt: skip
    assert plain["cxAurocLoraDid"] == rf"\ensuremath{{{change.estimate:+.3f}}}"
    assert plain["cxAurocLoraDidLow"] == rf"\ensuremath{{{change.ci_low:.3f}}}"


def test_a_study_of_one_regime_has_macros_of_its_changes() -> None:
    made = results(Made(n_regimes=1, n_findings=2, n_severities=0))
    view = View.of(made, images=None)
    found = {one.name: one.printed for one in macros(view)}
    change = view.change("auroc", "supervised", view.primary or "")
    assert change is not None
    assert change.estimate is not None
    assert found["cxAurocSupervisedChange"] == rf"\ensuremath{{{change.estimate:+.3f}}}"
    assert {"cxAurocSupervisedChangeLow", "cxAurocSupervisedChangeP"} <= found.keys()


def test_an_id_with_zeros_before_it_keeps_them_in_a_csv() -> None:
    table = Table(
        key="ids",
        columns=(Column(title="Image", left=True), Column(title="Images")),
        groups=(Group(head="00012", rows=((Cell(text="0.50"),),)), Group(head="7", rows=((Cell(text="0"),),))),
    )
    assert csv_of(table).splitlines() == ["Image,Images", "00012,0.50", "7,0"]


def test_names_that_look_alike_get_macros_that_do_not() -> None:
    found = macro_words(("a-b", "a_b", "A B", "α", "β", "v2", "v-2"), instead="Regime")
    assert list(found.values()) == ["AB", "ABB", "ABC", "Regime", "RegimeB", "VTwo", "VTwoB"]


def test_metrics_and_regimes_that_are_alike_when_joined_get_macros_that_are_not() -> None:
    metrics, regimes = ("ece", "ece-smooth", "ECE smooth"), ("x", "smooth-x", "smooth_x", "smooth-smooth-x", "x-b")
    found = macro_pairs(metrics, regimes)
    assert list(found) == [(metric, regime) for metric in metrics for regime in regimes]
    assert len(set(found.values())) == len(metrics) * len(regimes)
    assert (found["ece", "smooth-x"], found["ece-smooth", "x"]) == ("EceSmoothX", "EceSmoothXC")


def test_no_macro_is_defined_twice_where_joined_names_are_alike(tmp_path: Path) -> None:
    names = {"accuracy": "auroc-smooth", "supervised": "x", "linear-probe": "smooth-x"}
    defined = re.findall(
        r"\\newcommand\{(\\\w+)\}", numbers_tex(View.of(renamed(typical(), names, tmp_path), images=None))
    )
    assert r"\cxAurocSmoothXPerturbed" in defined
    assert r"\cxAurocSmoothXBPerturbed" in defined
    assert len(set(defined)) == len(defined)


@pytest.mark.parametrize(("paper", "option"), [("A4", "a4paper"), ("Letter", "letterpaper")])
def test_the_example_has_the_paper_of_the_study(
    paper: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = results(Made(n_regimes=1, n_findings=2, n_severities=0))
    study = {**one.study, "report": {**one.study["report"], "paper": paper}}
    text = (written(replace(one, study=study), tmp_path, monkeypatch) / "paper.tex").read_text(encoding="utf-8")
    assert rf"\documentclass[9pt,twocolumn,{option}]{{extarticle}}" in text


def test_the_methods_and_captions_say_what_the_report_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(typical(), tmp_path, monkeypatch)
    bodies, _ = section_bodies(document(typical()))
    methods = (folder / "supplement.tex").read_text(encoding="utf-8")
    for paragraph in (one for one in read(bodies["methods"]).elements if one.tag == "p"):
        words = re.findall(r"[a-z]{4,}", paragraph.text)
        assert [word for word in words if word not in methods] == []
    both = methods + (folder / "methods.tex").read_text(encoding="utf-8")
    cited = {key for keys in re.findall(r"\\cite\{([^}]+)\}", both) for key in keys.split(",")}
    bib = (folder / "references.bib").read_text(encoding="utf-8")
    assert set(re.findall(r"@\w+\{(\w+),", bib)) == cited
    assert "data" in cited
    headings = re.findall(r"\\paragraph\{([^}]*)\.\}", methods)
    assert headings[:4] == ["Design of the study", "Estimands and metrics", "Metrics", "Intervals"]
    bodies["registration"] = "<p>The plan was kept.</p>"
    with_plan = write._methods({name: read(body) for name, body in bodies.items()})
    assert "\\paragraph{Deviations from the registered plan.}\nThe plan was kept." in with_plan
    captions = (folder / "captions.tex").read_text(encoding="utf-8")
    assert r"\textbf{Performance against the strength of the perturbation.}" in captions
    assert "Figure 1" not in captions


def test_the_methods_are_one_paragraph_of_what_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (written(typical(), tmp_path, monkeypatch) / "methods.tex").read_text(encoding="utf-8")
    body = text.removeprefix("\n".join(PREAMBLE)).strip()
    assert "\n\n" not in body
    perturbations = re.search(r"(Attacks were|The attack was) .*?is in pixels of \[0, 1\]\.", body)
    assert perturbations is not None
    assert 80 < len(body.replace(perturbations[0], "").split()) < 200
    assert body.replace("{,}", ",").startswith("The 22,433 images of ")
    assert "22,433 images" in text.replace("{,}", ",").replace("~", " ")
    assert r"\cite{data}" in text
    assert "10,000 resamples of patients" in text.replace("{,}", ",").replace("~", " ")
    assert "sign-flip permutation test by patient, two-sided" in text


def attacked(*more: str, **parameters: str) -> Results:
    """A study with further attacks in place of its noise, and with parameters, as defaults, of every attack."""
    one = results(replace(TYPICAL, n_regimes=2, n_findings=2, one_class=False, few=False))
    kept = [c for c in one.conditions if c["kind"] != "noise"]
    of_all = {key: {"value": value, "given": False} for key, value in parameters.items()}
    added = [
        {**kept[1], "name": name, "series": parse_condition(name).series, "strength": parse_condition(name).strength}
        for name in more
    ]
    return replace(
        one,
        conditions=tuple({**c, "parameters": of_all} if c["kind"] == "attack" else c for c in [*kept, *added]),
        estimates=tuple(e for e in one.estimates if "noise(eps" not in (e.condition or "")),
        flips=(),
        confidence=(),
    )


def paragraph_of(one: Results) -> tuple[str, list[str]]:
    """The methods in one paragraph, without marks of citations, and the works that it cites."""
    body = section_bodies(document(one))[0][PARAGRAPH]
    cited = re.findall(r"#ref-(\w+)", body)
    return " ".join(re.sub(r"<sup.*?</sup>|<[^>]+>", "", body).replace("\N{NO-BREAK SPACE}", " ").split()), cited


def test_the_paragraph_names_every_attack_and_corruption_with_parameters_and_works() -> None:
    text, cited = paragraph_of(attacked("square(eps=2/255, queries=100)", "fgsm(eps=1/255)", restarts="3"))
    done = "what pgd does to an image, with every parameter; restarts = 3"
    assert (
        f"Attacks were PGD, 20 steps (ε × 255 = 0.5, 1, 2, 4; {done}); Square attack, queries = 100 "
        f"(ε × 255 = 2; {done}); and FGSM (ε × 255 = 1; {done}); PGD and FGSM by torchattacks."
    ) in text
    assert "Corruptions were Gaussian noise (severity 1; what gaussian-noise does to an image" in text
    assert "The control" not in text
    assert {"madry2018", "andriushchenko2020", "goodfellow2015", "kim2020", "hendrycks2019"} <= set(cited)


def test_the_paragraph_of_one_attack_of_a_library_and_of_none() -> None:
    one = attacked()
    text, cited = paragraph_of(one)
    assert "The attack was PGD, 20 steps (ε × 255 = 0.5, 1, 2, 4; what pgd does" in text
    assert ", by torchattacks. Corruptions" in text
    assert "kim2020" in cited
    text, cited = paragraph_of(results(replace(SMALL, n_regimes=2)))
    assert "ttack" not in text
    assert not {"kim2020", "hendrycks2019"} & set(cited)
    text, _ = paragraph_of(results(TYPICAL))
    assert "The control was random noise (ε × 255 = 0.5, 1, 2, 4; what noise does to an image" in text


def test_strengths_that_a_corruption_tells_of_itself_are_not_said_twice() -> None:
    one = results(Made(n_regimes=2, n_findings=2, n_severities=5, one_class=False, few=False))
    told = "JPEG at quality 75, 50, 30, 15, 7 at severities 1 to 5"
    text, _ = paragraph_of(
        replace(one, conditions=tuple({**c, "description": told} if "jpeg" in c["name"] else c for c in one.conditions))
    )
    assert f"JPEG compression ({told})" in text
    assert "contrast (severity 1 to 5; what contrast does" in text


def test_files_of_an_earlier_run_go_and_those_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(typical(), tmp_path, monkeypatch)
    (folder / "tables" / "mine.tex").write_text("mine")
    assert (folder / "tables" / "conditions-auroc-1.csv").exists()
    written(results(SMALL), tmp_path, monkeypatch)
    assert not (folder / "tables" / "conditions-auroc-1.csv").exists()
    assert (folder / "tables" / "mine.tex").read_text() == "mine"


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_worker_draws_what_this_process_draws(is_copied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (figure,) = (item for item in document(typical()).items if item.key == "curves" and isinstance(item, Figure))
    expected = [drawing.draw_files(figure.drawing, width) for width in (ONE_COLUMN, TWO_COLUMNS)]
    monkeypatch.setattr(beside, "_cores", lambda: 2)
    monkeypatch.setattr(beside, "_may_copy", lambda: is_copied)
    with Beside(shared=figure.drawing.arguments) as others:
        begun = [others.begin(drawing.draw_files, figure.drawing, width) for width in (ONE_COLUMN, TWO_COLUMNS)]
        assert [_waited_for(task) for task in begun] == expected


def _waited_for(task: Task[Files]) -> Files:
    """What a worker, and not this process, returns."""
    assert task._future is not None
    return task._future.result(timeout=120)


def test_figures_are_written_at_both_widths(tmp_path: Path) -> None:
    one = replace(typical(), reliability=())
    folder = whole(one, tmp_path)
    for width in (ONE_COLUMN, TWO_COLUMNS):
        pdf = pypdf.PdfReader(folder / "figures" / f"curves-{width:g}mm.pdf").pages[0]
        assert float(pdf.mediabox.width) == pytest.approx(width * MM * 72, abs=0.1)
        assert "Discrimination" in pdf.extract_text()
        svg = (folder / "figures" / f"curves-{width:g}mm.svg").read_text(encoding="utf-8")
        assert svg.startswith("<?xml")
        assert ">supervised</text>" in svg


def compiled(folder: Path) -> Iterator[str]:
    """Logs of each run of LaTeX."""
    for command in (["pdflatex"], ["bibtex"], ["pdflatex"], ["pdflatex"]):
        options = [] if command == ["bibtex"] else ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
        done = subprocess.run([*command, *options, "paper"], cwd=folder, capture_output=True, check=False, timeout=240)
        log = done.stdout.decode("utf-8", errors="replace")
        assert done.returncode == 0, log[-3000:]
        yield log


def text_of(path: Path) -> str:
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pypdf.PdfReader(path).pages))


@NEEDS_TEX
def test_the_example_compiles_with_nothing_too_wide_and_nothing_undefined(tmp_path: Path) -> None:
    folder = whole(typical(), tmp_path)
    *_, last = compiled(folder)
    assert [one for one in re.findall(r"Overfull \\hbox \(([\d.]+)pt", last) if float(one) > 2] == []
    assert not re.findall(r"undefined|multiply", last)
    text = text_of(folder / "paper.pdf")
    numbered = [int(n) for n in re.findall(r"Table (\d+): ", text)]
    assert numbered == list(range(1, len(numbered) + 1))
    assert len(numbered) > 10
    assert (
        text.index("References") > text.index(f"Table {numbered[-1]}: ") > text.index("Supplement: methods in detail")
    )
    change = typical().find(estimand="value", metric="auroc", regime="lora", condition="clean", finding="macro")[0]
    assert f"{change.estimate:.3f}" in text
    assert "DeLong" in text


def by_two_tests() -> Results:
    """Results whose accuracy is tested otherwise than its other metrics."""
    one = typical()
    estimates = tuple(
        replace(e, test="mcnemar-clustered") if e.test and e.metric == "accuracy" else e for e in one.estimates
    )
    return replace(one, estimates=estimates)


def test_p_values_of_two_tests_carry_the_letters_that_the_notes_explain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(by_two_tests(), tmp_path, monkeypatch) / "tables"
    found = rows(folder / "primary-estimates.csv")
    tested = [row for row in found if row["Adjusted p"] not in {"", "–"}]
    assert len(tested) == len({row["Metric"] for row in found}) * (MADE.n_regimes - 1)
    assert {row["Metric"]: row["Adjusted p, footnote"] for row in tested} == {
        "AUROC": "c", "Accuracy": "b", "Mean confidence": "c", "ECE": "c", "Brier score": "c",
    }  # fmt: skip
    assert {row["Adjusted p, footnote"] for row in found if row not in tested} == {""}
    text = (folder / "primary-estimates.tex").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.search(r"\\textsuperscript\{[bc]\} *\\\\", line)]
    assert len(lines) == len(tested)
    assert sum(r"\textsuperscript{b}" in line for line in lines) == MADE.n_regimes - 1
    assert r"\textsuperscript{b}" in text[text.index(r"\end{tabular}") :]


@NEEDS_TEX
def test_letters_of_footnotes_leave_numbers_in_line(tmp_path: Path) -> None:
    folder = whole(by_two_tests(), tmp_path)
    example = folder / "paper.tex"
    packages, _, _ = example.read_text(encoding="utf-8").partition(r"\begin{document}")
    body = rf"{packages}\begin{{document}}\input{{tables/primary-estimates}}\end{{document}}"
    example.write_text(body, encoding="utf-8")
    options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(["pdflatex", *options, "paper"], cwd=folder, capture_output=True, check=False, timeout=240)
    log = done.stdout.decode("utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert [one for one in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(one) > 2] == []
    tested = [row for row in rows(folder / "tables" / "primary-estimates.csv") if row["Adjusted p, footnote"]]
    printed = re.findall(r"[\d<>.]+[bc] (?=\S)", text_of(folder / "paper.pdf"))
    assert sorted(one.strip() for one in printed) == sorted(
        row["Adjusted p"] + row["Adjusted p, footnote"] for row in tested
    )


@NEEDS_TEX
def test_hostile_names_compile_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = renamed(typical(), HOSTILE, tmp_path)
    study = {
        **one.study,
        "study": {
            **one.study["study"],
            "title": r"A & B_1 \input{x} 100% {{ x }}",
            "authors": [r"Ö & \input{x}", "B_2"],
        },
    }
    folder = written(replace(one, study=study), tmp_path, monkeypatch)
    example = folder / "paper.tex"
    text = example.read_text(encoding="utf-8")
    example.write_text(re.sub(r"\\includegraphics\{[^}]*\}", "", text), encoding="utf-8")
    *_, _ = compiled(folder)
    text = text_of(folder / "paper.pdf")
    assert r"A & B_1 \input{x} 100% {{ x }}" in text
    assert r"Ö & \input{x}" in text
    assert "B_2" in text
    assert r"\input{/etc/passwd}" in text
    assert r"\write18" in text
    assert "U+0646" in text
