"""A run as a bundle: what is in it, what is not, and that doing it again comes out the same or says what differs."""

import json
import os
import re
import shutil
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from cxrobust import pipeline
from cxrobust.bundles import bundling, crate, reproducing
from cxrobust.bundles.beside import Beside, beside, templates_of
from cxrobust.bundles.bundling import Wanted, bundle
from cxrobust.bundles.reproducing import Verdict, reproduce
from cxrobust.bundles.unpacking import MANIFEST, check_manifest, files_of, manifest_text
from cxrobust.cli import _main
from cxrobust.differences import Difference
from cxrobust.errors import DataError
from cxrobust.files import sha256_file
from cxrobust.registration import place_of
from cxrobust.registration.planned import register
from cxrobust.reports.evidence import evidence
from cxrobust.results import read_results, write_results
from cxrobust.study import read_study

from ..inference.tiny import write_study
from ..test_without_torch import made_elsewhere

NOT_COMPARED = (
    "not compared: in ro-crate-metadata.json the date of the bundle and what it was made with, which nothing else says"
)
NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished and registered run."""
    folder = tmp_path_factory.mktemp("bundled")
    path = made_elsewhere(folder)
    path.write_text(path.read_text().replace('root = "images"', 'root = "."'))
    stated = 'authors = ["Ada Lovelace (0000-0002-1825-0097)", "Bo Li"]\nlicence = "CC-BY-4.0"\n[data]'
    path.write_text(path.read_text().replace("[data]", stated, 1))
    study = read_study(path)
    register(study, place_of(study), now=NOW)
    pipeline.predict(study, folder / "out")
    pipeline.analyze(study, folder / "out")
    os.utime(folder / "out" / "results.json", (1_790_000_000, 1_790_000_000))  # 21 September 2026
    return folder / "out"


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(run, tmp_path_factory.mktemp("whole") / "crate", wanted=Wanted(predictions=True), as_zip=False)


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def relisted(folder: Path) -> None:
    """List the hashes anew, as one would who wants a change not to be seen."""
    names = [name for name in files_of(folder) if name != MANIFEST]
    (folder / MANIFEST).write_text(manifest_text(folder, names))


def strays(folder: Path, out: Path) -> tuple[str, ...]:
    """Return the files of a bundle that neither it nor what was written to `out` accounts for."""
    return beside(folder, out, check_manifest(folder), read_results(folder / "results.json")).strays


def test_the_bundle_holds_what_a_reviewer_needs_and_lists_every_hash(run: Path, whole: Path) -> None:
    names = files_of(whole)
    index = json.loads((run / "predictions" / "index.json").read_text())
    assert set(names) >= {
        "README.md", "environment.txt", "estimates.csv", "manifest-sha256.txt", "predictions/images.parquet",
        "predictions/index.json", "report.html", "appendix.html", "results.json", "ro-crate-metadata.json",
        "study.registration.json", "study.toml", *(f"predictions/{unit['file']}" for unit in index["units"]),
    }  # fmt: skip
    listed = dict(line.split("  ")[::-1] for line in (whole / MANIFEST).read_text().splitlines())
    assert listed == {name: sha256_file(whole / name) for name in names if name != MANIFEST}
    assert (whole / "study.toml").read_bytes() == (run.parent / "study.toml").read_bytes()
    assert not any("cache" in name or name.endswith((".png", "log.jsonl")) for name in names)


def test_the_metadata_describe_every_file_authors_licence_and_code(whole: Path) -> None:
    content = json.loads((whole / "ro-crate-metadata.json").read_text())
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.2/context"
    graph = {one["@id"]: one for one in content["@graph"]}
    assert len(graph) == len(content["@graph"])
    assert graph["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = graph["./"]
    assert (root["datePublished"], root["@type"]) == ("2026-09-21", "Dataset")
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert [graph[one["@id"]]["name"] for one in root["author"]] == ["Ada Lovelace", "Bo Li"]
    assert root["author"][0] == {"@id": "https://orcid.org/0000-0002-1825-0097"}
    parts = {one["@id"] for one in root["hasPart"]}
    assert parts == set(files_of(whole)) - {"ro-crate-metadata.json", MANIFEST}
    for name in parts:
        assert graph[name]["sha256"] == sha256_file(whole / name)
        assert graph[name]["contentSize"] == str((whole / name).stat().st_size)
    referred = [one for entity in content["@graph"] for value in entity.values() for one in _ids(value)]
    assert not [one for one in referred if one not in graph and one != "https://w3id.org/ro/crate/1.2"]
    action = graph["#analysis"]
    assert {one["@id"] for one in action["object"]} == {"study.toml", "predictions/index.json"}
    assert {"results.json", "estimates.csv", "report.html"} <= {one["@id"] for one in action["result"]}


def _ids(value: object) -> list[str]:
    if isinstance(value, dict):
        return [value["@id"]] if "@id" in value else []
    return [one for item in value for one in _ids(item)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("stated", "place"),
    [
        ("Apache-2.0", "https://spdx.org/licenses/Apache-2.0"),
        ("https://example.org/terms", "https://example.org/terms"),
        ("For review alone", "#licence"),
        (None, "#no-licence"),
    ],
)
def test_a_licence_is_named_as_stated_and_never_invented(stated: str | None, place: str) -> None:
    found, [entity] = crate._licence(stated)
    assert (found, entity["@id"]) == (place, place)
    assert entity["name"] == (stated or "No licence stated")


def test_the_same_run_gives_the_same_zip(run: Path, tmp_path: Path) -> None:
    wanted = Wanted(predictions=True)
    first, second = (bundle(run, tmp_path / f"{n}.zip", wanted=wanted, as_zip=True) for n in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("attach_predictions = false", "says attach_predictions = false in [report]"),
        ("", "not known to be public"),
    ],
)
def test_why_predictions_are_left_out_is_what_the_study_says(run: Path, said: str, expected: str) -> None:
    found = read_results(run / "results.json")
    study = {**found.study, "report": {**found.study["report"], "attach_predictions": False}}
    other = replace(found, study=study, study_text=f"[report]\n{said}\n")
    told: list[str] = []
    assert not bundling._choose_predictions(other, None, told.append)
    for sentence in (*told, evidence(other, folder=None).without_predictions):
        assert expected in sentence
        assert ("public" in sentence) == ("public" in expected)


def test_predictions_of_data_that_are_not_known_to_be_public_are_left_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["bundle", str(run), "--out", str(tmp_path / "a.zip")]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "a.zip")
    assert "predictions are left out" in said.err
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("predictions")]
    assert _main(["reproduce", str(tmp_path / "a.zip")]) == 1
    assert "there are no predictions: give their folder by --predictions" in capsys.readouterr().err
    again = ["reproduce", str(tmp_path / "a.zip"), "--predictions", str(run / "predictions")]
    assert _main(again) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "identical"


def test_example_images_go_in_only_when_they_are_asked_for(run: Path, tmp_path: Path) -> None:
    out = copied(run, tmp_path / "run")
    (out / "predictions" / "examples").mkdir()
    (out / "predictions" / "examples" / "a.png").write_bytes(b"pixels")
    results = read_results(out / "results.json")
    digest = sha256_file(out / "predictions" / "examples" / "a.png")
    example = {"image": "a", "kind": "sheet", "regime": None, "condition": "clean", "file": "examples/a.png"}
    example |= {"sha256": digest, "findings": [], "probabilities": {}}
    told: list[str] = []
    for name, images, kind in (("none", None, "folder"), ("asked", True, "folder"), ("drawn", None, "phantoms")):
        study = {**results.study, "data": {**results.study["data"], "kind": kind}}
        written = ({"image": "a", "findings": [], "reference": None, "reports": []},)
        changed = replace(results, examples=(example,), study=study, generated_reports=written)
        write_results(changed, out / "results.json")
        wanted = Wanted(predictions=True, images=images)
        made = bundle(out, tmp_path / name, wanted=wanted, as_zip=False, say=told.append)
        assert ("predictions/examples/a.png" in files_of(made)) == (name != "none")
        assert bool(read_results(made / "results.json").generated_reports) == (name != "none")
    assert strays(tmp_path / "asked", out) == ()
    (tmp_path / "asked" / "predictions" / "examples" / "a.png").write_bytes(b"other pixels")
    relisted(tmp_path / "asked")
    assert strays(tmp_path / "asked", out) == ("predictions/examples/a.png",)
    assert [one for one in told if "1 example images" in one] == [
        "the bundle holds 1 example images: see that their licence lets you share them"
    ]


def test_reproducing_says_identical_and_keeps_what_it_wrote(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["reproduce", str(whole), "--out", str(tmp_path / "again")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("computed again from the predictions: identical")
    assert lines[1:] == [
        "documents: written again from results.json, identical: README.md, appendix.html, environment.txt, "
        "report.html, ro-crate-metadata.json",
        NOT_COMPARED,
        "identical",
    ]
    assert read_results(whole / "results.json").study["data"]["root"] == "."
    assert (tmp_path / "again" / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert _main(["reproduce", str(whole), "--out", str(whole)]) == 1
    assert "nothing in it is overwritten" in capsys.readouterr().err


def test_a_number_that_the_predictions_do_not_give_is_named_with_both_values(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(whole, tmp_path / "crate")
    results = read_results(folder / "results.json")
    place = next(i for i, e in enumerate(results.estimates) if e.metric == "auroc" and e.estimate is not None)
    one = results.estimates[place]
    assert one.estimate is not None
    other = replace(one, estimate=one.estimate + 0.01)
    changed = replace(results, estimates=(*results.estimates[:place], other, *results.estimates[place + 1 :]))
    write_results(changed, folder / "results.json")
    assert _main(["reproduce", str(folder)]) == 1
    assert "1 files were changed after they were bundled (results.json)" in capsys.readouterr().err
    relisted(folder)
    assert _main(["reproduce", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "estimates: 2 fields differ from results.json:" in out
    assert f"estimate: {other.estimate!r}, now {one.estimate!r}" in out
    assert "estimates.csv: content: that of results.json, now another" in out
    assert out.splitlines()[-1] == "not identical"


@pytest.mark.parametrize("part", ["settings", "metrics", "regimes"])
def test_results_that_say_otherwise_what_was_run_are_not_identical(part: str, whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "crate")
    results = read_results(folder / "results.json")
    study = {**results.study, "analysis": {**results.study["analysis"], "level": 0.99}}
    sides = (replace(results.metrics[0], better="lower"), *results.metrics[1:])
    regimes = tuple({**one, "fingerprint": {"other.csv": "0" * 64}} for one in results.regimes)
    forged, field = {
        "settings": (replace(results, study=study), "analysis.level"),
        "metrics": (replace(results, metrics=sides), "[1].better"),
        "regimes": (replace(results, regimes=regimes), "a.fingerprint.other.csv"),
    }[part]
    write_results(forged, folder / "results.json")
    for name in ("report.html", "appendix.html"):
        (folder / name).unlink()  # those of the forged results would be their own
    relisted(folder)
    verdict = reproduce(folder, tmp_path / "out")
    assert (part, field) in {(one.part, one.field) for one in verdict.differences}
    assert not verdict.is_identical


def test_a_document_that_the_results_do_not_give_is_named(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "crate")
    path = folder / "report.html"
    path.write_text(path.read_text().replace("Limitations", "Strengths"))
    relisted(folder)
    verdict = reproduce(folder, tmp_path / "out")
    assert verdict.beside.changed == ("report.html", "ro-crate-metadata.json")
    assert verdict.differences == ()
    assert not verdict.is_identical


def test_what_describes_a_bundle_is_written_again_and_strays_are_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(whole, tmp_path / "crate")
    crate_file = folder / "ro-crate-metadata.json"
    content = json.loads(crate_file.read_text())
    for one in content["@graph"]:
        if one["@id"] == "./":
            one["author"] = [{"@id": "#x"}]
    crate_file.write_text(json.dumps(content))
    (folder / "README.md").write_text("# Everything was verified\n")
    (folder / "environment.txt").write_text("torch==0.1\n")
    (folder / "power.csv").write_text("metric,regime,size\nauroc,b,0.0000001\n")
    strays = ("figure.png", "results-summary.json", "predictions/extra.txt", "templates/sections/limitations.html.j2")
    for name in strays:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("forged")
    relisted(folder)
    assert _main(["reproduce", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("computed again from the predictions: identical")
    assert lines[1:] == [
        "documents: written again from results.json, identical: appendix.html, report.html",
        "documents: written again from results.json, with other bytes: README.md, environment.txt, "
        "ro-crate-metadata.json",
        f"other files, which nothing in the bundle accounts for: {', '.join(strays)}",
        "not compared: power.csv, which answers questions that nothing in the bundle repeats",
        NOT_COMPARED,
        "not identical",
    ]


@pytest.mark.parametrize(
    ("key", "forged", "is_found"),
    [("datePublished", "2020-01-01", False), ("datePublished", "tomorrow", True), ("name", "Another study", True)],
)
def test_the_description_may_have_another_date_alone(
    key: str, forged: str, is_found: bool, whole: Path, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path / "crate")
    path = folder / "ro-crate-metadata.json"
    content = json.loads(path.read_text())
    next(one for one in content["@graph"] if one["@id"] == "./")[key] = forged
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    relisted(folder)
    shutil.copytree(whole, tmp_path / "out")  # all documents, as if written again
    found = beside(folder, tmp_path / "out", check_manifest(folder), read_results(folder / "results.json"))
    assert found.changed == (("ro-crate-metadata.json",) if is_found else ())
    assert found.strays == ()


def test_templates_that_no_study_names_are_none_of_the_bundle(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "crate")
    (folder / "templates").mkdir()
    results = read_results(folder / "results.json")
    assert templates_of(folder, results) is None
    report = {**results.study["report"], "template": "own"}
    naming = replace(results, study={**results.study, "report": report})
    assert templates_of(folder, naming) == folder / "templates"
    said = verdict(beside=Beside(templates=1)).lines()
    assert "templates: 1 file of its own came before cxrobust's: read templates/, for it may say anything" in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("study.toml", b"\xff\xfe", "study.toml: not the study file that the results were made with"),
        ("results.json", None, "it cannot be reproduced (KeyError: 'findings'): it was changed, or not written by"),
    ],
)
def test_a_bundle_of_another_form_is_told_in_one_sentence(
    name: str, content: bytes | None, message: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(whole, tmp_path / "crate")
    if content is None:
        content = json.dumps({**json.loads((folder / name).read_text()), "data": {}}).encode()
    (folder / name).write_bytes(content)
    relisted(folder)
    assert _main(["reproduce", str(folder)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_another_study_file_is_told(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "crate")
    path = folder / "study.toml"
    path.write_text(path.read_text() + "# more\n")
    relisted(folder)
    with pytest.raises(DataError, match="not the study file that the results were made with"):
        reproduce(folder, tmp_path / "out")


def verdict(*found: Difference, **fields: object) -> Verdict:
    usual = {"n_estimates": 10, "beside": Beside(documents=("report.html",)), "machines": ()}
    return Verdict(differences=found, **{**usual, **fields})  # type: ignore[arg-type]


def test_rounding_is_told_with_its_size_and_the_machines_and_is_still_a_difference() -> None:
    one = Difference(part="estimates", what="auroc of a", field="se", old=0.1, new=0.1 + 3e-16)
    there = Difference(part="provenance", what="", field="platform", old="Linux-A", new="Linux-B")
    said = verdict(one, machines=(there,)).lines()
    assert said[2] == (
        "  the largest difference is 3.1e-16, as rounding may make it; the analysis was made elsewhere "
        "(platform Linux-A, here Linux-B)"
    )
    assert said[-1] == "not identical"
    assert "as rounding" not in verdict(replace(one, new=0.2)).lines()[2]
    assert "some of what differs is no number" in verdict(replace(one, new=None)).lines()[2]
    assert verdict(beside=Beside(not_written=("report.pdf",))).lines()[-3:] == [
        "documents: not written here: report.pdf",
        NOT_COMPARED,
        "not identical",
    ]


def test_a_place_that_holds_something_else_is_not_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert _main(["bundle", str(run), "--out", str(tmp_path / "mine")]) == 2
    assert "it is there and no bundle" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    assert _main(["bundle", str(run), "--zip", "--out", str(tmp_path / "mine" / "thesis.txt")]) == 2
    assert "it is there and no bundle" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_a_run_that_is_a_bundle_is_not_replaced_by_its_own_bundle(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "notes.txt").write_text("mine")
    for words in ([str(run), "--out", str(run)], [str(run), "--out", str(tmp_path / "run" / ".." / "run")]):
        assert _main(["bundle", *words, "--no-predictions"]) == 2
        assert "the run itself is there" in capsys.readouterr().err
    assert (run / "notes.txt").read_text() == "mine"


def test_predictions_of_other_results_are_not_bundled(run: Path, tmp_path: Path) -> None:
    out = copied(run, tmp_path / "run")
    index = out / "predictions" / "index.json"
    index.write_text(index.read_text() + "\n")
    with pytest.raises(DataError, match="not the predictions that the results were computed from"):
        bundle(out, tmp_path / "crate", wanted=Wanted(predictions=True), as_zip=False)
    shutil.rmtree(out / "predictions")
    with pytest.raises(DataError, match="the predictions are missing"):
        bundle(out, tmp_path / "crate", wanted=Wanted(predictions=True), as_zip=False)
    assert not (tmp_path / "crate").exists()


def test_a_study_of_models_is_reproduced_without_its_checkpoints_and_images(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = write_study(tmp_path / "run")
    path.write_text(path.read_text().replace("[report]", '[report]\nformats = ["html"]'))
    study, out = read_study(path), tmp_path / "run" / "out"
    register(study, place_of(study), now=NOW)
    pipeline.predict(study, out)
    results = pipeline.analyze(study, out)
    assert results.examples
    crate_folder = bundle(out, tmp_path / "crate", wanted=Wanted(predictions=True), as_zip=False)
    shutil.rmtree(tmp_path / "run")
    assert not [name for name in files_of(crate_folder) if name.endswith(".png")]
    found = reproduce(crate_folder, tmp_path / "again")
    assert found.is_identical, found.lines()
    told = f"example images: probabilities and labels of {len(results.examples)} are those of the predictions"
    assert told in found.lines()
    again = read_results(tmp_path / "again" / "results.json")
    before = results.provenance["registration"]
    assert before["predictions"]["after"] > 0
    assert {**again.provenance["registration"], "file": ""} == {**before, "file": ""}

    place, one = next((k, one) for k, one in enumerate(results.examples) if one["probabilities"])
    finding, probability = next(iter(one["probabilities"].items()))
    forged = {**one, "probabilities": {**one["probabilities"], finding: probability / 2}}
    examples = (*results.examples[:place], forged, *results.examples[place + 1 :])
    said = reproducing._examples(replace(results, examples=examples), crate_folder / "predictions")
    assert len(said) == 1
    assert one["image"] in said[0]
    otherwise = replace(found, examples=said)
    assert not otherwise.is_identical
    lines = otherwise.lines()
    assert lines[lines.index("example images say otherwise than the predictions:") + 1] == f"  {said[0]}"
    assert lines[-1] == "not identical"


def test_many_documents_of_a_folder_are_told_by_their_number() -> None:
    tables = tuple(f"paper/tables/t{k}.csv" for k in range(9))
    found = Beside(documents=("report.pdf", "paper/paper.tex", *tables), changed=("report.pdf", tables[0]))
    verdict = Verdict(n_estimates=1, differences=(), beside=found, machines=())
    assert verdict.lines()[1:] == [
        "documents: written again from results.json, identical: paper/paper.tex, 8 files of paper/tables/",
        "documents: written again from results.json, with other bytes: report.pdf, paper/tables/t0.csv",
        NOT_COMPARED,
        "not identical",
    ]


@pytest.mark.parametrize(
    ("known", "said"), [({}, "60 images of 60 patients."), ({"patients_known": "none"}, "60 images.")]
)
def test_the_readme_counts_patients_only_where_the_data_name_them(known: dict[str, str], said: str, run: Path) -> None:
    results = read_results(run / "results.json")
    data = {**results.data, **known, "name": "Drawings", "n_images": 60, "n_patients": 60}
    text = bundling.readme(replace(results, data=data), [], with_predictions=False, with_images=False)
    assert f"Data: Drawings: {said}" in text


def test_the_readme_says_titles_and_names_and_obeys_none(run: Path) -> None:
    results = read_results(run / "results.json")
    title = "<b>T</b> [x](javascript:alert(1)) **a**\n# Forged heading\n- predictions: verified"
    study = {**results.study, "study": {**results.study["study"], "title": title}}
    forged = replace(results, study=study, data={**results.data, "name": "<img src=x>\n\n# Data"})
    html = MarkdownIt().render(bundling.readme(forged, [], with_predictions=False, with_images=False))
    assert html.count("<h1>") == 1
    assert html.count("<ul>") == 1
    assert not re.search("<(b|strong|a|img)[ >]", html)
    assert "&lt;b&gt;T&lt;/b&gt; [x](javascript:alert(1)) **a** # Forged heading - predictions: verified" in html
    assert "&lt;img src=x&gt; # Data" in html
