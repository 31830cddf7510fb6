"""Tables and forest plots of every metric: what paper shows, what the HTML report adds, and where the reader is sent."""

from dataclasses import replace

import pytest

from cxrobust.reports.document import compose, section_bodies
from cxrobust.reports.parts import Figure, n_fitting
from cxrobust.reports.sections import by_finding, sections
from cxrobust.reports.view import View

from .made import LARGE, METRICS, TYPICAL, results

SMALLER = results(replace(TYPICAL, n_regimes=2, n_findings=3, one_class=False, few=False))


def built(made):
    return sections["by_finding"].build(View.of(made, images=None))


def test_a_small_study_prints_the_findings_of_every_metric():
    values = built(SMALLER)
    assert [one["metric"] for one in values["told"]] == ["AUROC", "accuracy", "mean confidence", "ECE", "Brier score"]
    assert len(values["tables"]) == len(METRICS)
    assert values["more"] == []
    assert [figure.key for (figure,) in values["forests"]][:2] == ["forest", "forest-accuracy"]


def test_a_large_study_prints_the_first_metric_and_says_where_the_others_are():
    large = results(replace(LARGE, n_severities=1, more_attacks=False))
    values = built(large)
    assert [table.key for table in values["tables"]] == ["finding-values"]
    (forests,) = values["forests"]
    assert [one.key for one in forests] == ["forest", "forest-2", "forest-3"]
    assert [name for one in forests for name in one.drawing.options["regimes"]] == list(
        View.of(large, images=None).compared
    )
    assert len(values["more"]) == len(METRICS) - 1
    document = compose(View.of(large, images=None))
    assert not [key for key in document.numbers if key.startswith("finding-values-")]
    words = section_bodies(document)[0]["by_finding"]
    assert (
        "accuracy, mean confidence, ECE, and Brier score stand in the HTML report, and all numbers in estimates.csv"
        in words
    )


def test_one_table_that_paper_leaves_out_is_one(monkeypatch):
    monkeypatch.setattr(by_finding, "n_fitting", lambda n, rows, most=0: n - 1)
    words = section_bodies(compose(View.of(SMALLER, images=None)))[0]["by_finding"]
    assert "The same table of Brier score stands in the HTML report, and all numbers in estimates.csv." in words


def test_a_table_of_too_many_rows_ends_between_findings_and_sends_the_reader_to_the_csv(monkeypatch):
    monkeypatch.setattr(by_finding, "MOST_ROWS", 5)
    document = compose(View.of(SMALLER, images=None))
    (filled,) = (one for one in document.filled if one.section.name == "by_finding")
    for table in filled.values["tables"]:
        assert [len(group.rows) for group in table.groups] == [2, 2]
    words = section_bodies(document)[0]["by_finding"]
    assert words.count("The table ends here for length; estimates.csv holds every finding.") == len(METRICS)


@pytest.mark.parametrize(
    ("metric", "sides"),
    [
        ("auroc", ("larger loss", "smaller loss")),
        ("ece", ("smaller rise", "larger rise")),
        ("confidence", ("lower", "higher")),
    ],
)
def test_a_forest_plot_names_its_sides_by_which_way_its_metric_is_better(metric, sides):
    others = [one for one in METRICS if one != metric]
    analysis = {**SMALLER.study["analysis"], "metrics": [metric, *others]}
    values = built(replace(SMALLER, study={**SMALLER.study, "analysis": analysis}))
    ((first,), *_) = values["forests"]
    assert isinstance(first, Figure)
    assert first.drawing.options["sides"] == sides


def test_at_least_one_of_several_fits():
    assert [n_fitting(3, rows=rows, most=90) for rows in (0, 30, 31, 91)] == [3, 3, 2, 1]
