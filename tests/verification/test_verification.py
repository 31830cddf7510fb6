"""A verification finds whatever was changed, says where, and is not led astray by a stranger's file."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pikepdf
import pyarrow as pa
import pyarrow.parquet as pq
import pypdfium2
import pytest

from cxrobust import verification
from cxrobust.cli import _main
from cxrobust.errors import DataError
from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.predictions import load_predictions, read_unit
from cxrobust.reports import evidence, render
from cxrobust.results import estimates_text, parse_results, read_results, results_text
from cxrobust.study import read_study
from cxrobust.verification import _attachments, reading, recomputed
from cxrobust.verification.ran import _settings, by_name

from ..reports.made import SMALL, results
from ..reports.test_attack_checks import CHECK
from ..test_without_torch import made_elsewhere
from . import tampering
from .verdicts import OWN_WORD, differing, found

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a registered run writes, predictions made elsewhere and all."""
    folder = tmp_path_factory.mktemp("written")
    study = made_elsewhere(folder)
    study.write_text(study.read_text().replace('formats = ["html"]', 'formats = ["pdf"]\nattach_predictions = true'))
    assert _main(["register", str(study)]) == 0
    assert _main(["run", str(study), "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", ["report", "appendix"])
def test_an_untouched_document_agrees(name: str, written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["verify", str(written / f"{name}.pdf")]) == 0
    said = capsys.readouterr().out
    n_estimates = len((written / "estimates.csv").read_text().splitlines()) - 1
    n_pages = len(pikepdf.open(written / f"{name}.pdf").pages)
    assert f"{n_estimates:,} estimates recomputed from the predictions: all agree to the last digit" in said
    assert f"{n_pages} pages printed again from results.json: {n_pages} are the same" in said
    assert said.rstrip().endswith(f"{name}.pdf: all that was checked agrees; not checked: {OWN_WORD}")


def test_one_digit_of_the_text_is_found_with_its_page(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers: list[tuple[int, str, str]] = []

    def change(pdf: pikepdf.Pdf) -> None:
        for page in range(1, len(pdf.pages) + 1):
            before, after = tampering.change_a_digit(pdf, page)
            if after:
                numbers.append((page, before, after))
                return

    path = tampering.copy(written / "report.pdf", tmp_path / "report.pdf", change)
    assert _main(["verify", str(path)]) == 1
    ((page, before, after),) = numbers
    assert re.search(
        rf"page {page}.*: printed '{re.escape(after)}', expected '{re.escape(before)}'", capsys.readouterr().out
    )


@pytest.mark.parametrize("weasyprint", [None, "1"], ids=["same versions", "other versions"])
def test_one_digit_in_a_figure_is_found_and_told(weasyprint: str | None, written: Path, tmp_path: Path) -> None:
    numbers: list[tuple[int, str, str]] = []
    manifest = json.loads(tampering.attached(written / "report.pdf")["manifest.json"])
    if weasyprint is not None:
        manifest["printed_with"]["weasyprint"] = weasyprint
    files = {"manifest.json": json.dumps(manifest).encode()}
    honest = tampering.with_files(written / "report.pdf", tmp_path / "honest.pdf", files)
    assert differing(verification.verify(honest)) == set()
    path = tampering.copy(
        honest, tmp_path / "report.pdf", lambda pdf: numbers.append(tampering.change_a_digit_in_a_figure(pdf))
    )
    ((page, before, after),) = numbers
    texts = [
        pypdfium2.PdfDocument(one)[page - 1].get_textpage().get_text_bounded().split().count(after)
        for one in (honest, path)
    ]
    assert texts[1] == texts[0] + 1
    verdict = verification.verify(path)
    assert differing(verdict) == {"pages"}
    (said,) = found(verdict, "pages").differences
    where = rf"page {page}, Figure \d+" if weasyprint is None else f"page {page}"
    assert re.match(rf"{where}: printed '{after}', expected '{before}'", said), said


def test_a_moved_point_of_a_figure_is_found(written: Path, tmp_path: Path) -> None:
    pages: list[int] = []
    path = tampering.copy(
        written / "report.pdf", tmp_path / "report.pdf", lambda pdf: pages.append(tampering.move_a_point(pdf))
    )
    verdict = verification.verify(path)
    assert differing(verdict) == {"pages"}
    (said,) = found(verdict, "pages").differences
    assert re.match(rf"page {pages[0]}, Figure \d+: drawn otherwise \d+ mm from the left", said)


def test_what_is_laid_over_a_page_or_done_on_opening_is_found(written: Path, tmp_path: Path) -> None:
    def change(pdf: pikepdf.Pdf) -> None:
        tampering.annotate(pdf)
        pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")

    verdict = verification.verify(tampering.copy(written / "report.pdf", tmp_path / "report.pdf", change))
    said = found(verdict, "pages").differences
    assert any("OpenAction" in one for one in said)
    assert any(one.startswith("page 2: its links or notes") for one in said)


def test_a_font_that_draws_other_glyphs_is_found(written: Path, tmp_path: Path) -> None:
    verdict = verification.verify(tampering.copy(written / "report.pdf", tmp_path / "report.pdf", tampering.swap_fonts))
    assert any("font" in one for one in found(verdict, "pages").differences)


def test_a_file_that_another_program_saved_again_still_agrees(written: Path, tmp_path: Path) -> None:
    with pikepdf.open(written / "report.pdf") as pdf:
        pdf.save(tmp_path / "again.pdf", linearize=True, recompress_flate=True)
    assert (tmp_path / "again.pdf").read_bytes() != (written / "report.pdf").read_bytes()
    assert verification.verify(tmp_path / "again.pdf").agrees


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tampering.give_some_readers_another_file, "results.json is other files to other readers"),
        (tampering.give_related_files, "results.json has RF, which cxrobust writes of none"),
        (tampering.associate_another_file, "results.json stands more than once"),
        (tampering.associate_a_file_with_a_page, "more.csv stands beside the list of attachments"),
        (tampering.rename_for_some_readers, "results.json has another name to some readers"),
    ],
)
def test_a_file_that_another_reader_of_pdf_would_take_for_an_attachment_is_found(
    change: Callable[[pikepdf.Pdf], None], said: str, written: Path, tmp_path: Path
) -> None:
    path = tampering.copy(written / "report.pdf", tmp_path / "x.pdf", change)
    with pikepdf.open(path) as pdf:
        assert said in _attachments(reading.carried(pdf, path)).differences
    with pikepdf.open(written / "report.pdf") as pdf:
        assert _attachments(reading.carried(pdf, path)).status == "agrees"


