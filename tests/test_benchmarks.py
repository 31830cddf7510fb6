"""The benchmarks' parts that are no timing: the page of their results, what is absent, and slopes."""

import importlib
import importlib.util
import json
import math
import re
import sys
import tarfile
from dataclasses import replace
from importlib.metadata import packages_distributions
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from cxrobust.radiology_reports.labeler import Label
from cxrobust.radiology_reports.scores import scorer
from tests.inference.tiny import unit_files

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """A script of the benchmarks, as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(request.param)


tables = pytest.mark.parametrize("benchmark", ["tables"], indirect=True)
engine_tables = pytest.mark.parametrize("benchmark", ["tables_of.engine"], indirect=True)
attack_tables = pytest.mark.parametrize("benchmark", ["tables_of.attacks"], indirect=True)
peers = pytest.mark.parametrize("benchmark", ["peers"], indirect=True)
attacks = pytest.mark.parametrize("benchmark", ["peers_attacks"], indirect=True)
scaling = pytest.mark.parametrize("benchmark", ["scaling"], indirect=True)
kills = pytest.mark.parametrize("benchmark", ["kills"], indirect=True)
swaps = pytest.mark.parametrize("benchmark", ["swaps"], indirect=True)
of_reports = pytest.mark.parametrize("benchmark", ["labeler", "scores"], indirect=True)
labeler = pytest.mark.parametrize("benchmark", ["labeler"], indirect=True)
scores = pytest.mark.parametrize("benchmark", ["scores"], indirect=True)


@tables
def test_the_performance_page_says_what_the_results_say(benchmark):
    page = "".join(one.read_text(encoding="utf-8") for one in benchmark.PAGES)
    assert benchmark.fill(page, benchmark.read_results(benchmark.RESULTS)) == page


@tables
def test_every_table_has_its_place_on_the_page(benchmark):
    page = "".join(one.read_text(encoding="utf-8") for one in benchmark.PAGES)
    assert [match["name"] for match in benchmark.MARKED.finditer(page)] == list(benchmark.TABLES)


def test_no_benchmark_has_the_name_of_a_module_that_others_import():
    names = {one.stem for one in BENCHMARKS.iterdir() if one.suffix == ".py" or one.is_dir()}
    imported_where_it_is_there = {"coverage"}  # by numba, which a folder of this name would break where it is not
    assert not names & (set(sys.stdlib_module_names) | set(packages_distributions()) | imported_where_it_is_there)


MADE_WITH = {"versions": {"numpy": "2.1"}, "python": "3.11", "system": "Linux x86_64", "processor": "A, 2 cores"}


@tables
def test_fill_against_a_page_written_by_hand(benchmark):
    page = "Before.\n\n<!-- scaling: from benchmarks/results -->\nold\n<!-- end -->\n\nAfter.\n"
    exponents = [{"metric": "auroc", "axis": "images", "whole": 0.904, "last_decade": 1.0}]
    filled = benchmark.fill(page, {"scaling": {"exponents": exponents, "made_with": MADE_WITH}})
    begin, end = filled.index("| metric"), filled.index("\n\n<!-- end")
    assert filled[begin:end] == (
        "| metric | size | over three decades | over the last |\n| --- | --- | --- | --- |\n"
        "| `auroc` | images | 0.90 | 1.00 |\n\n"
        "Measured on A, 2 cores, Linux x86_64, with Python 3.11, numpy 2.1."
    )
    assert filled.startswith("Before.")
    assert filled.endswith("\n\nAfter.\n")
    assert benchmark.fill(filled, {"scaling": {"exponents": exponents, "made_with": MADE_WITH}}) == filled


@tables
def test_what_was_not_measured_is_said(benchmark):
    page = "<!-- million: from benchmarks/results -->\n<!-- end -->"
    assert benchmark.ABSENT in benchmark.fill(page, {})


@tables
def test_a_marker_without_a_table_is_refused(benchmark):
    with pytest.raises(ValueError, match="marker 'milion' names no table"):
        benchmark.fill("<!-- milion: from benchmarks/results -->\n<!-- end -->", {})


@peers
def test_an_absent_package_is_named(benchmark):
    with pytest.raises(benchmark.AbsentError, match="no_such_package is not installed"):
        benchmark.package("no_such_package")


@peers
def test_intervals_of_patients_with_one_image_each_are_alike(benchmark):
    """Resampling patients by scipy, and ours, draw from the same distribution."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40).astype(np.int8)
    p = 1 / (1 + np.exp(-(y + rng.normal(size=80))))
    cell = benchmark.Cell(
        labels=y, probabilities=p, patients=np.arange(80, dtype=np.int32), n_patients=80, threshold=0.5, clean=p,
        weaker=(),
    )  # fmt: skip
    ours, scipy = benchmark.ours([cell], 512)[0], benchmark.scipy_patients()([cell], 512)[0]
    sd = (ours.high - ours.low) / 4
    assert (scipy.low, scipy.high) == (pytest.approx(ours.low, abs=sd / 2), pytest.approx(ours.high, abs=sd / 2))


