"""A comparison of two runs is verified by what its PDF carries, and what was changed in it is found."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from cxrobust import verification
from cxrobust.cli import _main
from cxrobust.errors import DataError
from cxrobust.verification.verdict import Verdict

from ..comparison.test_runs import ONE, run
from ..test_without_torch import made_elsewhere
from . import tampering
from .verdicts import OWN_WORD, differing, found

CARRIED = ("environment.txt", "estimates.csv", "predictions.zip", "results.json", "study.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, `old` and `new`, and in `compared` what is said of them, made with a template of the user's own."""
    folder = tmp_path_factory.mktemp("compared")
    made_elsewhere(folder)
    for which, letter in (("old", "a"), ("new", "b")):
        text = ONE.replace("CLEAN", letter) + '[report]\nformats = ["html"]\nattach_predictions = true\n'
        run(folder, text, which)
    own = folder / "own" / "sections"
    own.mkdir(parents=True)
    words = '<p>Our own words on {{ runs | length }} runs.</p>{% include "ours/sections/comparison.html.j2" %}'
    (own / "comparison.html.j2").write_text(words)
    arguments = ["compare", str(folder / "old"), str(folder / "new"), "--out", str(folder / "compared")]
    assert _main(arguments) == 0
    assert _main([*arguments[:-1], str(folder / "styled"), "--template", str(folder / "own")]) == 0
    return folder


def test_an_untouched_comparison_agrees_with_the_predictions_of_both_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "compared" / "comparison.pdf"
    carried = {f"{side}-{name}" for side in ("old", "new") for name in CARRIED}
    own = {"manifest.json", "comparison.json", "comparison.csv", "comparison-paired.csv"}
    assert set(tampering.attached(path)) == carried | own
    assert _main(["verify", str(path)]) == 0
    said = capsys.readouterr().out
    for side in ("old", "new"):
        n = len((folder / side / "estimates.csv").read_text().splitlines()) - 1
        assert f"{side} run, estimates: {n:,} estimates recomputed from the predictions: all agree to the last" in said
    n = len((folder / "compared" / "comparison-paired.csv").read_text().splitlines()) - 1
    assert f"paired comparison: {n} estimates recomputed from the predictions of both runs: all agree to the" in said
    n_pages = len(pikepdf.open(path).pages)
    assert f"{n_pages} pages printed again from both results: {n_pages} are the same in every letter" in said
    assert said.rstrip().endswith(f"comparison.pdf: all that was checked agrees; not checked: {OWN_WORD}")


def test_a_template_of_the_users_own_comes_before_ours_and_is_carried(folder: Path) -> None:
    html = (folder / "styled" / "comparison.html").read_text()
    assert "Our own words on 2 runs." in html
    assert "Conclusions of the primary comparison" in html
    assert "Our own words" not in (folder / "compared" / "comparison.html").read_text()
    path = folder / "styled" / "comparison.pdf"
    assert "templates.zip" in tampering.attached(path)
    verdict = verification.verify(path)
    assert differing(verdict) == set()
    assert found(verdict, "templates").status == "not checked"