def test_what_a_manifest_says_beside_what_cxrobust_writes_is_found(written: Path, tmp_path: Path) -> None:
    manifest = json.loads(tampering.attached(written / "report.pdf")["manifest.json"])
    files = {"manifest.json": json.dumps({**manifest, "reviewed": "by nobody"}).encode()}
    path = tampering.with_files(written / "report.pdf", tmp_path / "x.pdf", files)
    with pikepdf.open(path) as pdf:
        (said,) = _attachments(reading.carried(pdf, path)).differences
    assert said == "manifest.json says 'reviewed', which cxrobust writes into none"


@pytest.mark.parametrize("name", ["results.json", "manifest.json"])
def test_a_key_that_stands_twice_is_refused(name: str, written: Path, tmp_path: Path) -> None:
    text = tampering.attached(written / "report.pdf")[name].decode()
    again = text.replace('"format": 1', '"format": 1, "format": 1', 1)
    assert json.loads(again) == json.loads(text)
    path = tampering.with_files(
        written / "report.pdf", tmp_path / "x.pdf", {name: again.encode()}, listed=name == "results.json"
    )
    with pytest.raises(DataError, match="the key 'format' stands twice in one table"):
        verification.verify(path)


def test_a_key_that_stands_twice_in_the_index_of_predictions_is_refused(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    shutil.copytree(written / "predictions", folder)
    text = (folder / "index.json").read_text()
    (folder / "index.json").write_text(text.replace('"format":', '"format": 2, "format":', 1))
    for read in (recomputed.check_folder, load_predictions):
        with pytest.raises(DataError, match="the key 'format' stands twice"):
            read(folder)


def test_what_was_left_out_of_results_is_found(written: Path) -> None:
    content = json.loads((written / "results.json").read_text())
    provenance = content["provenance"]
    gone = {
        "data": (content["data"], ("exclusions", "sources", "characteristics", "citation", "findings")),
        "regimes, a": (content["regimes"][0], ("description", "settings", "fingerprint", "family")),
        "conditions": (content["conditions"][0], ("kind", "parameters")),
        "provenance": (provenance, ("command", "inference", "seed")),
        "provenance, analysis": (provenance["analysis"], ("hardware", "python", "distributions")),
        "settings, analysis": (content["study"]["analysis"], ("adjust", "recalibrate", "subgroups")),
    }
    for table, keys in gone.values():
        for key in keys:
            del table[key]
    results = parse_results(json.dumps(content), path=written / "results.json")
    study = read_study(written / "study.toml")
    told = [
        *recomputed.recompute(results, study, written / "predictions", report=lambda *_: None).differences,
        *(f"settings, {one}" for one in _settings(study, results).differences),
    ]
    for where, (_, keys) in gone.items():
        part, _, inner = where.partition(", ")
        for key in keys:
            wanted = re.compile(rf"{part}, (.*\.)?{inner}{'.' if inner else ''}{key}: 'absent', ")
            assert [one for one in told if wanted.match(one)], (wanted, told)


def test_a_changed_estimate_in_the_attached_results_is_found(written: Path, tmp_path: Path) -> None:
    honest = read_results(written / "results.json")
    place = next(k for k, one in enumerate(honest.estimates) if one.estimand == "difference-in-differences")
    one = honest.estimates[place]
    assert one.estimate is not None
    better = replace(one, estimate=one.estimate + 0.01)
    changed = replace(honest, estimates=(*honest.estimates[:place], better, *honest.estimates[place + 1 :]))
    files = {"results.json": results_text(changed).encode()}
    naive = verification.verify(tampering.with_files(written / "report.pdf", tmp_path / "naive.pdf", files))
    assert {"attachments", "estimates.csv", "estimates"} <= differing(naive)
    files["estimates.csv"] = estimates_text(changed.estimates).encode()
    clever = verification.verify(
        tampering.with_files(written / "report.pdf", tmp_path / "clever.pdf", files, listed=True)
    )
    assert differing(clever) - {"pages"} == {"estimates"}
    (said,) = found(clever, "estimates").differences
    assert repr(better.estimate) in said
    assert repr(one.estimate) in said
    assert one.metric in said


def test_a_forged_account_of_a_registered_plan_is_found(written: Path, tmp_path: Path) -> None:
    honest = read_results(written / "results.json")
    account = honest.provenance["registration"]
    forged = {**account, "date": "2019-01-01T00:00:00Z", "predictions": {**account["predictions"], "after": 4}}
    results = replace(honest, provenance={**honest.provenance, "registration": forged})
    path = tampering.with_files(
        written / "report.pdf",
        tmp_path / "report.pdf",
        {"results.json": results_text(results).encode()},
        listed=True,
    )
    verdict = verification.verify(path)
    assert differing(verdict) == {"registration", "pages"}
    assert [one.partition(":")[0] for one in found(verdict, "registration").differences] == [
        "its date, plan or files were changed",
        "predictions, after",
    ]
    assert "registered on 2019-01-01T00:00:00Z" in found(verdict, OWN_WORD).said


def test_a_study_file_that_cannot_be_read_does_not_keep_estimates_from_being_checked(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = read_results(written / "results.json")
    text = honest.study_text + "\n[nonsense]\n"
    recorded = {**honest.provenance, "study_sha256": sha256_bytes(text.encode())}
    files = {
        "study.toml": text.encode(),
        "results.json": results_text(replace(honest, study_text=text, provenance=recorded)).encode(),
    }
    path = tampering.with_files(written / "report.pdf", tmp_path / "report.pdf", files, listed=True)
    assert _main(["verify", str(path)]) == 1
    assert re.search(
        r"differs +estimates: .*could not be recomputed.*\n +- study\.toml cannot be read here", capsys.readouterr().out
    )
    assert differing(verification.verify(path)) - {"pages"} == {"estimates"}  # pages print the study file


def test_a_changed_probability_in_a_given_folder_is_found(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "predictions"
    shutil.copytree(written / "predictions", folder)
    assert _main(["verify", str(written / "report.pdf"), "--predictions", str(folder)]) == 0
    file = tampering.change_a_probability(folder)
    assert _main(["verify", str(written / "report.pdf"), "--predictions", str(folder)]) == 1
    assert f"{file} has not the hash that index.json gives" in capsys.readouterr().out


def test_a_file_that_was_added_to_an_attached_zip_is_named(written: Path, tmp_path: Path) -> None:
    predictions = tampering.unzipped(tampering.attached(written / "report.pdf")["predictions.zip"])
    files = {"predictions.zip": tampering.zip_of({**predictions, "notes.txt": b"The AUROC is 0.99."})}
    path = tampering.with_files(written / "report.pdf", tmp_path / "report.pdf", files, listed=True)
    for given in ((), (written / "predictions",)):
        verdict = verification.verify(path, predictions=given)
        assert differing(verdict) == {"predictions.zip"}
        assert found(verdict, "predictions.zip").differences == ("notes.txt is not listed in its index.json",)


def test_an_image_that_was_added_to_those_attached_is_named(tmp_path: Path, drawn: Path) -> None:
    path, _ = render(results(SMALL, images=tmp_path), formats=("pdf",), out=tmp_path, images=tmp_path, keep=drawn)
    images = tampering.unzipped(tampering.attached(path)["images.zip"])
    files = {"images.zip": tampering.zip_of({**images, "examples/more.png": b"an image"})}
    honest = verification.verify(path)
    assert differing(honest) == set()
    verdict = verification.verify(tampering.with_files(path, tmp_path / "more.pdf", files, listed=True))
    assert differing(verdict) == {"images.zip"}
    assert found(verdict, "images.zip").differences == ("examples/more.png is not listed in results.json",)


def test_a_changed_probability_that_every_hash_agrees_with_is_found(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    reading.unzip(tampering.attached(written / "report.pdf")["predictions.zip"], folder, where="")
    tampering.change_a_probability(folder, indexed=True)
    honest = read_results(written / "results.json")
    forged = replace(honest, provenance={**honest.provenance, "predictions_sha256": sha256_file(folder / "index.json")})
    files = {
        "predictions.zip": tampering.zip_of({one.name: one.read_bytes() for one in folder.iterdir()}),
        "results.json": results_text(forged).encode(),
    }
    verdict = verification.verify(
        tampering.with_files(written / "report.pdf", tmp_path / "report.pdf", files, listed=True)
    )
    assert "estimates" in differing(verdict)
    assert {"attachments", "predictions", "estimates.csv"}.isdisjoint(differing(verdict))
    assert len(found(verdict, "estimates").differences) > 10


def test_a_forged_probability_of_an_example_image_is_found_though_every_hash_agrees(
    written: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    reading.unzip(tampering.attached(written / "report.pdf")["predictions.zip"], folder, where="")
    index = json.loads((folder / "index.json").read_text())
    unit = read_unit(folder / index["units"][0]["file"])
    example = {
        "kind": "attack",
        "image": unit.image_ids[0],
        "regime": unit.regime,
        "condition": unit.condition,
        "file": "examples/a.png",
        "sha256": "0" * 64,
        "findings": ["Effusion"] if unit.labels[0, 0] == 1 else [],
        "probabilities": {"Effusion": float(unit.probabilities[0, 0])},
    }
    forged = {**example, "probabilities": {"Effusion": 0.99}}
    for one, differ in ((example, set()), (forged, {"examples"})):
        (folder / "index.json").write_text(json.dumps({**index, "examples": [one]}))
        honest = read_results(written / "results.json")
        recorded = {**honest.provenance, "predictions_sha256": sha256_file(folder / "index.json")}
        files = {
            "predictions.zip": tampering.zip_of({one.name: one.read_bytes() for one in folder.iterdir()}),
            "results.json": results_text(replace(honest, examples=(one,), provenance=recorded)).encode(),
        }
        path = tampering.with_files(written / "report.pdf", tmp_path / "report.pdf", files, listed=True)
        verdict = verification.verify(path)
        assert differing(verdict) - {"pages"} == differ  # pages print the index's hash
    (said,) = found(verdict, "examples").differences
    assert said == (
        f"image {unit.image_ids[0]}, {unit.regime}, {unit.condition}, Effusion: probability 0.99, "
        f"the predictions hold {float(unit.probabilities[0, 0])!r}"
    )


def test_attack_checks_are_said_not_to_be_checked(tmp_path: Path, drawn: Path) -> None:
    made = results(SMALL)
    names = [one["name"] for one in made.regimes]
    checks = tuple(
        {
            **CHECK,
            "regime": name,
            "transferred": {other: 1.5 for other in names if other != name},
        }
        for name in names
    )
    for path in render(replace(made, attack_checks=checks), formats=("pdf",), out=tmp_path, images=None, keep=drawn):
        verdict = verification.verify(path)
        assert found(verdict, "attack checks and transfer").status == "not checked"
        assert "need the models" in found(verdict, "attack checks and transfer").said
        assert verdict.text().rpartition("not checked: ")[2].endswith(f"attack checks and transfer, {OWN_WORD}")
        assert found(verdict, "pages").status == "agrees", found(verdict, "pages").differences


def test_pages_whose_images_are_not_attached_are_printed_with_the_readers_or_not_checked(
    tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = results(SMALL, images=tmp_path)
    carrying, *_ = render(made, formats=("pdf",), out=tmp_path / "carrying", images=tmp_path, keep=drawn)
    monkeypatch.setattr(evidence, "MOST_BYTES", 10)
    large, *_ = render(made, formats=("pdf",), out=tmp_path / "large", images=tmp_path, keep=drawn)
    without, *_ = render(made, formats=("pdf",), out=tmp_path / "without", images=None, keep=drawn)
    said = [
        json.loads(tampering.attached(path)["manifest.json"])["example_images"] for path in (carrying, large, without)
    ]
    assert said == ["carried", "shown, not carried", "none shown"]
    pages = found(verification.verify(large), "pages")
    assert pages.status == "not checked"
    assert "give --predictions DIR" in pages.said
    for path in (large, without):
        pages = found(verification.verify(path, predictions=[tmp_path]), "pages")
        assert pages.status == "agrees", pages.differences


def test_a_swapped_study_file_is_found(written: Path, tmp_path: Path) -> None:
    other = (written / "study.toml").read_text().replace("seed = 1", "seed = 2").encode()
    path = tampering.with_files(written / "report.pdf", tmp_path / "report.pdf", {"study.toml": other}, listed=True)
    verdict = verification.verify(path)
    assert {"study", "settings", "estimates"} <= differing(verdict)
    assert found(verdict, "settings").differences == ("study.seed: 1, the study file gives 2",)


def test_without_predictions_estimates_are_said_not_to_be_recomputed(
    tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, appendix = render(
        results(SMALL, images=tmp_path), formats=("pdf",), out=tmp_path, images=tmp_path, keep=drawn
    )
    verdict = verification.verify(path)
    assert found(verdict, "estimates").status == "not checked"
    assert "were not recomputed" in found(verdict, "estimates").said
    assert "--predictions DIR" in found(verdict, "predictions").said
    pages = found(verdict, "pages")
    assert pages.status == "agrees", pages.differences  # with the example images that the document carries
    pages = found(verification.verify(appendix), "pages")
    assert pages.status == "agrees", pages.differences  # whose checklists name pages of the report
    assert verdict.text().endswith(
        "report.pdf: all that was checked agrees; not checked: settings, predictions, estimates, examples, " + OWN_WORD
    )


def test_templates_of_the_authors_own_are_used_and_told(tmp_path: Path, drawn: Path) -> None:
    own = tmp_path / "own"
    (own / "sections").mkdir(parents=True)
    (own / "sections" / "clustering.html.j2").write_text("<p>AUROC 0.999</p>")
    path, _ = render(results(SMALL), formats=("pdf",), out=tmp_path, images=None, templates=own, keep=drawn)
    verdict = verification.verify(path)
    assert found(verdict, "pages").status == "agrees", found(verdict, "pages").differences
    assert found(verdict, "templates").said.startswith("1 file of its own came before")
    assert verdict.text().endswith(f"templates, {OWN_WORD}")
    given = verification.verify(path, templates=own)
    assert found(given, "pages").status == "agrees"
    assert "templates" not in {one.what for one in given.checks}
    (own / "sections" / "clustering.html.j2").write_text("<p>AUROC 0.998</p>")
    assert "pages" in differing(verification.verify(path, templates=own))


def test_a_model_in_a_folder_that_is_not_at_hand_is_the_one_in_the_results() -> None:
    recorded = {"regimes": [{"name": "a", "model": "a"}, {"name": "b", "model": "other"}]}
    read = {"regimes": [{"name": "a", "model": "checkpoints/a"}, {"name": "b", "model": "checkpoints/b"}]}
    assert by_name(recorded)["regimes"][0] == by_name(read)["regimes"][0]
    assert by_name(recorded)["regimes"][1] != by_name(read)["regimes"][1]


def test_another_version_that_laid_pages_out_otherwise_is_compared_by_words(tmp_path: Path, drawn: Path) -> None:
    path, _ = render(results(SMALL), formats=("pdf",), out=tmp_path, images=None, paper="Letter", keep=drawn)
    with pikepdf.open(path) as letter:
        assert {tuple(map(float, page.mediabox)) for page in letter.pages} == {(0, 0, 612, 792)}
    for page in pypdfium2.PdfDocument(path):
        text = page.get_textpage()
        boxes = [text.get_rect(k) for k in range(text.count_rects())]
        assert min(box[0] for box in boxes) > 45.5  # 183 mm of text in the middle of 8.5 inches; a j reaches 1 pt out
        assert max(box[2] for box in boxes) < 566
    manifest = json.loads(tampering.attached(path)["manifest.json"])
    manifest["paper"] = "A4"
    same = tampering.with_files(path, tmp_path / "same.pdf", {"manifest.json": json.dumps(manifest).encode()})
    assert "pages" in differing(verification.verify(same))
    manifest["printed_with"]["weasyprint"] = "1"
    other = tampering.with_files(path, tmp_path / "other.pdf", {"manifest.json": json.dumps(manifest).encode()})
    verdict = verification.verify(other)
    pages = found(verdict, "pages")
    assert pages.status == "agrees", pages.differences
    drawing = found(verdict, "drawing")
    assert drawing.status == "not checked"
    assert "weasyprint 1, here" in drawing.said
    numbers: list[tuple[str, str]] = []
    changed = tampering.copy(
        other, tmp_path / "changed.pdf", lambda pdf: numbers.append(tampering.change_the_first_digit(pdf))
    )
    (said,) = found(verification.verify(changed), "pages").differences
    assert f"printed '{numbers[0][1]}', expected '{numbers[0][0]}'" in said


def test_whoever_forges_the_versions_covers_writes_over_and_redraws_no_word(written: Path, tmp_path: Path) -> None:
    manifest = json.loads(tampering.attached(written / "report.pdf")["manifest.json"])
    manifest["printed_with"]["weasyprint"] = "1"
    files = {"manifest.json": json.dumps(manifest).encode()}
    forged = tampering.with_files(written / "report.pdf", tmp_path / "forged.pdf", files)

    def change(pdf: pikepdf.Pdf) -> None:
        tampering.lay_over(pdf)
        tampering.annotate(pdf)
        tampering.swap_fonts(pdf)

    verdict = verification.verify(tampering.copy(forged, tmp_path / "report.pdf", change))
    assert differing(verdict) == {"pages"}
    told = "\n".join(found(verdict, "pages").differences)
    assert "page 2: '0.999' stands beside the text" in told
    assert "page 2: something is painted over '" in told
    assert "page 2: a link or note (FreeText '0.999')" in told
    assert "the font Source-Sans-Pro-Semi-Bold does not draw '" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no PDF"),
        (b"%PDF-1.7\nnothing more", "it is no readable PDF"),
        (None, "No such file"),
    ],
    ids=["empty", "broken", "missing"],
)
def test_what_is_no_pdf_is_told_in_one_sentence(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pdf"
    if content is not None:
        path.write_bytes(content)
    assert _main(["verify", str(path)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_pdf_of_another_program_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pdf = pikepdf.new()
    pdf.add_blank_page()
    pdf.save(tmp_path / "x.pdf")
    assert _main(["verify", str(tmp_path / "x.pdf")]) == 1
    assert "carries no study and no results" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil.parquet", "/etc/evil", "a/../../evil", "a\\..\\evil", "a/b/c", ".hidden"])
def test_a_zip_writes_nothing_outside_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(DataError, match="no plain name"):
        reading.unzip(tampering.zip_of({name: b"x"}), folder, where="x.zip")
    assert [one.name for one in tmp_path.rglob("*")] == ["in"]


def test_what_unpacks_to_too_much_is_not_read(written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "MOST_UNPACKED", 10_000)
    with pytest.raises(DataError, match="unpacks to more than"):
        verification.verify(written / "report.pdf")
    with pytest.raises(DataError, match="unpacks to more than"):
        reading.unzip(tampering.zip_of({"a.parquet": bytes(20_000)}), tmp_path, where="x.zip")


def test_an_index_that_names_files_elsewhere_is_refused(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    shutil.copytree(written / "predictions", folder)
    index = json.loads((folder / "index.json").read_text())
    index["units"][0]["file"] = "../../secret.parquet"
    (folder / "index.json").write_text(json.dumps(index))
    verdict = verification.verify(written / "report.pdf", predictions=[folder])
    assert any("no plain name" in one for one in found(verdict, "predictions").differences)


def test_a_version_that_brings_a_style_of_its_own_hides_nothing(tmp_path: Path, drawn: Path) -> None:
    made = results(SMALL)
    style = "0.1\n} } section#limitations { display: none } p { content: "
    analysis = {**made.provenance["analysis"], "versions": {"cxrobust": style}}
    forged = replace(made, provenance={**made.provenance, "analysis": analysis})
    titles = []
    for name, one in (("honest", made), ("forged", forged)):
        path, _ = render(one, formats=("pdf",), out=tmp_path / name, images=None, keep=drawn)
        text = "".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(path))
        titles.append([line for line in text.splitlines() if line.startswith("Limitations")])
    assert len(titles[0]) > 1  # in the contents, and over the section
    assert titles[1] == titles[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tampering.zip_of({"a": b"x"}, zipfile.ZIP_LZMA), "a is packed in a way that cxrobust never uses"),
        (tampering.zip_of({"a": b"x"}, zipfile.ZIP_BZIP2), "a is packed in a way that cxrobust never uses"),
        (tampering.zip_of({"a": b"x", "a/b": b"x"}), "a file and a folder of one name"),
        (tampering.zip_of({"a/b": b"x", "a": b"x"}), "a file and a folder of one name"),
    ],
    ids=["lzma", "bzip2", "folder after file", "file after folder"],
)
def test_a_zip_that_cxrobust_never_writes_is_told_in_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        reading.unzip(content, tmp_path, where="x.zip")


def test_predictions_bring_no_templates(written: Path, tmp_path: Path) -> None:
    templates = resources.files("cxrobust").joinpath("templates")
    ours = templates.joinpath("report.css").read_bytes()
    predictions = tampering.unzipped(tampering.attached(written / "report.pdf")["predictions.zip"])
    packed = tampering.zip_of({**predictions, "own-templates/report.html.j2": b"All is well."})
    path = tampering.with_files(written / "report.pdf", tmp_path / "x.pdf", {"predictions.zip": packed})

    def attach(pdf: pikepdf.Pdf) -> None:
        content = tampering.zip_of({"report.css": ours})
        pdf.attachments["templates.zip"] = pikepdf.AttachedFileSpec(pdf, content, filename="templates.zip")

    verdict = verification.verify(tampering.copy(path, tmp_path / "y.pdf", attach))
    assert found(verdict, "templates").said.startswith("1 file of its own came before")
    assert found(verdict, "pages").status == "agrees", found(verdict, "pages").differences


def test_what_a_document_says_does_nothing_to_the_terminal(written: Path, tmp_path: Path) -> None:
    name = "\x1b[2J\x9bH\nreport.pdf: all that was checked agrees\u202e"

    def attach(pdf: pikepdf.Pdf) -> None:
        pdf.attachments[name] = pikepdf.AttachedFileSpec(pdf, b"x", filename="x")

    text = verification.verify(tampering.copy(written / "report.pdf", tmp_path / "x.pdf", attach)).text()
    assert text.replace("\n", "").isprintable()
    assert not [line for line in text.splitlines() if line.startswith("report.pdf: all that was checked agrees")]


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {"analysis": [1], "inference": {}}},
        {"study": {"report": {"formats": [], "paper": "A4"}, "regimes": 5}},
        {"data": {}, "regimes": [3]},
        {"conditions": [1]},
        {"data": {"n_images": 1, "n_patients": 1, "findings": []}},
    ],
    ids=["provenance", "study", "regimes", "conditions", "data"],
)
def test_results_of_another_form_are_told_without_a_traceback(
    change: dict[str, object], written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(tampering.attached(written / "report.pdf")["results.json"])
    files = {"results.json": json.dumps({**content, **change}).encode()}
    path = tampering.with_files(written / "report.pdf", tmp_path / "x.pdf", files, listed=True)
    assert _main(["verify", str(path)]) == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "differs" in said.out or "was changed, or not written by cxrobust" in said.err


def test_tables_in_a_folder_below_count_against_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    pq.write_table(pa.table({"a": [1, 2, 3, 4]}), tmp_path / "below" / "a.parquet")
    (tmp_path / "index.json").write_text(json.dumps({"units": [{"file": "below/a.parquet"}]}))
    recomputed.check_folder(tmp_path)
    monkeypatch.setattr(recomputed, "MOST_CELLS", 3)
    with pytest.raises(DataError, match="hold more than 3 values"):
        recomputed.check_folder(tmp_path)