@engine_tables
def test_the_cost_of_a_grid_on_mimic_against_hand_arithmetic(benchmark):
    """2 s and 1 s of a gradient and a pass: FGSM's turn is 2 + 2 x 1, PGD's of 4 steps 4 x 2 + 2 x 1."""
    turns = [[{"engine": 10 * one, "engine_cpu": 10 * one}] for one in (4.0, 10.0)]
    result = {
        "network": "N", "device": "CPU", "threads": 1, "images": 10, "size": 1, "batch": 1, "steps": 4,
        "attacks": [{"attack": name, "turns": one} for name, one in zip(("fgsm", "pgd"), turns, strict=True)],
        "made_with": {"cores": 1},
    }  # fmt: skip
    said, table, _ = benchmark.whole_mimic(result)
    assert "(10.000 − 4.000) / 3 = 2.000, and a pass forward 1.000" in said
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert [row[1] for row in rows] == ["1.0", "0.3", "0.1", "0.0"]
    hours = [round(10 * 377_110 * (1 + 49 * (1 + 2 * k)) / 3600) for k in (0, 1, 4, 20)]
    assert [row[2] for row in rows] == [f"{one:,}" for one in hours]
    assert rows[0][3] == f"{hours[0] / 24:,.0f}"


@kills
def test_kills_of_the_process_that_hands_out_units_change_nothing_and_its_workers_end(benchmark, tmp_path):
    plan = benchmark.Plan(images=16, shard=8, workers=2, kills=1, pause=0.02, seed=2, out=None)
    found = benchmark.measured(plan, tmp_path)
    quiet, disturbed = (unit_files(tmp_path / name / "study" / "out") for name in ("quiet", "disturbed"))
    assert len(quiet) == found["units"] == 2 * 14 * 2
    assert quiet == disturbed
    assert (found["same"], found["leftovers"]) == (True, 0)
    (kill,) = found["kills"]
    assert kill["workers"] == 2
    assert 0 < kill["units"] < len(quiet)
    (tmp_path / "disturbed" / "study" / "out" / "predictions" / next(iter(quiet))).write_bytes(b"")
    assert benchmark.content_of(tmp_path / "quiet" / "study") != benchmark.content_of(tmp_path / "disturbed" / "study")


@engine_tables
def test_aims_of_the_engine_that_are_met_and_missed_are_told(benchmark):
    turns = [{"bare": 10.0, "engine": engine, "bare_cpu": 10.0, "engine_cpu": 10.0} for engine in (9.0, 10.5, 10.6)]
    result = {
        "network": "N", "device": "CPU", "threads": 1, "images": 1, "size": 1, "batch": 1, "steps": 1,
        "attacks": [{"attack": "fgsm", "turns": turns, "ratio": 1.05}, {"attack": "pgd", "turns": [], "ratio": 1.0501}],
        "cold": [],
    }  # fmt: skip
    page = "\n".join(benchmark.inference(result)).splitlines()
    assert [line.split(" | ")[4] for line in page if "FGSM |" in line] == ["1.05, met", "1.05, met", "1.05, missed"]
    assert "The median of the turns' ratios is of FGSM 1.050 (met), of PGD 1.050 (missed)." in page


