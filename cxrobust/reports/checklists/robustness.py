"""The list of Carlini et al. for evaluations of adversarial robustness; its items have no numbers.

They were held against the source of the paper, as of 18 February 2019.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cxrobust.conditions import UNTIL_WRONG_AT, parse_condition
from cxrobust.reports.checklists import (
    Answer,
    Checklist,
    Item,
    Reply,
    Shown,
    authors,
    figure,
    has_attack,
    met,
    not_applicable,
    not_met,
    partly,
    table,
)
from cxrobust.reports.limits import WITHOUT_GRADIENTS as OUTPUTS_ALONE
from cxrobust.reports.sections.attack_checks import aimed_finding, falling_metric, left_of
from cxrobust.reports.view import View

SINGLE = {"fgsm", "ffgsm"}
ITERATIVE = {
    *("pgd", "bim", "rfgsm", "eotpgd", "tpgd", "upgd", "apgd", "autoattack-multilabel", "pgdrs"),
    *("mifgsm", "nifgsm", "sinifgsm", "vmifgsm", "vnifgsm", "difgsm", "tifgsm", "pifgsm", "pifgsmpp"),
}
"""Attacks of many steps in the norm of those of one, the maximum norm."""
WITHOUT_GRADIENTS = {"square", "autoattack-multilabel", "spsa", "one-pixel", "pixle"}
"""All of them ask for logits: there is no attack that sees decisions alone."""
BY_LOGITS = "without gradients, by logits; none by labels"
AIM = ("target", "goal", "text", "made_on", UNTIL_WRONG_AT)
"""What two attacks have in common that are compared, beside their size."""
CHECKS = table("attack_checks")
"""The section of attack checks, where the report has one; it may say why there are none."""


def _names(view: View) -> set[str]:
    return {parse_condition(one.name).name for one in view.of_kind("attack")}


def _made(check: Mapping[str, Any]) -> bool:
    return True


def _has_gradients(check: Mapping[str, Any]) -> bool:
    return check["without_gradient"] is not None


def _unbounded(check: Mapping[str, Any]) -> bool:
    return check["unbounded_wrong"] is not None


def _checked(which: Callable[[Mapping[str, Any]], bool] = _made, *, otherwise: Reply) -> Reply:
    """Answer by the attack checks that were made: in part where some regimes have none."""

    def regimes(view: View) -> set[str]:
        return {one["regime"] for one in view.results.attack_checks if which(one)}

    of_some = partly("not of all regimes", CHECKS, when=lambda view: bool(regimes(view)), otherwise=otherwise)
    return met(CHECKS, when=lambda view: regimes(view) >= set(view.regimes), otherwise=of_some)


def _has_strengths(view: View) -> bool:
    return any(len(one.conditions) > 1 for one in view.of_kind("attack"))


def _same_aims(view: View) -> Iterator[tuple[str, list[str]]]:
    """Give each attack of one step with those of many that have its size and aim."""
    names = [name for one in view.of_kind("attack") for name in one.conditions]
    parsed = {name: parse_condition(name) for name in names}

    def aim(name: str) -> tuple[object, ...]:
        given = dict(parsed[name].parameters)
        return parsed[name].strength, *map(given.get, AIM)

    for single in (name for name in names if parsed[name].name in SINGLE):
        if many := [name for name in names if parsed[name].name in ITERATIVE and aim(name) == aim(single)]:
            yield single, many


def _steps(shown: Shown) -> Answer:
    """Answer whether attacks of many steps do no less harm than those of one, for every regime and size."""
    pairs = list(_same_aims(shown.view))
    if not pairs:
        return not_met("no attacks of one step and of many have the same size and aim")(shown)
    places = (figure("attacks"), table("conditions"))
    compared = [one for single, many in pairs for one in _left(shown.view, single, many)]
    if not compared:
        return partly("both are reported; no metric tells which does more harm", *places)(shown)
    n_right = sum(many <= single for single, many in compared)
    if n_right < len(compared):
        why = f"many steps do less harm than one in {len(compared) - n_right} of {len(compared)} comparisons"
        return partly(why, *places)(shown)
    return met(*places)(shown)


def _left(view: View, single: str, many: Sequence[str]) -> Iterator[tuple[float, float]]:
    """Give what an attack of one step, and the strongest of many, leave of the metric that both must lower."""
    metric, finding = falling_metric(view, single), aimed_finding(view, single)
    if metric is None:
        return
    for name in view.regimes:
        by_one, *by_many = (left_of(view, metric, name, condition, finding) for condition in (single, *many))
        known = [one for one in by_many if one is not None]
        if by_one is not None and known:
            yield by_one, min(known)


def _has_targeted(view: View) -> bool:
    targets = {dict(parse_condition(one.name).parameters).get("target", "all") for one in view.of_kind("attack")}
    return "all" in targets and len(targets) > 1


def _has_gradient_free(view: View) -> bool:
    return bool(_names(view) & WITHOUT_GRADIENTS)


def _has_gradient_attack(view: View) -> bool:
    return not _names(view) <= set(OUTPUTS_ALONE)


def _has_several(view: View) -> bool:
    return len(_names(view)) > 1


NO_DEFENCE = not_applicable("no defence is proposed")

ROBUSTNESS = Checklist(
    name="Carlini et al., evaluating adversarial robustness",
    work="carlini2019",
    applies=has_attack,
    groups={
        "Severe flaws": (
            Item(
                number="",
                topic="Precise threat model",
                reply=partly(
                    "size, norm, loss and access to gradients; who would attack, and why, is for the authors",
                    table("perturbations"),
                    "methods",
                ),
            ),
            Item(
                number="",
                topic="Adaptive attacks",
                reply=partly(
                    "gradients through the whole model; nothing is adapted to a defence",
                    "methods",
                    when=_has_gradient_attack,
                    otherwise=partly(
                        "outputs of the whole model, no gradients; nothing is adapted to a defence", "methods"
                    ),
                ),
            ),
            Item(
                number="",
                topic="Models and code released",
                reply=authors("hashes and versions are here", table("models"), "reproducibility"),
            ),
            Item(number="", topic="Accuracy without attack", reply=met(table("primary"))),
            Item(
                number="",
                topic="Iterative against single-step attack",
                reply=_steps,
            ),
            Item(
                number="",
                topic="More harm at a larger size",
                reply=met(figure("robustness"), when=_has_strengths, otherwise=not_met("one size alone")),
            ),
            Item(
                number="",
                topic="Accuracy falls to guessing at a large size",
                reply=_checked(_unbounded, otherwise=authors("read it from the curves", figure("robustness"))),
            ),
            Item(
                number="",
                topic="Curve of success against size",
                reply=met(figure("robustness"), when=_has_strengths, otherwise=not_met("one size alone")),
            ),
            Item(
                number="",
                topic="Comparison example by example",
                reply=partly("differences are paired by image and patient", "methods"),
            ),
            Item(number="", topic="Attacks with all their parameters", reply=met(table("perturbations"))),
        ),
        "Pitfalls": (
            Item(
                number="",
                topic="Diverse attacks",
                reply=met(
                    table("perturbations"),
                    when=_has_gradient_free,
                    otherwise=partly(
                        "several, by gradients alone",
                        table("perturbations"),
                        when=_has_several,
                        otherwise=not_met("one attack"),
                    ),
                ),
            ),
            Item(
                number="",
                topic="Attack without gradients, attack by labels",
                reply=partly(
                    BY_LOGITS,
                    table("perturbations"),
                    when=_has_gradient_free,
                    otherwise=partly(
                        BY_LOGITS,
                        CHECKS,
                        when=lambda view: bool(view.results.attack_checks),
                        otherwise=not_met("none was made"),
                    ),
                ),
            ),
            Item(
                number="",
                topic="Transfer from another model",
                reply=met(table("transfer"), otherwise=not_met("none was made")),
            ),
            Item(number="", topic="Randomness of a defence", reply=not_applicable("predictions are deterministic")),
            Item(
                number="",
                topic="Parts without gradients",
                reply=_checked(_has_gradients, otherwise=authors("whether a model has such parts is not checked")),
            ),
            Item(number="", topic="Whether attacks have converged", reply=_checked(otherwise=not_met("not checked"))),
            Item(
                number="",
                topic="Choice of the attacks’ parameters",
                reply=partly("given; not searched over", table("perturbations"), table("settings")),
            ),
            Item(number="", topic="Comparison with earlier work", reply=authors()),
            Item(
                number="",
                topic="Broader threat models",
                reply=partly("corruptions beside attacks", figure("corruptions"), otherwise=not_met("attacks alone")),
            ),
        ),
        "Special cases": (
            Item(number="", topic="Provable robustness", reply=not_met("not part of this program")),
            Item(
                number="",
                topic="Random noise of the same size",
                reply=partly(
                    "one draw an image as control",
                    figure("robustness"),
                    when=lambda view: view.control is not None,
                    otherwise=not_met("no control of the primary size"),
                ),
            ),
            Item(
                number="",
                topic="Targeted and untargeted attacks",
                reply=met(
                    table("perturbations"), table("conditions"), when=_has_targeted, otherwise=not_met("one aim alone")
                ),
            ),
            Item(number="", topic="Parts of a defence taken away", reply=NO_DEFENCE),
            Item(number="", topic="New attacks tried on other defences", reply=not_applicable("no attack is new")),
            Item(number="", topic="Domains other than images", reply=not_applicable("chest radiographs alone")),
        ),
    },
)
