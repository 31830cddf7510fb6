"""What a study cannot show, written from what holds for it."""

from dataclasses import dataclass
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.radiology_reports.findings import in_samples
from cxrobust.reports.sentences import judge, reason
from cxrobust.reports.sources import (
    RADIOGRAPHS,
    Origin,
    names_all_patients,
    names_no_patient,
    of_kinds,
    origins,
    sources,
)
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import PERTURBATIONS, count, counted, finding_words, listed, readable, regime
from cxrobust.results import FEW_PATIENTS

WITHOUT_GRADIENTS = ("square", "spsa", "one-pixel", "pixle")
"""Attacks that ask a model for its outputs alone."""
OF_LEAST_SIZE = ("least-eps", "least-eps-l2", "cw-l2", "deepfool", "sparsefool", "ead-l1", "ead-en", "fab")
"""Attacks that search for the smallest perturbation."""
FULL_SIZE = 1024
"""Pixels a side that radiographs have at least, as they are taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """One limitation: in full for the section, and short for the box on the first page."""

    title: str
    text: str
    short: str = ""


def limits(view: View) -> tuple[Limit, ...]:
    """Return every limitation that holds for a study."""
    found = [
        training_limit(view),
        *data_limits(view),
        _threshold_limit(view),
        _few_limit(view),
        _not_estimable_limit(view),
        _attack_limit(view),
        _one_attack_limit(view),
        _size_limit(view),
        _one_set_limit(view),
        _images_as_patients_limit(view),
        _elsewhere_limit(view),
        _reports_limit(view),
        decisions_limit(view),
        _confidences_limit(view),
        _references_limit(view),
        _registration_limit(view),
        *_inference_limits(view),
    ]
    return tuple(limit for limit in found if limit is not None)


def _registration_limit(view: View) -> Limit | None:
    if view.results.provenance.get("registration") is not None:
        return None
    return Limit(
        title="Not registered.",
        text="No plan of this study was registered with the program before it was run, so the results alone do not show "
        "which comparisons were chosen beforehand and which after predictions or estimates were seen.",
    )


def training_limit(view: View) -> Limit | None:
    """Return the limit that one training run sets, where there is only one."""
    single = [one["name"] for one in view.results.regimes if one.get("replicates", 1) < 2]
    if not single:
        return None
    everyone = len(single) == len(view.regimes)
    who = "each regime" if everyone and view.others else listed([regime(name) for name in single])
    told = "these checkpoints" if view.others else "this checkpoint"
    return Limit(
        title="One training run.",
        text=f"One training run of {who} was studied. What is said is about {told}; another seed, data order or "
        "stopping time might give another result, and the intervals do not hold that variation.",
        short=f"how another training run of the same regime would do: one run of {who} was studied.",
    )


def data_limits(view: View) -> tuple[Limit, ...]:
    """Return the limits that the kind of data sets."""
    if _is_phantoms(view):
        return (
            Limit(
                title="Phantoms are not patients.",
                text="The images are procedural drawings. They try out the method on known findings; no number here says "
                "anything about patients, radiographs or the clinical use of a model.",
                short="anything about patients: the images are procedural drawings.",
            ),
        )
    return tuple(limit for limit in (_some_phantoms_limit(view), _labels_limit(view)) if limit is not None)


def _is_phantoms(view: View) -> bool:
    """Whether no image is of a patient."""
    phantoms = of_kinds(view, "phantoms")
    is_one_table = len(sources(view)) == 1 and "phantom" in view.results.data["name"].lower()
    return is_one_table or len(phantoms) == len(sources(view))


def _some_phantoms_limit(view: View) -> Limit | None:
    phantoms = of_kinds(view, "phantoms")
    if not phantoms:
        return None
    return Limit(
        title="Phantoms are not patients.",
        text=f"The images of {listed(phantoms)} are procedural drawings, counted here with the others; what holds for all "
        "images need not hold for the radiographs alone.",
        short=f"how the radiographs alone would do: images of {listed(phantoms)} are procedural drawings.",
    )


def _labels_limit(view: View) -> Limit | None:
    """Return the limit of labels that were taken from reports, by whom and of which data sets."""
    found = {how: names for how, names in origins(view).items() if how.is_reports}
    if not found:
        return None
    return Limit(title="Labels from reports.", text=" ".join(_labels_said(view, *one) for one in found.items()))


def _labels_said(view: View, how: Origin, names: tuple[str, ...]) -> str:
    whose = "" if len(names) == len(sources(view)) else f" of {listed(names)}"
    return (
        f"The labels{whose} were {how.value}. They hold errors, which may lower "
        f"{'regimes’ apparent performance, and not equally' if view.others else 'apparent performance'}."
    )


def _threshold_limit(view: View) -> Limit | None:
    if view.fixed_operating_point is not None or not view.results.thresholds:
        return None
    if "validation" in view.results.data:
        return Limit(
            title="Thresholds held fixed.",
            text="Operating points were chosen on clean validation images and are held fixed in resamples, which leaves the "
            "variation of their choice out of the intervals.",
        )
    return Limit(
        title="Thresholds from the same images.",
        text="Operating points were chosen on the same clean images on which clean decisions are judged, so what is "
        "reported of these, such as accuracy, is optimistic, and so is the start from which its change is measured. They "
        "are held fixed in resamples, which leaves the variation of their choice out of the intervals.",
    )


def _few_limit(view: View) -> Limit | None:
    few = [f for f in view.findings if 0 < f["n_positive_patients"] < FEW_PATIENTS]
    if not few:
        return None
    names = listed([f"{finding_words(f['name'])} ({f['n_positive_patients']})" for f in few])
    return Limit(
        title="Few positives.",
        text=f"Fewer than {FEW_PATIENTS} patients are positive for {names}. Resampling intervals of so few may hold "
        f"their level badly, and those of some metrics do; these findings are drawn with open marks.",
    )


def _not_estimable_limit(view: View) -> Limit | None:
    reasons: dict[str, str] = {}
    for metric in view.metrics:
        for finding in view.findings:
            estimate = view.value(metric, view.reference, CLEAN, finding["name"])
            if estimate is not None and judge(estimate, alpha=view.alpha) == "not estimable":
                reasons.setdefault(finding["name"], reason(estimate))
    if not reasons:
        return None
    names = listed([f"{finding_words(name)} ({why})" for name, why in reasons.items()])
    return Limit(
        title="Not estimable.",
        text=f"Some metrics are not estimable for {names}; the macro average of such a metric leaves the finding out, "
        "for every regime and condition alike.",
    )


def _attack_limit(view: View) -> Limit | None:
    if not view.of_kind("attack"):
        return None
    return Limit(
        title="Attacks bound robustness from one side.",
        text="An attack shows that a perturbation of its size exists which does such harm; it does not show that there is no "
        "worse one. A regime that resists these attacks may fall to others, in particular where its gradients mislead.",
    )


def _one_attack_limit(view: View) -> Limit | None:
    attacks = sorted({parse_condition(series.name).name for series in view.of_kind("attack")})
    if len(attacks) != 1:
        return None
    [name] = attacks
    others = [
        *(["use no gradient"] if name not in WITHOUT_GRADIENTS else ["follow the gradient"]),
        *(["search for the smallest perturbation"] if name not in OF_LEAST_SIZE else []),
    ]
    checks = " on more than the few images of the checks" if view.results.attack_checks else ""
    return Limit(
        title="A single attack.",
        text=f"All attacks are {PERTURBATIONS.get(name, readable(name))}. Attacks of another kind, such as those that "
        f"{listed(others, joint='or that')}, were not tried{checks}.",
    )


def _size_limit(view: View) -> Limit | None:
    """Return the limit of attacking images at the study's size, where they were larger."""
    size = view.results.data.get("size")
    if not size or size >= FULL_SIZE or not of_kinds(view, *RADIOGRAPHS) or not view.of_kind("attack"):
        return None
    return Limit(
        title="Attacked at the study’s size.",
        text=f"Images were brought to {size} × {size} pixels and perturbed at that size; "
        "radiographs as they are taken are larger. The same ε on those may do more harm or less.",
    )


