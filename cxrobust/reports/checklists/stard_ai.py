"""STARD-AI: diagnostic accuracy studies of artificial intelligence, 40 items in 48 parts."""

from cxrobust.reports.checklists import (
    OF_THE_SOURCE,
    Checklist,
    Item,
    authors,
    figure,
    has_characteristics,
    has_size,
    is_registered,
    knows_networks,
    labels_from_reports,
    met,
    not_applicable,
    not_met,
    partly,
    table,
)
from cxrobust.reports.view import View, detects

ACCURACY = {
    "auroc",
    "accuracy",
    "sensitivity",
    "specificity",
    "balanced-accuracy",
    "ppv",
    "npv",
    "average-precision",
}


def measures_accuracy(view: View) -> bool:
    """Whether a measure of diagnostic accuracy is among the metrics."""
    return bool(ACCURACY & set(view.metrics))


def has_cross_tabulation(view: View) -> bool:
    """Whether sensitivity and specificity are given, from which and the counts a table can be made."""
    return {"sensitivity", "specificity"} <= set(view.metrics)


STARD_AI = Checklist(
    name="STARD-AI",
    work="sounderajah2025",
    applies=measures_accuracy,
    groups={
        "Title, abstract, introduction": (
            Item(number="1", topic="Title", reply=authors("the title is theirs")),
            Item(number="2", topic="Abstract", reply=partly("a summary to write it from", "answer")),
            Item(number="3", topic="Background, intended use, workflow", reply=authors()),
            Item(number="4", topic="Objectives and hypotheses", reply=met("answer", "methods")),
        ),
        "Methods": (
            Item(number="5", topic="Prospective or retrospective", reply=authors("not told by the data")),
            Item(number="6", topic="Ethics", reply=authors()),
            Item(
                number="7",
                topic="Eligibility of participants and data",
                reply=partly("what was left out here", figure("participants")),
            ),
            Item(number="8", topic="How participants were identified", reply=OF_THE_SOURCE),
            Item(number="9", topic="Setting and dates", reply=OF_THE_SOURCE),
            Item(number="10", topic="Consecutive, random or convenience series", reply=OF_THE_SOURCE),
            Item(number="11", topic="Source of the data", reply=met("participants", "reproducibility", "references")),
            Item(number="12", topic="Annotation", reply=OF_THE_SOURCE),
            Item(
                number="13",
                topic="Devices and software",
                reply=partly("software; devices are told by the source", "reproducibility"),
            ),
            Item(
                number="14",
                topic="Acquisition and preprocessing",
                reply=partly(
                    "size kept; acquisition is told by the source",
                    figure("participants"),
                    when=has_size,
                    otherwise=authors(),
                ),
            ),
            Item(
                number="15a",
                topic="Index test",
                reply=partly(
                    "network, size and hashes",
                    table("models"),
                    when=knows_networks,
                    otherwise=partly("hashes", table("models")),
                ),
            ),
            Item(number="15b", topic="Development of the index test", reply=authors("", table("models"))),
            Item(
                number="15c",
                topic="Cut-offs",
                reply=partly(
                    "whether they were chosen beforehand is for the authors", "estimands", table("reproducibility")
                ),
            ),
            Item(number="15d", topic="Users", reply=authors()),
            Item(
                number="16a",
                topic="Reference standard",
                reply=partly(
                    "labels taken from reports", "limitations", when=labels_from_reports, otherwise=OF_THE_SOURCE
                ),
            ),
            Item(number="16b", topic="Why this reference standard", reply=authors()),
            Item(number="16c", topic="Cut-offs of the reference standard", reply=OF_THE_SOURCE),
            Item(
                number="17a",
                topic="What readers of the index test knew",
                reply=not_applicable("a network reads the image alone"),
            ),
            Item(number="17b", topic="What assessors of the reference knew", reply=OF_THE_SOURCE),
            Item(number="18", topic="Statistical methods", reply=met("methods", "estimands")),
            Item(
                number="19",
                topic="Indeterminate results",
                reply=partly("the network always answers; what is not estimable is said", "methods"),
            ),
            Item(number="20", topic="Missing data", reply=met(table("participants"), "estimands")),
            Item(
                number="21",
                topic="Analyses of variability",
                reply=met(table("subgroups"), table("sensitivity"), otherwise=not_met("the study has none")),
            ),
            Item(
                number="22",
                topic="Sample size",
                reply=partly("the smallest detectable difference", table("power"), when=detects, otherwise=authors()),
            ),
            Item(
                number="23",
                topic="Errors, bias and fairness",
                reply=met(table("subgroups"), otherwise=not_met("the study names no subgroup")),
            ),
        ),
        "Results": (
            Item(number="24", topic="Flow diagram", reply=met(figure("participants"))),
            Item(
                number="25",
                topic="Characteristics of each set",
                reply=partly(
                    "of the images analysed",
                    table("participants"),
                    when=has_characteristics,
                    otherwise=partly("findings alone", table("participants")),
                ),
            ),
            Item(number="26a", topic="Severity of disease", reply=OF_THE_SOURCE),
            Item(number="26b", topic="Other diagnoses", reply=partly("the findings labelled", table("participants"))),
            Item(number="27", topic="Time between tests", reply=OF_THE_SOURCE),
            Item(
                number="28",
                topic="Whether the data represent the intended use",
                reply=authors("", table("participants")),
            ),
            Item(number="29", topic="How external data differ", reply=authors("training data are not known here")),
            Item(
                number="30",
                topic="Cross-tabulation",
                reply=partly(
                    "sensitivity and specificity with the counts",
                    table("primary"),
                    when=has_cross_tabulation,
                    otherwise=not_met("sensitivity and specificity were not asked for"),
                ),
            ),
            Item(number="31", topic="Estimates with their precision", reply=met(table("primary"), table("by_finding"))),
            Item(number="32", topic="Adverse events", reply=not_applicable("images from before; nobody was tested")),
        ),
        "Discussion and other": (
            Item(number="33", topic="Limitations", reply=met("limitations")),
            Item(number="34", topic="Implications for practice", reply=authors()),
            Item(number="35", topic="Ethical considerations and fairness", reply=authors()),
            Item(
                number="36",
                topic="Registration",
                reply=partly(
                    "a plan with date and hash; no registry",
                    "registration",
                    when=is_registered,
                    otherwise=authors("no plan was registered"),
                ),
            ),
            Item(
                number="37",
                topic="Protocol",
                reply=met("registration", when=is_registered, otherwise=authors("no plan was registered")),
            ),
            Item(number="38", topic="Funding", reply=authors()),
            Item(number="39", topic="Commercial interests", reply=authors()),
            Item(
                number="40a",
                topic="Availability of data and code",
                reply=authors("hashes and versions are here", "reproducibility"),
            ),
            Item(number="40b", topic="Whether outputs are kept and can be audited", reply=met("reproducibility")),
        ),
    },
)
