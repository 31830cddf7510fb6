"""Attacks cite the works that their own docstrings name, and the library that they are from."""

import re

import pytest

from cxrobust.conditions import parse_condition
from cxrobust.reports.attack_works import BY_TORCHATTACKS, CITED
from cxrobust.reports.bibliography import WORKS

pytest.importorskip("torch")
from cxrobust.inference.perturbations import perturbation

OURS = {name: perturbation[name] for name in perturbation if perturbation[name].__module__.startswith("cxrobust.")}


@pytest.mark.parametrize("name", OURS)
def test_an_attack_cites_the_works_that_its_docstring_names(name: str) -> None:
    named = set(re.findall(r"arXiv:(\d+\.\d+)", OURS[name].__doc__ or ""))
    cited = {WORKS[key].arxiv for key in CITED.get(name, ())}
    assert named <= cited
    assert not cited or named


def test_attacks_of_torchattacks_are_those_of_the_modules_that_call_it() -> None:
    modules = {name: one.__module__.rpartition(".")[2] for name, one in OURS.items()}
    assert {name for name, module in modules.items() if module.startswith("torchattacks_")} == BY_TORCHATTACKS
    assert {parse_condition(name).name for name in CITED} == set(CITED) <= set(OURS)