def test_the_template_that_the_new_runs_study_names_is_used(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    shutil.copytree(folder / "new", new)
    content = json.loads((new / "results.json").read_text())
    content["study"]["report"]["template"] = "own"
    (new / "results.json").write_text(json.dumps(content))
    arguments = ["compare", str(folder / "old"), str(new), "--out", str(tmp_path)]
    assert _main(arguments) == 2
    assert "its study names the templates 'own'" in capsys.readouterr().err
    shutil.copytree(folder / "own", tmp_path / "own")
    assert _main(arguments) == 0
    assert "Our own words" in (tmp_path / "comparison.html").read_text()


def test_a_digit_of_the_pages_is_found(folder: Path, tmp_path: Path) -> None:
    numbers: list[tuple[str, str]] = []
    path = tampering.copy(
        folder / "compared" / "comparison.pdf",
        tmp_path / "x.pdf",
        lambda pdf: numbers.append(tampering.change_the_first_digit(pdf)),
    )
    verdict = verification.verify(path)
    assert differing(verdict) == {"pages"}
    ((before, after),) = numbers
    said = found(verdict, "pages").differences
    assert any(f"printed '{after}', expected '{before}'" in one for one in said)


def test_a_changed_paired_estimate_is_found_though_every_hash_and_page_agrees(folder: Path, tmp_path: Path) -> None:
    path = folder / "compared" / "comparison.pdf"
    recorded = json.loads(tampering.attached(path)["comparison.json"])
    place = next(k for k, one in enumerate(recorded["paired"]["estimates"]) if one["finding"] == "Effusion")
    honest = recorded["paired"]["estimates"][place]["p_adjusted"]
    recorded["paired"]["estimates"][place]["p_adjusted"] = 0.0123
    files = {"comparison.json": json.dumps(recorded).encode()}
    verdict = verification.verify(tampering.with_files(path, tmp_path / "x.pdf", files, listed=True))
    assert differing(verdict) == {"paired comparison", "comparison-paired.csv"}
    (said,) = found(verdict, "paired comparison").differences
    assert said.endswith(f"p_adjusted: 0.0123, recomputed {honest!r}")


def test_what_was_changed_in_one_run_is_told_of_that_run(folder: Path, tmp_path: Path) -> None:
    path = folder / "compared" / "comparison.pdf"
    study = tampering.attached(path)["old-study.toml"].replace(b"resamples = 200", b"resamples = 400")
    verdict = verification.verify(tampering.with_files(path, tmp_path / "x.pdf", {"old-study.toml": study}))
    assert {"attachments", "old run, study", "old run, settings"} <= differing(verdict)
    assert not any(one.startswith("new run") for one in differing(verdict))


def test_without_predictions_none_is_recomputed_and_given_ones_are_held_against_their_run(
    folder: Path, tmp_path: Path
) -> None:
    for side in ("old", "new"):
        shutil.copytree(folder / side, tmp_path / side)
        results = tmp_path / side / "results.json"
        results.write_text(results.read_text().replace('"attach_predictions": true', '"attach_predictions": false'))
    assert _main(["compare", str(tmp_path / "old"), str(tmp_path / "new"), "--out", str(tmp_path)]) == 0
    path = tmp_path / "comparison.pdf"
    assert not [name for name in tampering.attached(path) if name.endswith("predictions.zip")]
    alone = verification.verify(path)
    assert found(alone, "paired comparison").status == "not checked"
    assert found(alone, "pages").status == "agrees"
    folders = [tmp_path / side / "predictions" for side in ("new", "old")]
    both = verification.verify(path, predictions=folders)
    assert found(both, "paired comparison").status == "agrees"
    assert found(both, "old run, predictions").said.startswith(f"3 files in {folders[1]}")
    (folders[0] / "index.json").write_text((folders[0] / "index.json").read_text() + " ")
    other = verification.verify(path, predictions=folders[:1])
    assert differing(other) - differing(alone) == {"given predictions"}


def forged(folder: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Verdict:
    """Verify the comparison after a change of what it records, whose hash is listed as if nothing had happened."""
    path = folder / "compared" / "comparison.pdf"
    recorded = json.loads(tampering.attached(path)["comparison.json"])
    change(recorded)
    files = {"comparison.json": json.dumps(recorded).encode()}
    return verification.verify(tampering.with_files(path, target, files, listed=True))


def test_an_estimate_that_stands_twice_is_found(folder: Path, tmp_path: Path) -> None:
    def change(recorded: dict[str, Any]) -> None:
        estimates = recorded["paired"]["estimates"]
        estimates.insert(0, {**estimates[0], "p_adjusted": 0.0123})

    verdict = forged(folder, tmp_path / "x.pdf", change)
    assert found(verdict, "paired comparison").status == "differs"
    assert any("p_adjusted: 0.0123, recomputed" in one for one in found(verdict, "paired comparison").differences)


def test_a_paired_test_without_predictions_is_found(folder: Path, tmp_path: Path) -> None:
    def change(recorded: dict[str, Any]) -> None:
        recorded["old"]["why_not"] = "old/predictions holds no predictions"

    (said,) = found(forged(folder, tmp_path / "x.pdf", change), "paired comparison").differences
    assert said == "comparison.json holds a test all the same, or another reason why there is none"


def test_a_paired_estimate_that_is_no_number_is_found(folder: Path, tmp_path: Path) -> None:
    def change(recorded: dict[str, Any]) -> None:
        recorded["paired"]["estimates"][0]["p_adjusted"] = math.nan

    assert found(forged(folder, tmp_path / "x.pdf", change), "paired comparison").status == "differs"


def test_a_run_of_another_form_is_told_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    path = folder / "compared" / "comparison.pdf"
    content = json.loads(tampering.attached(path)["old-results.json"])
    del content["study"]["analysis"]
    files = {"old-results.json": json.dumps(content).encode()}
    with pytest.raises(DataError, match="was changed, or not written by cxrobust"):
        verification.verify(tampering.with_files(path, tmp_path / "x.pdf", files, listed=True))