def _one_set_limit(view: View) -> Limit | None:
    if len(of_kinds(view, "phantoms")) == len(sources(view)):
        return None
    n_sets = len(sources(view))
    one = n_sets == 1
    return Limit(
        title="One test set." if one else "Few test sets.",
        text=f"All images come from {'one data set' if one else counted(n_sets, 'data set')}. How {'regimes compare' if view.others else 'the regime does'} "
        "at other hospitals, on other devices or in other patients was not studied.",
    )


def _images_as_patients_limit(view: View) -> Limit | None:
    if names_all_patients(view):
        return None
    where = "The data name no patients, so each" if names_no_patient(view) else "Where the data name no patients, each"
    return Limit(
        title="Patients not known.",
        text=f"{where} image counts as one. Where a patient has several images, intervals are too narrow and p-values too "
        "small.",
    )


def _elsewhere_limit(view: View) -> Limit | None:
    elsewhere = [one["name"] for one in view.results.regimes if one.get("family") == "elsewhere"]
    if not elsewhere:
        return None
    return Limit(
        title="Predictions made elsewhere.",
        text=f"The predictions of {listed([regime(name) for name in elsewhere])} were read from tables. Their hashes are in "
        "the appendix; how they were made, and that no image of the test set was trained on, was not checked here.",
    )