@attack_tables
def test_an_aim_of_the_search_that_is_met_or_missed_is_told(benchmark):
    made = json.loads((BENCHMARKS / "results" / "attacks.json").read_text(encoding="utf-8"))
    for ratio, verdict in ((3.3, "met"), (2.9, "missed")):
        search = {**made["search"], "ratio": ratio}
        assert f"The aim is 3 ×: {verdict}." in "\n".join(benchmark.attacks({**made, "search": search}))


@attack_tables
def test_the_mean_of_seeds_is_told_with_its_standard_error(benchmark):
    assert benchmark.share_right({"right": 0.6234}) == "62.3%"
    of_four = {"right": 0.62, "rights": [0.60, 0.62, 0.62, 0.64]}  # sd √(0.0008 / 3) = 0.01633, over √4
    assert benchmark.share_right(of_four) == "62.0% ± 0.8"
    made = json.loads((BENCHMARKS / "results" / "attacks.json").read_text(encoding="utf-8"))
    rows = [{**made["rows"][0], "rights": [0.5] * 10}, *made["rows"][1:]]
    said = "Of what draws at random the mean of 10 seeds stands there ± its standard error."
    assert said in "".join(benchmark.attacks({**made, "rows": rows}))


@attack_tables
def test_who_leaves_fewer_right_by_more_than_seeds_explain_is_told(benchmark):
    def row(package: str, *rights: float) -> dict[str, object]:
        seeds = {"rights": rights} if len(rights) > 1 else {}
        return {"attack": "Square", "on": "one finding", "package": package, "right": np.mean(rights), **seeds}

    ours = row("cxrobust", 0.60, 0.62, 0.62, 0.64)  # 0.62, its standard error 0.0082
    assert benchmark.strength([ours, row("a", 0.61), row("b", 0.63)]).endswith("Of 2 comparisons: met.")
    said = benchmark.strength([ours, row("a", 0.60), row("b", 0.58, 0.59, 0.61, 0.62)])
    assert said.endswith("Of 2 comparisons: missed against a's Square on one finding.")


@pytest.fixture
def bench(benchmark: ModuleType) -> object:
    """Two images of two findings, of which the network of one weight each calls 0.6 and more present."""
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))
    torch.nn.init.constant_(network[2].weight, 10.0)
    torch.nn.init.constant_(network[2].bias, -6.0)
    images = torch.tensor([0.5, 0.7])[:, None, None, None].expand(2, 1, 8, 8).clone()
    return benchmark.Bench(
        model=network.eval().requires_grad_(False),
        images=images,
        labels=np.array([[0, 0], [1, 1]], np.int8),
        findings=(benchmark.FINDING, "Edema"),
    )


@attacks
def test_multi_label_attacks_have_a_row_of_every_finding(benchmark):
    names = {one.name.split(",")[0] for one in benchmark.CONTESTS if benchmark.EVERY in one.on}
    assert names == {"PGD", "Auto-PGD", "Square", "AutoAttack"}
    assert {one.package for one in benchmark.NEAREST.peers} == {
        "torchattacks",
        "foolbox",
        "adversarial-robustness-toolbox",
    }


