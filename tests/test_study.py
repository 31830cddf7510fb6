"""The study file: what it refuses, and how it says so."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cxrobust.analysis.metrics import metric
from cxrobust.cli import _main
from cxrobust.errors import StudyError
from cxrobust.inference.engine import changed_settings, made_for
from cxrobust.registration.planned import plan_of
from cxrobust.study import parse_study, read_study
from cxrobust.study.analysis import AnalysisSection, Family, TargetPoint
from cxrobust.study.sections import Section

GOOD = """[study]
title = "t"
seed = 7
reference = "a"
[data]
kind = "phantoms"
patients = 3
[[regimes]]
name = "a"
family = "hf-classifier"
model = "checkpoints/a"
[[perturbations]]
attack = "pgd"
eps = ["0.5/255", 0.01]
[analysis]
resamples = 200
"""


VALIDATION = GOOD.replace("patients = 3\n", 'patients = 3\n[data.validation]\nsplit = "validation"\n')
ELSEWHERE = VALIDATION.replace('split = "validation"\n', "")
ELSEWHERE = (
    ELSEWHERE[: ELSEWHERE.index("[[regimes]]")]
    + """[[regimes]]
name = "a"
predictions = { clean = "a.csv" }
validation = "a-held-out.csv"
[[regimes]]
name = "b"
predictions = { clean = "b.csv" }
validation = "b-held-out.csv"
"""
)


def parse(text: str) -> object:
    return parse_study(text, path=Path("s.toml"))


def test_a_study_reads_with_its_controls_and_defaults() -> None:
    study = parse_study(GOOD, path=Path("folder/s.toml"))
    assert [str(c) for c in study.conditions] == [
        "clean", "pgd(eps=0.5/255, steps=20)", "pgd(eps=0.01, steps=20)", "noise(eps=0.5/255)", "noise(eps=0.01)",
    ]  # fmt: skip
    assert study.analysis.level == 0.95
    assert study.settings()["analysis"]["metrics"] == ["auroc", "accuracy", "confidence", "ece", "brier"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 7", 'seed = "7"', r's.toml:3: study.seed = "7": input should be a whole number, without quotes'),
        ("seed = 7", "sede = 7", r"s.toml:3: unknown key 'sede' in study \(did you mean 'seed'\?\)"),
        ("seed = 7\n", "", r"s.toml:1: study.seed is missing: add it"),
        ('reference = "a"', 'reference = "b"', r"s.toml:4: reference 'b' names no regime.*the regimes are a"),
        ("[data]", "[dta]", r"s.toml:5: unknown section \[dta\] \(did you mean 'data'\?\)"),
        ('"phantoms"', '"phantom"', r"s.toml:6: unknown data set kind 'phantom' \(did you mean 'phantoms'\?\)"),
        ('"hf-classifier"', '"hf"', r"s.toml:10: unknown model family 'hf'"),
        ('"pgd"', '"pdg"', r"s.toml:13: unknown perturbation 'pdg' \(did you mean 'pgd'\?\)"),
        ('"0.5/255"', '"five"', r"s.toml:14: .*'five' is not a size: write \"4/255\" or 0.0157"),
        (
            '"0.5/255"',
            "3",
            r"s.toml:14: perturbations\[1\].eps = 3: input should be less than or equal to 1, since pixels are in "
            r"\[0, 1\]: for 3 of 255 grey levels write \"3/255\"$",
        ),
        ('"0.5/255"', "1.5", r"s.toml:14: .*less than or equal to 1, .* write \"1.5/255\"$"),
        ('["0.5/255", 0.01]', "[4, 8]", r"s.toml:14: .*less than or equal to 1, .* write \"4/255\"$"),
        ('"0.5/255"', "300", r"s.toml:14: .*less than or equal to 1$"),
        ('"0.5/255"', '"300/255"', r"s.toml:14: .*less than or equal to 1$"),
        ("resamples = 200", 'metrics = ["auroc", "acc"]', r"s.toml:16: unknown metric 'acc'"),
        (
            "resamples = 200",
            'primary_condition = "pgd(eps=2/255)"',
            r"s.toml:16: primary_condition .* is no condition.* 'pgd\(eps=0.5/255, ",
        ),
        ("[[regimes]]", "[regimes]", r"s.toml:8: \[regimes\] must be written \[\[regimes\]\]"),
        ("title =", "title = =", r"s.toml: not valid TOML"),
        ('title = "t"', "title = 2026-01-01", "s.toml:1: study holds 2026-01-01, a date or time: no key takes one"),
        ("checkpoints/a", "a\\u0000b", r"s.toml:8: regimes\[1\] holds a null character: remove it"),
        ("seed = 7", "seed = " + "9" * 5000, "s.toml: a number has too many digits to read"),
        ("seed = 7", "seed." + "a." * 1500 + "a = 1", "s.toml:1: study is nested too deeply"),
        ("seed = 7", "seed = " + "[" * 250 + "]" * 250, "s.toml:1: study is nested too deeply"),
        ("seed = 7", "seed = nan", "s.toml:3: study.seed = NaN"),
        ("seed = 7", "seed = -1", "s.toml:3: .*greater than or equal to 0"),
        ('["0.5/255", 0.01]', "[]", "s.toml:14: eps is empty: give at least one value"),
        ('["0.5/255", 0.01]', '["4/255", "4/255"]', r"s.toml:12: pgd\(eps=4/255, steps=20\) stands twice"),
        ('"0.5/255"', '"1/0"', "s.toml:14: .*'1/0' is not a size"),
        ('"0.5/255"', '"-1/255"', "s.toml:14: .*greater than 0"),
        ('attack = "pgd"', 'attack = "blur"', "s.toml:13: 'blur' is no attack: write corruption = \"blur\""),
        ('attack = "pgd"', 'corruption = "pgd"', "s.toml:13: 'pgd' is no corruption: write attack = \"pgd\""),
        ('attack = "pgd"', "", r"s.toml:12: perturbations\[1\] needs attack: one of apgd"),
        ("resamples = 200", 'metrics = ["ece", "ece"]', "s.toml:16: 'ece' stands twice in analysis.metrics"),
        ("resamples = 200", 'primary_condition = "clean"', "s.toml:16: primary_condition 'clean' is no condition"),
        ("resamples = 200", 'primary_condition = "pgd(("', r"s.toml:16: .*'pgd\(\(' is not a condition"),
        (
            "resamples = 200",
            'resamples = 200\ntest = "tost"\nmargin = 1.5',
            r"s.toml:18: margin 1.5 is as large as two values of auroc can differ \(1\), so that any difference",
        ),
        (
            "patients = 3",
            'references_id = "x"',
            "s.toml:5: data: references_id is of use with references, a table of reports, alone: remove it",
        ),
        (
            "resamples = 200",
            "resamples = 200\n[compute]\nworkers = 2",
            's.toml:17: compute: workers is of use with executor = "processes" or executor = "slurm" alone: remove it',
        ),
        ("resamples = 200", "operating_point = 2.0", "s.toml:16: analysis.operating_point = 2.0: .*be less than 1$"),
        (
            "resamples = 200",
            'operating_point = "yuden"',
            "s.toml:16: .*\"yuden\": input should be 'youden' or a number, without quotes or a table$",
        ),
        ("patients = 3", 'findings = "Mass"', "s.toml:7: data.findings = \"Mass\": input should be 'all' or a list$"),
        (
            "resamples = 200",
            'resamples = 200\n[analysis.auroc]\nintervall = "bca"',
            r"s.toml:18: unknown key 'intervall' in analysis.auroc \(did you mean 'interval'\?\)",
        ),
        (
            "resamples = 200",
            'resamples = 200\n[analysis.auroc]\ninterval = "bcaa"',
            r's.toml:18: analysis.auroc.interval = "bcaa": .*"bca"|s.toml:18: analysis.auroc.interval = "bcaa"',
        ),
        (
            "resamples = 200",
            'resamples = 200\n[analysis.aurok]\ninterval = "bca"',
            r"s.toml:17: \[analysis.aurok\] is no metric of this study \(did you mean 'auroc'\?\)",
        ),
        (
            "resamples = 200",
            'resamples = 200\n[analysis.ece]\ninterval = "wilson"',
            "s.toml:18: interval 'wilson' does not fit ece: those that do are percentile, percentile-recentred",
        ),
        (
            "resamples = 200",
            'resamples = 200\ntest = "mcnemar"',
            "s.toml:17: test 'mcnemar' does not fit auroc: those that do are permutation, tost, noninferiority, delong",
        ),
        (
            "resamples = 200",
            'resamples = 200\nmetrics = ["brier-uncertainty"]\ntest = "tost"\nmargin = 0.1',
            "s.toml:18: test 'tost' does not fit brier-uncertainty: those that do are permutation",
        ),
        (
            "resamples = 200",
            'resamples = 200\n[analysis.ece]\ntest = "tost"',
            "s.toml:18: test 'tost' needs the largest difference that does not matter: set margin",
        ),
        (
            "resamples = 200",
            'resamples = 200\nmetrics = ["mce", "ece"]\n[analysis.mce]\ntest = "permutation"',
            "s.toml:19: mce fits no test, since a maximum over bins is no smooth function of the sample: ",
        ),
        (
            "resamples = 200",
            'resamples = 200\nmetrics = ["mce", "ece"]\n[analysis.mce]\nmargin = 0.1',
            "s.toml:19: margin is used by tost and noninferiority only, and mce fits no test: remove margin",
        ),
        (
            "resamples = 200",
            'resamples = 200\nmetrics = ["mce"]\ntest = "tost"\nmargin = 0.1',
            "s.toml:19: margin is used by tost and noninferiority only, and no test fits mce: remove margin",
        ),
        ("seed = 7", 'seed = 7\n"a(b)" = 1', r"s.toml:4: unknown key 'a\(b\)' in study: known are title, seed"),
        ("seed = 7", "seed = 7\nint = 1", "s.toml:4: unknown key 'int' in study: known are title, seed"),
        ('title = "t"', 'title = "\u2028"\nint = 1', "s.toml:3: unknown key 'int'"),
        (
            'family = "hf-classifier"\nmodel = "checkpoints/a"',
            'predictions = { clean = "a.csv", "b\\nc" = 5 }',
            r's.toml:10: regimes\[1\].predictions."b\\nc" = 5: input should be text, in quotes',
        ),
        (
            'family = "hf-classifier"\nmodel = "checkpoints/a"',
            'predictions = { clean = "a.zip" }',
            "s.toml:10: .*a.zip is none of .csv, .csv.gz, .jsonl, .parquet: convert it",
        ),
        (
            'family = "hf-classifier"\nmodel = "checkpoints/a"',
            'family = "python"\nmodel = "python:my-module:f"',
            r's.toml:11: regimes\[1\].model = "python:my-module:f": write python:module:function$',
        ),
        ('name = "a"', f'name = "{"a" * 61}"', "s.toml:9: .*: input should have at most 60 characters$"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(StudyError, match=message) as caught:
        parse(GOOD.replace(old, new))
    assert "\n" not in str(caught.value)


def test_a_regime_name_is_plain_text() -> None:
    for name in (" a", "a\\nb", "a\\u200b"):
        text = GOOD.replace('name = "a"', f'name = "{name}"').replace('reference = "a"', f'reference = "{name}"')
        with pytest.raises(StudyError, match=r"s.toml:9: regime name .* is no plain text"):
            parse(text)


def test_an_editors_byte_order_mark_and_line_ends_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_study(path).study.seed == 7
    path.write_bytes(GOOD.replace('"t"', '"\u00e9"').encode("latin-1"))
    with pytest.raises(StudyError, match="is not UTF-8: save the file as UTF-8"):
        read_study(path)


def test_a_regime_that_stands_twice_is_named() -> None:
    again = '[[regimes]]\nname = "a"\nfamily = "hf-classifier"\nmodel = "b"\n'
    with pytest.raises(StudyError, match="regime 'a' stands twice with replicate 0"):
        parse(GOOD + again)
    parse(GOOD + again + "replicate = 1\n")


def test_five_hundred_brackets_are_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep.toml"
    path.write_text("x = " + "[" * 500 + "]" * 500)
    assert _main(["run", str(path)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("cxrobust: ")
    assert "\n" not in said


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(StudyError):
        parse(text)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), st.text("[]{}=\"'.,#\n\\ 019aé\t\r-+_:", max_size=4))
def test_any_edit_of_a_good_study_is_read_or_refused_with_a_sentence(first: int, n: int, instead: str) -> None:
    refused = "s.toml"
    try:
        parse(GOOD[:first] + instead + GOOD[first + n :])
    except StudyError as error:
        refused = str(error)
    assert refused.startswith("s.toml")
    assert "\n" not in refused


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda s: st.lists(s, max_size=3)))
def test_any_value_of_a_key_is_read_or_refused(value: object) -> None:
    written = "true" if value is True else "false" if value is False else repr(value).replace("None", "'none'")
    refused = ""
    try:
        parse(GOOD.replace("patients = 3", f"patients = {written}"))
    except StudyError as error:
        refused = str(error)
    assert not refused or "s.toml" in refused


def known(kind: type[Section] = Section) -> set[str]:
    """Every key that some table of a study file has."""
    return set(kind.model_fields).union(*map(known, kind.__subclasses__()))


@given(
    st.sampled_from(["[study]", "[data]", "[[regimes]]", "[[perturbations]]", "[analysis]"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
@example("[[perturbations]]", "taregt")
def test_an_unknown_key_is_named_whatever_it_is(header: str, key: str) -> None:
    assume(key not in known())
    written = json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")
    with pytest.raises(StudyError) as caught:
        parse(GOOD.replace(header, f"{header}\n{written} = 1"))
    said = str(caught.value)
    assert re.match(rf"s.toml:\d+: unknown key {re.escape(' '.join(repr(key).split()))} in ", said)


def test_half_of_a_character_is_refused_with_its_line() -> None:
    with pytest.raises(StudyError) as caught:
        parse(GOOD.replace("[study]", "[study]\n'\ud800' = 1"))
    line = GOOD.splitlines().index("[study]") + 2
    assert str(caught.value).startswith(f"s.toml:{line}: holds '\\ud800', half of a character")


def test_validation_images_are_as_data_says_but_for_what_their_table_says() -> None:
    study = parse_study(VALIDATION, path=Path("s.toml"))
    assert study.data.split == "test"
    assert study.validation == study.data.model_copy(update={"split": "validation"})
    assert study.settings()["data"]["validation"] == {**study.data.settings(), "split": "validation"}
    assert parse_study(GOOD, path=Path("s.toml")).validation is None
    assert "validation" not in parse_study(GOOD, path=Path("s.toml")).settings()["data"]


def test_one_line_holds_a_table_of_validation_images_as_well() -> None:
    inline = GOOD.replace("patients = 3", 'patients = 3\nvalidation = { split = "validation" }')
    assert parse(inline).validation == parse(VALIDATION).validation


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('split = "v', 'size = 64\nsplit = "v', "s.toml:9: data.validation.size: validation images have the size of"),
        ('split = "v', 'kind = "phantoms"\nsplit = "v', "s.toml:9: data.validation.kind: .* of .data.: remove it"),
        ('split = "v', 'findings = "all"\nsplit = "v', "s.toml:9: data.validation.findings: "),
        (
            'split = "v',
            'splt = "v',
            r"s.toml:9: unknown key 'splt' in data.validation \(did you mean 'split'\?\): known are "
            "metadata, .*patients, seed, split, domain$",
        ),
        ("[data.validation]", "[data.validatoin]", r"s.toml:8: unknown key .* \(did you mean 'validation'\?\)"),
        ("[data.validation]", "[validation]", r"s.toml:8: unknown section \[validation\]"),
        ('"validation"', '"val"', "s.toml:9: data.validation.split = \"val\": input should be 'train', 'validation'"),
        ('"validation"', '"test"', r"s.toml:8: \[data.validation\] says nothing else than \[data\]"),
        ('split = "validation"\n', "", r"s.toml:8: \[data.validation\] says nothing else than \[data\]"),
        ('[data.validation]\nsplit = "validation"', "validation = 3", "s.toml:8: data.validation is int, and must be"),
        ("[data.validation]", "[[data.validation]]", "s.toml:8: data.validation is list, and must be a table"),
    ],
)
def test_a_table_of_validation_images_that_does_not_fit_is_one_sentence(old: str, new: str, message: str) -> None:
    assert old in VALIDATION
    with pytest.raises(StudyError, match=message) as caught:
        parse(VALIDATION.replace(old, new))
    assert "\n" not in str(caught.value)


def test_predictions_made_elsewhere_of_validation_images_need_no_further_key_of_data() -> None:
    study = parse_study(ELSEWHERE, path=Path("folder/s.toml"))
    assert study.validation == study.data
    assert [str(one.validation) for one in study.regimes] == ["folder/a-held-out.csv", "folder/b-held-out.csv"]
    assert [one["validation"] for one in study.settings()["regimes"]] == ["a-held-out.csv", "b-held-out.csv"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'validation = "b-held-out.csv"\n',
            "",
            r"s.toml:13: regime 'b' has no predictions on the images of \[data.validation\]: .*\"file.csv\"",
        ),
        (
            "[data.validation]\n",
            "",
            r"s.toml:11: regime 'a' has predictions on validation images, and \[data.validation\] is missing: add it",
        ),
        (
            '"b-held-out.csv"',
            '"b-held-out.txt"',
            r"s.toml:16: regimes\[2\].validation = .*b-held-out.txt is none of .csv, .csv.gz, .jsonl, .parquet: conv",
        ),
    ],
)
def test_every_regime_made_elsewhere_has_a_table_of_validation_images_or_none(old: str, new: str, message: str) -> None:
    assert old in ELSEWHERE
    with pytest.raises(StudyError, match=message) as caught:
        parse(ELSEWHERE.replace(old, new))
    assert "\n" not in str(caught.value)


def test_paths_are_relative_to_the_study_file_and_data_to_the_data_root() -> None:
    text = GOOD.replace('kind = "phantoms"\npatients = 3', 'kind = "folder"\nroot = "images"\nlabels = "l.csv"')
    study = parse_study(text, path=Path("folder/s.toml"), data_root=Path("elsewhere"))
    assert study.data.root == Path("elsewhere/images")
    assert parse_study(text, path=Path("folder/s.toml")).data.labels == Path("folder/l.csv")


def test_a_path_that_is_the_studys_own_folder_is_recorded_as_it_stands_wherever_that_lies() -> None:
    text = GOOD.replace('kind = "phantoms"\npatients = 3', 'kind = "folder"\nroot = "."\nlabels = "l.csv"')
    text = text.replace('model = "', 'model = "./" # "', 1)
    told = [
        json.loads(json.dumps([study.settings(), made_for(study)]))
        for path in ("s.toml", "/data/hospital/s.toml", "again/s.toml")
        for study in [parse_study(text, path=Path(path))]
    ]
    assert told == told[:1] * 3
    for recorded in told[0]:
        assert (recorded["data"]["root"], recorded["data"]["labels"]) == (".", "l.csv")
        assert recorded["regimes"][0]["model"] == "."


# ------------------------------------------------------------------ keys of [analysis]

SETS = 'metrics = ["robust-accuracy"]\nsets = { a = ["pgd(eps=0.5/255,steps=20)", "noise(eps=0.01)"] }'


SECOND = '[[regimes]]\nname = "b"\nfamily = "hf-classifier"\nmodel = "b"\n'


def analysis(text: str) -> AnalysisSection:
    return parse_study(GOOD.replace("resamples = 200", text) + SECOND, path=Path("s.toml")).analysis


def test_what_stands_in_no_study_file_is_as_documented() -> None:
    found = analysis("resamples = 200")
    assert (found.operating_point, found.most_undefined, found.adjust) == ("youden", 0.2, "holm")
    assert (found.sets, found.recalibrate, found.subgroups, found.families) == ({}, (), (), ())
    assert found.effect_sizes == ("risk-difference", "odds-ratio", "superiority", "cliffs-delta")


@pytest.mark.parametrize("text", [SETS, SETS.replace("sets = { a = [", "[analysis.sets]\na = [").replace(" }", "")])
def test_sets_are_written_as_results_write_conditions(text: str) -> None:
    assert analysis(text).sets == {"a": ("pgd(eps=0.5/255, steps=20)", "noise(eps=0.01)")}


def test_every_metric_may_have_a_table_of_its_own() -> None:
    for name in metric:
        found = analysis(f'metrics = ["{name}"]\n[analysis.{name}]\ninterval = "basic"')
        assert (found.of(name).interval, found.interval) == ("basic", None)
        assert found.sensitivity_analyses


@pytest.mark.parametrize("key", ["sensitivity", "specificity"])
def test_an_operating_point_may_be_a_target(key: str) -> None:
    for text in (f"operating_point = {{ {key} = 0.9 }}", f"[analysis.operating_point]\n{key} = 0.9"):
        found = analysis(text).operating_point
        assert isinstance(found, TargetPoint)
        assert found.model_dump(exclude_none=True) == {key: 0.9}


def test_subgroups_and_families_are_tables_of_arrays() -> None:
    found = analysis(
        'recalibrate = ["platt"]\neffect_sizes = []\nmost_undefined = 0\n'
        '[[analysis.subgroups]]\ncolumn = "sex"\n[[analysis.subgroups]]\ncolumn = "age"\nedges = [40, 60.5]\n'
        '[[analysis.families]]\nname = "f"\nconditions = ["pgd(eps=0.5/255,steps=20)", "noise"]\nadjust = "max-t"\n'
        'recalibrations = ["platt"]'
    )
    assert [(one.column, one.edges, one.findings) for one in found.subgroups] == [
        ("sex", (), False),
        ("age", (40.0, 60.5), False),
    ]
    (family,) = found.families
    assert family.conditions == ("pgd(eps=0.5/255, steps=20)", "noise")
    assert (family.findings, family.subgroups, family.adjust) == (("macro",), ("",), "max-t")
    assert (found.recalibrate, found.effect_sizes, found.most_undefined) == (("platt",), (), 0)


@pytest.mark.parametrize("interval", ["expanded", "t"])
def test_intervals_for_few_patients_fit_every_metric(interval: str) -> None:
    assert analysis(f'interval = "{interval}"\nmetrics = ["auroc", "ece", "f1"]').of("ece").interval == interval


FAMILY, SUBGROUP = '[[analysis.families]]\nname = "f"\n', '[[analysis.subgroups]]\ncolumn = "age"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SETS.replace('"robust-accuracy"', '"brier"'), '17: sets are for "robust-accuracy", which is none of the me'),
        (SETS.replace(', "noise(eps=0.01)"', ""), "17: .*set 'a' needs at least two perturbations$"),
        (SETS.replace("noise(eps=0.01)", "pgd(eps=0.5/255, steps=20)"), "17: .*set 'a' needs at least two perturb"),
        (
            SETS.replace("noise(", "nois("),
            r"17: set 'a' holds 'nois\(eps=0.01\)', which is no perturbation .*did you mean 'noise\(eps=0.01\)'\?\): "
            r"its perturbations are .*'pgd\(eps=0.5/255, steps=20\)', .*noise\(eps=0.01\)",
        ),
        (SETS.replace("noise(eps=0.01)", "clean"), "17: set 'a' holds 'clean', which is no perturbation of this stu"),
        (SETS.replace("noise(eps=0.01)", "no(("), r"17: .*'no\(\(' is not a condition: write a name, or name\("),
        (SETS.replace("a = [", "clean = ["), "17: set 'clean' has the name of a condition: call it otherwise$"),
        (SETS.replace("a = [", '"noise(eps=0.01)" = ['), r"17: set 'noise\(eps=0.01\)' has the name of a condition"),
        (SETS.replace("a = [", '" " = ['), "17: set ' ' has no name: give it one$"),
        (
            "sensitivity = false",
            r"16: \[analysis.sensitivity\] is the table of the metric of this name, and sensitivity analyses have "
            r"another key: write sensitivity_analyses = false$",
        ),
        ('sensitivity = "no"', r"16: unknown key 'sensitivity' in analysis \(did you mean 'sensitivity_analyses'\?\)"),
        (
            'metrics = ["auroc", "brier-uncertainty"]\n' + FAMILY + 'metrics = ["brier-uncertainty"]',
            "17: family 'f' names no test: ",
        ),
        ("operating_point = {}", "16: analysis.operating_point = {}: give either sensitivity or specificity$"),
        ("operating_point = { sensitivity = 0.9, specificity = 0.8 }", "16: .*: give either sensitivity or specific"),
        (
            "operating_point = { sensitivity = 1.0 }",
            "16: analysis.operating_point.sensitivity = 1.0: input should be less than 1$",
        ),
        (
            'operating_point = { specificity = "0.9" }',
            '16: analysis.operating_point.specificity = "0.9": input should be a number, without quotes$',
        ),
        ("operating_point = { sensitivty = 0.9 }", "16: unknown key 'sensitivty' in analysis.operating_point: corre"),
        ('recalibrate = ["plat"]', r"16: analysis.recalibrate\[1\] = \"plat\": input should be 'temperature', 'platt'"),
        ('recalibrate = ["platt", "platt"]', "16: 'platt' stands twice in analysis.recalibrate: keep one$"),
        ('recalibrate = "platt"', '16: analysis.recalibrate = "platt": input should be a list$'),
        ('effect_sizes = ["cohen"]', r"16: analysis.effect_sizes\[1\] = \"cohen\": input should be 'risk-difference'"),
        ('effect_sizes = ["superiority", "superiority"]', "16: 'superiority' stands twice in analysis.effect_sizes"),
        ("most_undefined = 1.5", "16: analysis.most_undefined = 1.5: input should be less than or equal to 1$"),
        ("most_undefined = -0.1", "16: analysis.most_undefined = -0.1: input should be greater than or equal to 0$"),
        (SUBGROUP + "edges = [60, 40]", r"18: analysis.subgroups\[1\].edges = \[60, 40\]: edges must rise$"),
        (SUBGROUP + "edges = [40, 40]", "18: .*: edges must rise$"),
        (
            SUBGROUP + 'edges = ["40"]',
            r"18: analysis.subgroups\[1\].edges\[1\] = \"40\": input should be a number, with",
        ),
        (SUBGROUP + "edges = [nan]", "18: .*edges.* = NaN: input should be a finite number$"),
        (SUBGROUP + SUBGROUP, "16: 'age' stands twice in analysis.subgroups: keep one$"),
        (SUBGROUP.replace("column", "colum"), r"16: unknown key 'colum' in analysis.subgroups\[1\]: correct or remove"),
        ("[[analysis.subgroups]]\nfindings = true", r"analysis.subgroups\[1\].column is missing: add it$"),
        ('subgroups = ["sex"]', r'16: analysis.subgroups\[1\] = "sex": input should be a table$'),
        (FAMILY + 'metrics = ["aurok"]', r"18: family 'f' names no estimate: 'aurok' is none of the metrics \(did you"),
        (
            FAMILY + 'estimands = ["valu"]',
            r"18: .*'valu' is none of the estimands \(did you mean 'value'\?\): known are",
        ),
        (FAMILY + 'regimes = ["c"]', "18: family 'f' names no estimate: 'c' is none of the regimes: known are a, b$"),
        (
            FAMILY + 'conditions = ["blur"]',
            r"18: .*'blur' is none of the conditions: known are clean, 'pgd\(eps=0.5/255",
        ),
        (FAMILY + 'recalibrations = ["platt"]', "18: .*'platt' is none of the recalibrations: known are none$"),
        (
            FAMILY + 'adjust = "max-T"',
            r"18: analysis.families\[1\].adjust = \"max-T\": input should be 'holm', .*'max-t'",
        ),
        (FAMILY + FAMILY, "16: 'f' stands twice in analysis.families: keep one$"),
        (FAMILY.replace('"f"', '"primary"'), "17: family 'primary' has the name of a usual family: call it otherwise$"),
        (
            FAMILY.replace('"f"', '"trend, auroc, macro"'),
            "17: family 'trend, auroc, macro' has the name of a usual family: call it otherwise$",
        ),
        (FAMILY.replace('"f"', '""'), r"17: analysis.families\[1\].name = \"\": input should not be empty$"),
        (
            'metrics = ["coverage-at-risk-100"]',
            "16: unknown metric 'coverage-at-risk-100': behind coverage-at-risk- stands a percentage above 0 and below",
        ),
        ("metrics = []", r"16: analysis.metrics = \[\]: input should hold at least one value$"),
        (
            'metrics = ["auroc"]\ntest = "delong"\n' + FAMILY + 'adjust = "max-t"',
            "20: family 'f' is adjusted by max-t, which needs sign flips, and auroc is tested by delong: set its test",
        ),
        ('metrics = ["auroc"]\ntest = "delong"\nadjust = "max-t"', "18: max-t needs sign flips, and auroc is tested"),
    ],
)
def test_a_mistake_in_the_analysis_is_one_sentence_with_its_line(text: str, message: str) -> None:
    with pytest.raises(StudyError, match=rf"^s.toml:{message}" if message[0].isdigit() else message) as caught:
        analysis(text)
    assert "\n" not in str(caught.value)


def test_a_regime_of_several_runs_is_named_once() -> None:
    text = GOOD.replace("resamples = 200", FAMILY + 'regimes = ["c"]') + SECOND
    with pytest.raises(StudyError, match=r"is none of the regimes: known are a, b$"):
        parse_study(text + SECOND.replace('model = "b"', 'model = "c"\nreplicate = 1'), path=Path("s.toml"))


def test_a_metric_that_fits_no_test_may_stand_beside_others() -> None:
    assert analysis('metrics = ["mce", "ece"]').of("mce").test == "permutation"
    analysis('metrics = ["mce", "ece"]\ntest = "tost"\nmargin = 0.1')
    analysis('metrics = ["mce", "ece"]\nadjust = "max-t"\n[analysis.mce]\ninterval = "percentile"')
    analysis('metrics = ["mce", "ece"]\n' + FAMILY + 'metrics = ["mce", "ece"]')
    with pytest.raises(StudyError) as caught:
        analysis('metrics = ["mce", "ece"]\n' + FAMILY + 'metrics = ["mce"]')
    assert str(caught.value).startswith("s.toml:17: family 'f' names no test: its estimands have none with its metrics")


@pytest.mark.parametrize("name", ["Primary", "primary, my way", "sex, age and view", "trend", "trend of auroc"])
def test_a_family_may_have_any_other_name(name: str) -> None:
    assert analysis(FAMILY.replace('"f"', f'"{name}"')).families[0].name == name


NO_TEST = (
    "s.toml:17: family 'f' names no test: its estimands have none with its metrics, regimes, conditions, findings, "
    "subgroups and recalibrations: correct these, or remove it"
)


def families(*texts: str, keys: str = 'recalibrate = ["platt"]') -> tuple[Family, ...]:
    tables = "".join(f'[[analysis.families]]\nname = "{"fgh"[i]}"\n{text}\n' for i, text in enumerate(texts))
    return analysis(f"{keys}\n{tables}").families


@pytest.mark.parametrize(
    "text",
    [
        'estimands = ["value"]',
        'estimands = ["value", "half-margin"]\nsubgroups = []',
        'estimands = ["value"]\nsubgroups = ["sex=F"]',
        'estimands = ["trend"]\nsubgroups = ["sex: M − F"]',
        'regimes = ["a"]',
        'conditions = ["clean"]',
        'estimands = ["half-margin-difference"]\nmetrics = ["ece"]',
        'metrics = ["confidence"]\nfindings = ["worst"]',
        'conditions = ["pgd(steps=20)"]',
        'estimands = ["trend-difference"]\nconditions = ["pgd(eps=0.01, steps=20)"]',
        'estimands = ["recalibrated-raw"]',
        'subgroups = ["sex=F"]\nrecalibrations = ["platt"]',
    ],
)
def test_a_family_that_contradicts_itself_is_one_sentence_with_its_line(text: str) -> None:
    with pytest.raises(StudyError) as caught:
        families(text)
    assert str(caught.value) == NO_TEST


@pytest.mark.parametrize(
    "text",
    [
        "estimands = []",
        'estimands = ["value"]\nsubgroups = ["sex: M − F"]',
        'estimands = ["value", "trend"]',
        'estimands = ["perturbed-clean"]\nregimes = ["a"]',
        'estimands = ["regime-reference"]\nconditions = ["clean"]',
        'estimands = ["trend-difference", "half-margin-difference"]\nconditions = ["pgd(steps=20)"]',
        'estimands = ["recalibrated-raw"]\nrecalibrations = ["platt"]\nconditions = ["clean"]\nregimes = ["a"]',
        'estimands = ["recalibrated-raw"]\nrecalibrations = []',
    ],
)
def test_a_family_that_some_test_may_fit_is_left_to_the_data(text: str) -> None:
    assert len(families(text)) == 1


def test_a_study_of_one_regime_has_no_differences_in_differences() -> None:
    with pytest.raises(StudyError) as caught:
        parse(GOOD + FAMILY)
    assert str(caught.value) == NO_TEST
    parse(GOOD + FAMILY + 'estimands = ["perturbed-clean"]')


@pytest.mark.parametrize("estimand", ["area", "relative", "value", "half-margin"])
def test_any_subgroups_bring_tests_of_values_alone(estimand: str) -> None:
    keys = 'resamples = 200\n[[analysis.subgroups]]\ncolumn = "sex"'
    text = f'estimands = ["{estimand}"]\nsubgroups = []'
    if estimand == "value":
        assert len(families(text, keys=keys)) == 1
    else:
        with pytest.raises(StudyError, match="family 'f' names no test"):
            families(text, keys=keys)


@pytest.mark.parametrize(
    ("first", "second", "is_left"),
    [
        ("", "", True),
        ("", 'metrics = ["ece"]', True),
        ('metrics = ["ece"]', "", False),
        ('metrics = ["ece", "brier"]', 'metrics = ["ece"]', True),
        ('metrics = ["ece"]', 'metrics = ["ece", "brier"]', False),
        ("findings = []", 'findings = ["macro", "Mass"]', True),
        ("", "findings = []", False),
        ("", 'subgroups = ["sex=F"]', False),
    ],
)
def test_a_family_that_an_earlier_one_leaves_nothing_is_one_sentence(first: str, second: str, is_left: bool) -> None:
    if not is_left:
        assert len(families(first, second)) == 2
        return
    with pytest.raises(StudyError) as caught:
        families(first, second)
    assert str(caught.value) == (
        "s.toml:20: family 'g' is left without a test, since all that it names belongs to 'f' before it: "
        "put it first, or remove it"
    )


def test_max_t_asks_of_a_family_s_own_metrics_alone_that_they_flip_signs() -> None:
    text = 'metrics = ["auroc", "brier"]\n[analysis.auroc]\ntest = "delong"\n' + FAMILY + 'adjust = "max-t"\n'
    assert analysis(text + 'metrics = ["brier"]').families[0].metrics == ("brier",)
    with pytest.raises(StudyError, match="and auroc is tested by delong"):
        analysis(text)


# ---------------------------------------------------------------------- margin

TOST = 'metrics = ["auroc", "brier"]\ntest = "tost"\n'


@pytest.mark.parametrize(
    ("text", "margins"),
    [
        (TOST + "margin = 0.02", (0.02, 0.02)),
        (TOST + "margin = 0.02\n[analysis.brier]\nmargin = 0.01", (0.02, 0.01)),
        (TOST + "margin = 0.02\n[analysis.brier]\ntest = 'permutation'", (0.02, 0.02)),
        ('metrics = ["auroc", "brier"]\n[analysis.auroc]\ntest = "noninferiority"\nmargin = 0.02', (0.02, None)),
        ('metrics = ["auroc", "brier"]\nmargin = 0.02\n[analysis.auroc]\ntest = "tost"', (0.02, 0.02)),
    ],
)
def test_a_margin_is_for_every_metric_or_for_one(text: str, margins: tuple[float | None, ...]) -> None:
    found = analysis(text)
    assert tuple(found.of(name).margin for name in found.metrics) == margins


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "margin = 0.02",
            "16: margin is used by tost and noninferiority only, and no metric is tested by them: "
            'set test = "tost" or "noninferiority", or remove margin',
        ),
        (
            'metrics = ["auroc", "brier"]\n[analysis.brier]\nmargin = 0.02',
            "18: margin is used by tost and noninferiority only, and brier is tested by permutation: "
            "set its test, or remove margin",
        ),
        (
            TOST + "margin = 0.02\n[analysis.auroc]\nmargin = 0.01\ntest = 'delong'",
            "20: margin is used by tost and noninferiority only, and auroc is tested by delong: "
            "set its test, or remove margin",
        ),
        (
            'metrics = ["auroc", "brier"]\nmargin = 0.02\n[analysis.auroc]\ntest = "tost"\nmargin = 0.01',
            "17: margin is used by tost and noninferiority only, and every metric that they test has its own: "
            "remove it here",
        ),
    ],
)
def test_a_margin_that_no_test_uses_is_refused(text: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        analysis(text)
    assert str(caught.value) == f"s.toml:{message}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0", "0: input should be greater than 0"),
        ("0.0", "0.0: input should be greater than 0"),
        ("-0.02", "-0.02: input should be greater than 0"),
        ("nan", "NaN: input should be a finite number"),
        ("inf", "Infinity: input should be a finite number"),
        ("-inf", "-Infinity: input should be a finite number"),
        ("1e999", "Infinity: input should be a finite number"),
        ('"0.02"', '"0.02": input should be a number, without quotes'),
        ("true", "true: input should be a number, without quotes"),
    ],
)
def test_a_margin_is_a_finite_number_above_0(value: str, shown: str) -> None:
    for table, text in (("analysis", TOST), ("analysis.auroc", TOST + "margin = 0.1\n[analysis.auroc]\n")):
        with pytest.raises(StudyError) as caught:
            analysis(f"{text}margin = {value}")
        assert str(caught.value) == f"s.toml:{16 + text.count(chr(10))}: {table}.margin = {shown}"


def test_cochrans_q_needs_two_regimes() -> None:
    text = GOOD.replace("resamples = 200", 'resamples = 200\nmetrics = ["accuracy"]\ntest = "cochran-q"')
    with pytest.raises(StudyError, match=r"test 'cochran-q' compares regimes, and this study has one"):
        parse(text)


def test_rungs_are_told_beside_conditions_whose_names_do_not_hold_them() -> None:
    """Else predictions made, or a plan frozen, with other rungs would pass for those of the study."""
    searched = GOOD.replace('attack = "pgd"', 'attack = "least-eps"')
    without, with_rungs = (
        parse_study(text, path=Path("s.toml"))
        for text in (searched, searched.replace("eps = [", 'rungs = ["1/255"]\neps = ['))
    )
    names = [str(one) for one in with_rungs.conditions if "least-eps" in str(one)]
    assert [str(one) for one in without.conditions] == [str(one) for one in with_rungs.conditions]
    for told in (made_for, plan_of):
        assert "rungs" not in told(without)
        assert told(with_rungs)["rungs"] == dict.fromkeys(names, "1/255")
    assert changed_settings(without, made_for(with_rungs)) == ("rungs",)
