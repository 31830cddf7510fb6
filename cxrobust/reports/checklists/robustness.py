"""The list of Carlini et al. for evaluations of adversarial robustness; its items have no numbers.

They were held against the source of the paper, as of 18 February 2019.
"""

from cxrobust.conditions import parse_condition
from cxrobust.reports.checklists import Checklist, Item, authors, has_attack, met, not_applicable, not_met, partly
from cxrobust.reports.view import View

ITERATIVE = {"pgd", "bim", "apgd", "apgd-l2", "autoattack-multilabel", "least-eps", "least-eps-l2", "patch", "pgd-l2"}
SINGLE = {"fgsm", "ffgsm"}
WITHOUT_GRADIENTS = {"square", "autoattack-multilabel", "spsa", "one-pixel", "pixle"}
CHECKS = "attack_checks"
"""The section of attack checks, where the report has one."""


def _names(view: View) -> set[str]:
    return {parse_condition(one.name).name for one in view.of_kind("attack")}


def _has_strengths(view: View) -> bool:
    return any(len(one.conditions) > 1 for one in view.of_kind("attack"))


def _has_both_steps(view: View) -> bool:
    return bool(_names(view) & ITERATIVE) and bool(_names(view) & SINGLE)


def _has_targeted(view: View) -> bool:
    targets = {dict(parse_condition(one.name).parameters).get("target", "all") for one in view.of_kind("attack")}
    return "all" in targets and len(targets) > 1


def _has_gradient_free(view: View) -> bool:
    return bool(_names(view) & WITHOUT_GRADIENTS)


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
                    "perturbations",
                    "methods",
                ),
            ),
            Item(
                number="",
                topic="Adaptive attacks",
                reply=partly("gradients through the whole model; nothing is adapted to a defence", "methods"),
            ),
            Item(
                number="",
                topic="Models and code released",
                reply=authors("hashes and versions are here", "models", "reproducibility"),
            ),
            Item(number="", topic="Accuracy without attack", reply=met("primary")),
            Item(
                number="",
                topic="Iterative against single-step attack",
                reply=met(
                    CHECKS,
                    otherwise=partly(
                        "both are reported; the comparison is not tested",
                        "attacks",
                        "conditions",
                        when=_has_both_steps,
                        otherwise=not_met("attacks of one kind alone"),
                    ),
                ),
            ),
            Item(
                number="",
                topic="More harm at a larger size",
                reply=met("robustness", when=_has_strengths, otherwise=not_met("one size alone")),
            ),
            Item(
                number="",
                topic="Accuracy falls to guessing at a large size",
                reply=met(CHECKS, otherwise=authors("read it from the curves", "robustness")),
            ),
            Item(
                number="",
                topic="Curve of success against size",
                reply=met("robustness", when=_has_strengths, otherwise=not_met("one size alone")),
            ),
            Item(
                number="",
                topic="Comparison example by example",
                reply=partly("differences are paired by image and patient", "methods"),
            ),
            Item(number="", topic="Attacks with all their parameters", reply=met("perturbations")),
        ),
        "Pitfalls": (
            Item(
                number="",
                topic="Diverse attacks",
                reply=met(
                    "perturbations",
                    when=_has_gradient_free,
                    otherwise=partly(
                        "several, by gradients alone",
                        "perturbations",
                        when=_has_several,
                        otherwise=not_met("one attack"),
                    ),
                ),
            ),
            Item(
                number="",
                topic="Attack without gradients, attack by labels",
                reply=met(
                    CHECKS,
                    otherwise=partly(
                        "without gradients, by logits; none by labels",
                        "perturbations",
                        when=_has_gradient_free,
                        otherwise=not_met("none was made"),
                    ),
                ),
            ),
            Item(
                number="",
                topic="Transfer from another model",
                reply=met("transfer", otherwise=not_met("none was made")),
            ),
            Item(number="", topic="Randomness of a defence", reply=not_applicable("predictions are deterministic")),
            Item(
                number="",
                topic="Parts without gradients",
                reply=authors("whether a model has such parts is not checked"),
            ),
            Item(
                number="", topic="Whether attacks have converged", reply=met(CHECKS, otherwise=not_met("not checked"))
            ),
            Item(
                number="",
                topic="Choice of the attacks’ parameters",
                reply=partly("given; not searched over", "perturbations", "settings"),
            ),
            Item(number="", topic="Comparison with earlier work", reply=authors()),
            Item(
                number="",
                topic="Broader threat models",
                reply=partly("corruptions beside attacks", "corruptions", otherwise=not_met("attacks alone")),
            ),
        ),
        "Special cases": (
            Item(number="", topic="Provable robustness", reply=not_met("not part of this program")),
            Item(
                number="",
                topic="Random noise of the same size",
                reply=partly(
                    "one draw an image as control",
                    "robustness",
                    when=lambda view: view.control is not None,
                    otherwise=not_met("no control of the primary size"),
                ),
            ),
            Item(
                number="",
                topic="Targeted and untargeted attacks",
                reply=met("perturbations", "conditions", when=_has_targeted, otherwise=not_met("one aim alone")),
            ),
            Item(number="", topic="Parts of a defence taken away", reply=NO_DEFENCE),
            Item(number="", topic="New attacks tried on other defences", reply=not_applicable("no attack is new")),
            Item(number="", topic="Domains other than images", reply=not_applicable("chest radiographs alone")),
        ),
    },
)