@attacks
def test_strength_is_the_mean_of_ten_seeds_where_an_attack_draws(benchmark, bench, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(benchmark, "timed", lambda work: (work(), 2.0))

    def drawn(model: object, images: object, labels: object) -> object:
        """Turn the first image by torch's draw, and see that the other generators were seeded too."""
        told = float(torch.rand(())), np.random.get_state()[1][0], torch.initial_seed()  # noqa: NPY002
        seen.append(told)
        images[0] = 0.9 if told[0] < 0.5 else 0.5
        return images

    seen: list[tuple[float, int, int]] = []
    peer = benchmark.Peer(package="a", make=lambda _: drawn)
    (square,) = (one for one in benchmark.CONTESTS if one.name.startswith("Square"))
    contest = replace(square, peers=(peer,))
    ours, theirs = benchmark.compared(bench, contest, benchmark.ONE, 2 / 255)
    assert [told[1:] for told in seen] == [(benchmark.SEED + seed, benchmark.SEED + seed) for seed in range(10)]
    assert theirs["rights"] == [0.5 if told[0] < 0.5 else 1.0 for told in seen]
    assert len(set(theirs["rights"])) == 2
    assert theirs["right"] == pytest.approx(sum(theirs["rights"]) / 10)
    assert ours["rights"] == [1.0] * 10  # both are further from the boundary than 2/255
    assert (ours["ratio"], theirs["ratio"]) == (None, 1.0)
    once, _ = benchmark.compared(bench, contest, benchmark.CONFIDENT_MODEL, 2 / 255)
    assert "rights" not in once


@attacks
def test_combinations_of_findings_have_the_cross_entropy_of_the_findings_together(benchmark, bench):
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[0.3, -2.0, 1.5], [-0.7, 0.1, 4.0]])
    labels = np.array([[1, 0, 1], [0, 0, 1]], np.int8)
    joint = benchmark.JointClasses(torch.nn.Identity(), 3)
    assert joint.n_classes == 8
    classes = benchmark.JointClasses.classes(labels)
    assert classes.tolist() == [0b101, 0b100]
    found = torch.nn.functional.cross_entropy(joint(logits), classes, reduction="none")
    own = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(labels).float(), reduction="none"
    )
    torch.testing.assert_close(found, own.sum(dim=1))


@attacks
def test_hiding_a_finding_counts_where_it_is_still_present(benchmark, bench, monkeypatch):
    """Of images at 0.5 and 0.7, 0.6 and more is present: one is, whatever their labels; a change of 0.2 hides it."""
    monkeypatch.setattr(benchmark, "timed", lambda work: (work(), 2.0))
    asked = []

    def darken(model: object, images: object, labels: object) -> object:
        asked.append(labels.tolist())
        return images - 0.2

    contest = replace(benchmark.CONTESTS[0], peers=(benchmark.Peer(package="a", make=lambda _: darken),))
    ours, theirs = benchmark.compared(bench, contest, benchmark.HIDDEN, 0.05)
    assert (ours["right"], theirs["right"], asked) == (0.5, 0.0, [[1, 1]])
    stronger, _ = benchmark.compared(bench, contest, benchmark.HIDDEN, 0.2)
    assert stronger["right"] == 0


@attacks
def test_the_nearest_image_is_as_far_as_the_boundary(benchmark, bench):
    contest = replace(benchmark.NEAREST, peers=())
    (ours,) = benchmark.nearest(bench, contest, 0)
    assert ours["right"] == 0
    assert ours["length"] == pytest.approx(0.1 * 8, rel=0.05)  # all of 8 × 8 pixels by 0.1


@attacks
def test_ratios_of_corruptions_are_to_our_seconds(benchmark, bench, monkeypatch):
    seconds = iter((2.0, 4.0, 1.0))
    monkeypatch.setattr(benchmark, "timed", lambda work: (work(), next(seconds)))
    peer = benchmark.Peer(package="a", make=lambda _: lambda model, images, labels: images)
    rows = benchmark.corrupted(bench, replace(benchmark.CORRUPTIONS[1], peers=(peer, peer)), 0)
    assert [one["ratio"] for one in rows] == [None, 2.0, 0.5]