_FAULTS = {
    "empty": "empty",
    "not English": "not in English, as far as the labeler can tell",
    "cut off": "cut off at the largest number of tokens",
    "very long": "longer than 1,000 words",
}


def _reports_limit(view: View) -> Limit | None:
    """Return how many generated reports are not as they should be."""
    writing = [one for one in view.results.regimes if one.get("report_faults")]
    if not writing:
        return None
    told = []
    of_samples = {in_samples(fault): f"had samples that were {words}" for fault, words in _FAULTS.items()}
    for fault, words in {**{fault: f"were {words}" for fault, words in _FAULTS.items()}, **of_samples}.items():
        who = [
            f"{count(one['report_faults'][fault])} of {count(one['n_reports'])} of {regime(one['name'])}"
            for one in writing
            if one["report_faults"].get(fault)
        ]
        told += [f"{listed(who)} {words}"] if who else []
    sampled = any(fault in one["report_faults"] for one in writing for fault in of_samples)
    halves = " Where confidence is the agreement of samples, one that states no finding counts half." if sampled else ""
    return Limit(
        title="Reports that say nothing.",
        text=f"Of the reports that were generated, in all conditions, {'; '.join(told)}. A report that is empty or in "
        "another language states no finding: where probabilities come from what it states, they are just under 0.5, so "
        "that nothing is present at an operating point of 0.5, and the notes of estimates count such reports. One that "
        f"was cut off is read as far as it goes, and a very long one like any other.{halves}",
    )


def decisions_limit(view: View) -> Limit | None:
    """Return which regimes came without anything that tells how sure they are."""
    deciding = [one["name"] for one in view.results.regimes if one.get("decides_only")]
    if not deciding:
        return None
    names = listed([regime(name) for name in deciding])
    mixed = len(deciding) < len(view.results.regimes)
    return Limit(
        title="Decisions without confidence.",
        text=f"Nothing tells how sure {names} {'are' if len(deciding) > 1 else 'is'}: every finding has the probability 0 or 1, "
        "or about 0.5 where a report tells nothing. AUROC, mean confidence, calibration error, Brier score and all else that is of "
        "probabilities are then of bare decisions, and are not to be compared with those of regimes that tell how sure they are.",
        short=f"what sets {names} apart from the others in AUROC, confidence or calibration: nothing tells how sure "
        f"{'they are' if len(deciding) > 1 else 'it is'}, and bare decisions are held against probabilities."
        if mixed
        else "",
    )


_CONFIDENCES = {
    "token-probability": "what reports state and how probable their tokens are",
    "questions": "answers to questions",
    "statements": "the probabilities of statements",
    "agreement": "the agreement of sampled reports",
}


def _confidences_limit(view: View) -> Limit | None:
    """Return from what generators have the probabilities of findings, where it is not the same for all."""
    kinds: dict[str, list[str]] = {}
    for one in view.results.regimes:
        if one.get("n_reports") is not None:
            said = str(one["settings"][0].get("confidence")) if one["family"] == "generator" else ""
            kinds.setdefault(_CONFIDENCES.get(said, "tables made elsewhere"), []).append(regime(one["name"]))
    if len(kinds) < 2:
        return None
    told = [f"from {source} in {listed(names)}" for source, names in kinds.items()]
    return Limit(
        title="Confidence of several kinds.",
        text=f"The probabilities of findings come {listed(told)}. A difference in confidence or calibration between these may "
        "be one between the kinds.",
    )


def _references_limit(view: View) -> Limit | None:
    """Return how many images have no reference that can be read."""
    references: Any = view.results.data.get("references")
    if not references or not references["faults"]:
        return None
    words = {"missing": "have none", "not English": "have one that is not in English", "empty": "have an empty one"}
    told = [f"{count(n)} {words[fault]}" for fault, n in references["faults"].items()]
    return Limit(
        title="Images without a reference.",
        text=f"Of the reference reports that generated ones are scored against, {listed(told)}: of "
        f"{count(view.results.data['n_images'])} images. A report without a reference is not scored.",
    )


def _inference_limits(view: View) -> tuple[Limit, ...]:
    alone = f"Each interval covers its own estimate at {100 * view.level:g}%, not all of them together"
    if any(one.p_value is not None for one in view.results.estimates):
        alone += (
            "; p-values are not adjusted for their number either"
            if view.p_name == "p"
            else "; only p-values are adjusted for their number"
        )
        alone += ". A difference that could not be shown may still be there"
    found = [Limit(title="Intervals stand alone.", text=f"{alone}.")]
    size: Any = view.results.data.get("size")
    if size and size < 224:
        found.append(
            Limit(
                title="Small images.",
                text=f"Models saw images of {counted(size, 'pixel')} a side, at which small findings are lost; they are not "
                "those that a clinic would use.",
            )
        )
    return tuple(found)
