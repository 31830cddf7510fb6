"""Registries: one new file or an entry point adds a name; an unknown name suggests the nearest."""

from importlib.metadata import EntryPoint

import pytest

from cxrobust import registry
from cxrobust.analysis.metrics import metric
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets import dataset
from cxrobust.inference.models import model_family
from cxrobust.inference.perturbations import perturbation


def test_every_module_of_a_room_is_registered() -> None:
    assert {"chexpert", "folder", "medmnist", "mimic-cxr-jpg", "nih-chestxray14", "phantoms"} <= set(dataset)
    assert {"encoder-head", "hf-classifier", "python"} <= set(model_family)
    assert {"apgd", "blur", "deepfool", "fgsm", "jpeg", "noise", "pgd", "square"} <= set(perturbation)
    assert {"auroc", "accuracy", "confidence", "ece", "brier"} <= set(metric)


def test_an_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(
        StudyError, match=r"unknown perturbation 'pdg' \(did you mean 'pgd'\?\): known are apgd, .*, pgd, "
    ):
        perturbation["pdg"]


def test_an_unknown_name_tells_of_names_that_may_end_otherwise() -> None:
    message = r"unknown metric 'coverage' .*, coverage-at-risk-5 \(or any other percentage\), ece, "
    with pytest.raises(StudyError, match=message) as caught:
        metric["coverage"]
    assert str(caught.value).count("(or any other") == 1


@pytest.mark.parametrize("end", ["0", "100", "-0", "1e1", "5.0", ""])
def test_a_name_with_an_end_that_may_not_stand_there_says_what_may(end: str) -> None:
    with pytest.raises(StudyError) as caught:
        metric[f"coverage-at-risk-{end}"]
    assert str(caught.value) == (
        f"unknown metric 'coverage-at-risk-{end}': behind coverage-at-risk- stands a percentage above 0 and below 100, "
        f"as short as it can be written and with three decimals at most, such as 5 or 2.5, and not {end!r}"
    )


def test_a_name_is_registered_once() -> None:
    mine: registry.Registry[int] = registry.Registry("number", package="cxrobust.templates")
    mine("one")(1)
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        mine("one")(2)


def test_other_packages_register_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def found(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint(name="theirs", value="cxrobust.conditions:CLEAN", group=group)]

    monkeypatch.setattr(registry, "entry_points", found)
    mine: registry.Registry[object] = registry.Registry("template", package="cxrobust.templates")
    assert str(mine["theirs"]) == "clean"
    assert "theirs" in mine
    assert asked == ["cxrobust.templates"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "theirs",
            "no_such_package:thing",
            "template 'theirs': importing no_such_package:thing failed with ModuleNotF",
        ),
        ("theirs", "cxrobust.conditions:NONE", "template 'theirs': .* failed with AttributeError"),
        ("one", "cxrobust.conditions:CLEAN", "template 'one': cxrobust.conditions:CLEAN bears the name of another one"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named_each_time(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint(name=name, value=value, group=group)])
    mine: registry.Registry[object] = registry.Registry("template", package="cxrobust.templates")
    mine("one")(1)
    for _ in range(2):
        with pytest.raises(DataError, match=message):
            list(mine)


def test_a_room_that_fails_to_import_fails_again_and_is_not_half_empty() -> None:
    mine: registry.Registry[object] = registry.Registry("thing", package="cxrobust.no_such_room")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            mine["x"]