@attacks
@pytest.mark.parametrize(
    ("place", "package", "module"),
    [(0, "foolbox", "foolbox"), (1, "adversarial-robustness-toolbox", "art"), (2, "torchvision", "torchvision")],
)
def test_contrast_of_packages_is_of_the_size_that_is_asked_of_them(benchmark, place, package, module):
    torch = pytest.importorskip("torch")
    pytest.importorskip(module)
    (contrast,) = (one for one in benchmark.CORRUPTIONS if one.ours.get("corruption") == "contrast")
    peer = contrast.peers[place]
    assert peer.package == package
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    means = images.mean(dim=(2, 3), keepdim=True)
    made = peer.make(0.5)(torch.nn.Flatten(), images, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(made, means + 0.5 * (images - means))


@scaling
def test_exponent_against_powers(benchmark):
    points = [
        benchmark.Point(
            metric="auroc",
            axis="images",
            size=benchmark.Size(images=round(10**i), resamples=1, cells=1),
            seconds=0.01 * 10**i if i < 3 else 10 * math.pow(10 ** (i - 3), 2),
        )
        for i in range(1, 6)
    ]
    found = benchmark.exponent(points, "auroc", "images")
    assert found.last_decade == pytest.approx(2)
    assert 1 < found.whole < 2


@scaling
def test_cells_that_are_timed_are_distinct_and_forget_their_order_before_each_turn(benchmark, monkeypatch):
    timed = []

    class Metric:
        def resample(self, cells, counts):
            if counts.shape[0] * counts.shape[2] >= 100:
                timed.append(([cell.probabilities.tobytes() for cell in cells], [dict(cell._made) for cell in cells]))
            for cell in cells:
                cell.once("order", lambda _: np.arange(3))

    small = benchmark.Size(images=40, resamples=100, cells=3)
    monkeypatch.setattr(benchmark, "SMALLEST", {"cells": small})
    monkeypatch.setattr(benchmark, "STEPS", (1,))
    monkeypatch.setattr(benchmark, "SECONDS", 0)
    monkeypatch.setattr(benchmark, "metric", dict.fromkeys(benchmark.METRICS, Metric()))
    benchmark.timed_along("cells")
    every = [one for one in timed if len(one[0]) == 3]
    assert len(every) == len(benchmark.METRICS) * benchmark.REPEATS
    for contents, kept in every:
        assert len(set(contents)) == 3
        assert kept == [{}] * 3


@scaling
def test_a_whole_study_is_held_against_its_aims(benchmark):
    run = benchmark.Run(plan=benchmark.STUDY, n_estimates=1, seconds=90.0, stages=(), predictions_gib=0.5, peak_gib=3.0)
    assert benchmark.against_aims(run, most_gib=4) == (
        "time 1.50 of the aim of 60 s: missed; memory 0.75 of the aim of 4 GiB: met"
    )


@scaling
def test_growth_is_drawn(benchmark):
    points = [
        benchmark.Point(metric=name, axis=axis, size=benchmark.Size(images=n, resamples=n, cells=n), seconds=n / 100)
        for name in benchmark.METRICS
        for axis in benchmark.AXES
        for n in (10, 100, 1000)
    ]
    exponents = [benchmark.exponent(points, name, axis) for name in benchmark.METRICS for axis in benchmark.AXES]
    text = benchmark.drawn(benchmark.draw)(points, exponents).svg()
    assert "exponent 1.00" in text


@scaling
def test_made_patients_all_have_an_image(benchmark):
    patients = benchmark.make_patients(40, 10, np.random.default_rng(0))
    assert np.bincount(patients).min() >= 1
    assert np.bincount(patients).sum() == 40


INDEXED = (
    ("Small left pleural effusion. The lungs are otherwise clear.", ("Pleural Effusion/left/small",)),
    ("There is a small right pleural effusion. Heart size is normal.", ("Pleural Effusion/right/small",)),
    ("Mild cardiomegaly. No effusion.", ("Cardiomegaly/mild",)),
    ("The heart is enlarged. Lungs are clear.", ("Cardiomegaly",)),
    ("Normal heart. Clear lungs.", ("normal",)),
    ("No acute disease. Heart size is normal.", ("normal",)),
)
"""Reports of no patient, with the terms of an indexer; not of the form of any that is installed."""


@pytest.fixture
def archive(tmp_path: Path, benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive in the place where torchxrayvision has its own; one report has no text, one was not indexed."""
    (tmp_path / "data").mkdir()
    others = (("", ("normal",)), ("Large right pneumothorax.", ("No Indexing",)))
    with tarfile.open(tmp_path / "data" / "NLMCXR_reports.tgz", "w:gz") as packed:
        for number, (text, terms) in enumerate((*INDEXED, *others)):
            majors = "".join(f"<major>{term}</major>" for term in terms)
            content = (
                f'<eCitation><AbstractText Label="FINDINGS">{text}</AbstractText><MeSH>{majors}</MeSH></eCitation>'
            ).encode()
            member = tarfile.TarInfo(f"ecgen-radiology/{number}.xml")
            member.size = len(content)
            packed.addfile(member, BytesIO(content))
    monkeypatch.setattr(benchmark, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))


@of_reports
def test_reports_of_a_package_that_is_absent_are_asked_for(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="torchxrayvision is not installed, which brings the reports"):
        next(iter(benchmark.indexed() if hasattr(benchmark, "indexed") else benchmark.real()))


@of_reports
def test_real_reports_are_read_where_they_are_installed(benchmark):
    if importlib.util.find_spec("torchxrayvision") is None:
        pytest.skip("torchxrayvision, which brings the reports of Indiana University, is not installed")
    if hasattr(benchmark, "indexed"):
        labels, terms = zip(*islice(benchmark.indexed(), 20), strict=True)
        assert all(terms)
        assert all(isinstance(one, dict) for one in labels)
    else:
        found = list(islice(benchmark.real(), 20))
        assert all(one.text for one in found)
        assert any(one.findings for one in found)


@labeler
def test_labels_are_counted_by_class_against_hand_counts(benchmark):
    rows = [
        (
            "Small pleural effusion. No pneumothorax.",
            {"Pleural Effusion": Label.POSITIVE, "Pneumothorax": Label.NEGATIVE},
        ),
        ("Cardiomegaly.", {"Edema": Label.POSITIVE}),
    ]
    counts = {(one.observation, one.label): one for one in benchmark.counted(rows, "tuning")}
    told = {place: (one.right, one.wrong, one.missed) for place, one in counts.items()}
    wanted = {
        ("Pleural Effusion", "positive"): (1, 0, 0),
        ("Pneumothorax", "negative"): (1, 0, 0),
        ("Cardiomegaly", "positive"): (0, 1, 0),
        ("Edema", "positive"): (0, 0, 1),
    }
    assert {place: one for place, one in told.items() if any(one)} == wanted
    assert benchmark.whole(rows) == (1, 2)


@labeler
def test_every_sentence_is_in_one_half(benchmark):
    halves = [benchmark.sentences(half) for half in benchmark.HALVES]
    lines = benchmark.SENTENCES.read_text(encoding="utf-8").count("\n") - 1
    assert sum(map(len, halves)) <= lines
    assert min(map(len, halves)) > 200
    assert not {text for text, _ in halves[0]} & {text for text, _ in halves[1]}


@labeler
@pytest.mark.filterwarnings("ignore:invalid value")  # statsmodels, of an observation that no report has
def test_the_labeler_s_benchmark_from_archive_to_file(benchmark, archive, monkeypatch, tmp_path):
    wrong = [({"Cardiomegaly": Label.POSITIVE}, ["Opacity/lung"]), ({}, ["Cardiomegaly/mild"])]
    given = [*benchmark.indexed(), *wrong]
    assert len(given) == len(INDEXED) + 2
    by = {one.observation: one for one in benchmark.agreed(given)}
    one = by["Cardiomegaly"]
    assert (one.both, one.labeler_only, one.indexer_only, one.neither) == (2, 1, 1, 4)
    normal = by["No Finding"]
    unremarkable = sum("normal" in terms for _, terms in given)
    assert normal.both + normal.indexer_only == unremarkable > 0
    assert normal.both + normal.labeler_only == sum(labels.get("No Finding") is Label.POSITIVE for labels, _ in given)
    ours, theirs = [1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0, 0]
    assert one.kappa == pytest.approx(cohen_kappa_score(ours, theirs))
    monkeypatch.setattr("sys.argv", ["labeler.py", "--out", str(tmp_path / "labeler.json")])
    monkeypatch.setattr(benchmark, "sentences", lambda half: [("Cardiomegaly.", {"Cardiomegaly": Label.POSITIVE})])
    benchmark.main()
    told = json.loads((tmp_path / "labeler.json").read_text(encoding="utf-8"))
    assert told["exact"] == {"tuning": [1, 1], "held out": [1, 1]}
    effusion = next(one for one in told["agreements"] if one["observation"] == "Pleural Effusion")
    assert (effusion["both"], effusion["neither"], effusion["kappa"]) == (2, 4, 1.0)


@labeler
@pytest.mark.filterwarnings("ignore:invalid value")
def test_disagreements_are_counted_by_what_the_labeler_makes_of_them(benchmark):
    named, normal, other = ["Edema", "Pulmonary Edema/mild"], ["normal"], ["Opacity"]
    given = [
        *[({"Edema": Label.UNCERTAIN}, named)] * 4,
        *[({"Edema": Label.NEGATIVE}, named)] * 3,
        *[({"Pneumonia": Label.POSITIVE}, named)] * 2,
        ({"Edema": Label.POSITIVE}, named),
        *[({"Edema": Label.POSITIVE}, normal)] * 5,
        *[({"Edema": Label.POSITIVE}, other)] * 6,
        *[({"Edema": Label.UNCERTAIN}, other), ({}, normal)] * 7,
    ]
    one = benchmark.agreement("Edema", given)
    assert (one.both, one.labeler_only, one.indexer_only, one.neither) == (1, 11, 9, 14)
    assert (one.doubted, one.denied, one.unsaid, one.called_normal) == (4, 3, 2, 5)


@labeler
def test_quotes_of_the_documents_stand_in_the_real_reports(benchmark):
    if importlib.util.find_spec("torchxrayvision") is None:
        pytest.skip("torchxrayvision, which brings the reports of Indiana University, is not installed")
    page = (Path(__file__).parent.parent / "docs" / "radiology-reports.md").read_text(encoding="utf-8")
    kinds = page[page.index("and found these kinds:") :]
    quotes = re.findall(r"\*([^*]+)\*", re.sub(r"^- \*[^*]+\*", "", kinds, flags=re.MULTILINE))
    every = "\n".join(text for text, _ in benchmark.real()).lower()
    assert len(quotes) == 9
    assert not [one for one in quotes if one.lower() not in every]


@scores
def test_terms_name_observations_by_their_beginnings(benchmark):
    assert benchmark.named(["Pleural Effusion/left", "Opacity"]) == {"Pleural Effusion", "Lung Opacity"}
    assert benchmark.named(["Opacities", "normal"]) == frozenset()


@scores
def test_what_is_changed_in_a_report_is_one_thing(benchmark):
    text = "Small left pleural effusion. The lungs are otherwise clear."
    assert benchmark.negated(text) == "No effusion. The lungs are otherwise clear."
    assert benchmark.swapped(text, benchmark.SIDES, all_of_them=True) == text.replace("left", "right")
    assert benchmark.swapped(text, benchmark.SEVERITIES, all_of_them=False) == text.replace("Small", "large")
    assert benchmark.swapped("No left pleural effusion.", benchmark.SIDES, all_of_them=True) is None
    assert benchmark.negated("No pleural effusion.") is None
    reordered = {benchmark.reordered("One. Two.", np.random.default_rng(seed)) for seed in range(9)}
    assert reordered == {"One. Two.", "Two. One."}
    assert benchmark.reordered("One.", np.random.default_rng(0)) is None


@scores
def test_a_wrong_candidate_that_scores_as_much_is_below_half_of_the_time(benchmark):
    wrong, right = np.array([0.1, 0.5, 0.9, np.nan]), np.array([0.5, 0.5, 0.5, 0.5])
    share, low, high = benchmark.how_often_below(wrong, right, np.random.default_rng(0))
    assert share == pytest.approx(0.5)
    assert low < share < high


@scores
def test_the_scores_benchmark_from_archive_to_file(benchmark, archive, monkeypatch, tmp_path):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    assert [one.text for one in benchmark.real()] == [text for text, _ in INDEXED]
    monkeypatch.setattr("sys.argv", ["scores.py", "--out", str(tmp_path / "scores.json")])
    monkeypatch.setattr(benchmark, "RESAMPLES", 20)
    monkeypatch.setattr(benchmark, "_KEPT", {})
    monkeypatch.setattr(benchmark, "has_radeval", lambda: False)
    benchmark.main()
    told = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert (told["reports"], told["references"]) == (6, 4)
    rows = {(one["metric"], one["kind"]): one for one in told["rows"]}
    same, negated, side = (rows["f1-14-micro", kind] for kind in (benchmark.ORDER, benchmark.NEGATED, benchmark.SIDE))
    assert (same["mean"], side["mean"], negated["mean"]) == (1.0, 1.0, 0.0)
    assert negated["below"][benchmark.ORDER][0] == 1.0
    assert side["below"][benchmark.ORDER][0] == 0.5
    assert rows["bleu", benchmark.OTHER]["mean"] < rows["bleu", benchmark.SIDE]["mean"]
    together = {(one["metric"], one["kind"]): one for one in told["together"]}
    values = [together["f1-pleural-effusion", kind]["mean"] for kind in (benchmark.SIDE, benchmark.OTHER)]
    assert values == [1.0, 0.0]
    assert together["verbosity", benchmark.SIDE]["mean"] == 1.0
    labels, words = ({kind: rows[judge, kind]["mean"] for kind in benchmark.KINDS} for judge in told["judges"])
    assert told["judges"] == ["labeler-f1", "word-overlap"]
    assert (labels[benchmark.ORDER], labels[benchmark.SIDE], words[benchmark.ORDER]) == (1.0, 1.0, 1.0)
    assert max(labels[benchmark.NEGATED], labels[benchmark.OTHER], words[benchmark.SIDE]) < 1
    assert {*benchmark.BY_RADEVAL} < {*told["not_run"]}
    named = {*benchmark.METRICS, *benchmark.WHOLE, *benchmark.NOT_RUN}
    networks = {name for name in scorer["green"].measures if name != "green"}
    assert {name for one in scorer for name in scorer[one].measures} - named == {*networks, "log-probability"}


@scores
def test_grades_of_judges_against_hand_arithmetic(benchmark):
    made = [("small effusion", {benchmark.NEGATED: "no effusion"}), ("effusion", {})]
    dice = benchmark.of_each("word-overlap", made, benchmark.NEGATED)
    assert dice == pytest.approx([2 * 1 / (2 + 2), np.nan], nan_ok=True)
    assert benchmark.of_each("labeler-f1", made, benchmark.NEGATED)[0] == 0


@scores
def test_radeval_scores_what_it_is_asked_for(benchmark, monkeypatch):
    """Where it is installed; a stand-in here gives each report a number of its own for each score."""
    given = {"bleu": 0.1, "rouge1": 0.2, "rouge2": 0.3, "rougeL": 0.4}

    class Package:
        class RadEval:
            def __init__(self, *, metrics, **_):
                assert metrics == ["bleu", "rouge"]

            def __call__(self, *, refs, hyps):
                return {name: [value] * len(hyps) for name, value in given.items()}

    monkeypatch.setattr("cxrobust.radiology_reports.scores.radeval._package", lambda: Package)
    monkeypatch.setattr(benchmark, "_KEPT", {})
    made = [("Small effusion.", {benchmark.SAME: "No effusion."}), ("Effusion.", {})]
    told = {metric: benchmark.of_each(metric, made, benchmark.SAME) for metric in benchmark.BY_RADEVAL}
    assert {name: values[0] for name, values in told.items()} == {f"radeval-{name}": x for name, x in given.items()}
    assert all(np.isnan(values[1]) for values in told.values())


@swaps
def test_studies_of_long_reports_are_of_their_law(benchmark):
    laws = list(benchmark.designs())
    for design in laws:
        sums = benchmark.study(design, np.random.default_rng(3))
        if design.metric == "bleu":
            parts = sums[:, 0, 0, 0] / sums[:, :, 0, 0].sum(axis=1)
            assert parts.max() == pytest.approx(design.part, abs=0.01) if design.part else parts.max() < 0.2
    tested = benchmark.rejections(laws[0], studies=3, draws=19, seed=1)
    assert set(tested) == {"flips", "swaps"}
