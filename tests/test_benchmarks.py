"""The benchmarks' parts that are no timing: the page of their results, what is absent, and slopes."""

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """A script of the benchmarks, as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(request.param)


tables = pytest.mark.parametrize("benchmark", ["tables"], indirect=True)
peers = pytest.mark.parametrize("benchmark", ["peers"], indirect=True)
scaling = pytest.mark.parametrize("benchmark", ["scaling"], indirect=True)


@tables
def test_the_performance_page_says_what_the_results_say(benchmark):
    page = "".join(one.read_text(encoding="utf-8") for one in benchmark.PAGES)
    assert benchmark.fill(page, benchmark.read_results(benchmark.RESULTS)) == page


@tables
def test_every_table_has_its_place_on_the_page(benchmark):
    page = "".join(one.read_text(encoding="utf-8") for one in benchmark.PAGES)
    assert [match["name"] for match in benchmark.MARKED.finditer(page)] == list(benchmark.TABLES)


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
