from dataclasses import replace
from pathlib import Path

from cxrobust.reports import render
from cxrobust.reports.sections.corrupted import _rows, corrupted
from cxrobust.reports.view import View

from .made import TYPICAL, results


def test_a_row_for_each_corruption_and_a_column_for_each_severity(tmp_path: Path, drawn: Path) -> None:
    made = results(TYPICAL, images=tmp_path)
    sheet = [one for one in made.examples if one["kind"] == "sheet"]
    conditions = [f"{name}(severity={n})" for name in ("blur", "jpeg") for n in (1, 3)]
    kept = tuple(
        {
            **sheet[0],
            "kind": "corruption",
            "condition": condition,
            "file": sheet[k]["file"],
            "sha256": sheet[k]["sha256"],
        }
        for k, condition in enumerate(conditions)
    )
    with_them = replace(made, examples=(*made.examples, *kept))
    rows = _rows(View.of(with_them, images=tmp_path))
    assert list(rows) == ["Gaussian blur", "JPEG compression"]
    assert [list(row.images) for row in rows.values()] == [
        ["severity\N{NO-BREAK SPACE}1", "severity\N{NO-BREAK SPACE}3"]
    ] * 2
    written = render(with_them, formats=("html",), out=tmp_path, images=tmp_path, keep=drawn)
    text = next(path for path in written if path.name == "report.html").read_text(encoding="utf-8")
    assert "One image under every corruption" in text
    assert "One radiograph under 2\N{NO-BREAK SPACE}corruptions" in text


def test_more_corruptions_than_a_page_has_rows_for_stand_small_in_one_figure(tmp_path: Path, drawn: Path) -> None:
    made = results(TYPICAL, images=tmp_path)
    (first, *_) = (one for one in made.examples if one["kind"] == "sheet")
    kept = tuple(
        {
            **first,
            "kind": "corruption",
            "condition": f"{name}(severity={n})",
            "stated": f"{k}.{n} px",
            "description": f"{name} by so much at severities 1 to 5",
        }
        for k, name in enumerate(("blur", "jpeg", "gamma", "rotation", "cropping", "exposure", "markers"))
        for n in range(1, 6)
    )
    with_them = replace(made, examples=(*made.examples, *kept))
    written = render(with_them, formats=("html",), out=tmp_path, images=tmp_path, keep=drawn)
    text = next(path for path in written if path.name == "report.html").read_text(encoding="utf-8")
    assert text.count("One image under every corruption") == 1
    assert "One radiograph under 7\N{NO-BREAK SPACE}corruptions" in text
    assert all(one["stated"] in text for one in kept)
    assert "the others from severity 1, left, to 5" in text
    assert "Markers by so much." in text  # what it does names it
    assert "JPEG compression: jpeg by so much." in text


def test_small_corruptions_stand_in_figures_of_half_a_page_the_clean_image_in_the_first(tmp_path: Path) -> None:
    made = results(TYPICAL, images=tmp_path)
    (first, *_) = (one for one in made.examples if one["kind"] == "sheet")
    names = [f"made-up-{k}" for k in range(17)]
    kept = tuple({**first, "kind": "corruption", "condition": f"{name}(severity=1)"} for name in names)
    clean = {**first, "kind": "clean", "condition": "clean"}
    view = View.of(replace(made, examples=(clean, *kept)), images=tmp_path)
    figures = corrupted(view)["figures"]
    drawn = [one.drawing.arguments for one in figures]
    assert [list(rows) for _, rows in drawn] == [
        [name.capitalize() for name in some] for some in (names[:7], names[7:15], names[15:])
    ]
    assert [clean is not None for clean, _ in drawn] == [True, False, False]


def test_an_image_that_is_not_the_recorded_one_is_not_shown(tmp_path: Path) -> None:
    made = results(TYPICAL, images=tmp_path)
    one = {**made.examples[0], "kind": "corruption", "condition": "blur(severity=1)", "sha256": "0" * 64}
    assert _rows(View.of(replace(made, examples=(*made.examples, one)), images=tmp_path)) == {}
    assert _rows(View.of(made, images=None)) == {}
