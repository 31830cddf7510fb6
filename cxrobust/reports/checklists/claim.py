"""CLAIM 2024: the checklist for artificial intelligence in medical imaging, 44 items."""

from cxrobust.reports.checklists import (
    Checklist,
    Item,
    authors,
    figure,
    has_characteristics,
    has_size,
    has_validation,
    is_perturbed,
    knows_networks,
    knows_training,
    labels_from_reports,
    met,
    missing_labels,
    not_applicable,
    not_met,
    partly,
    table,
)
from cxrobust.reports.sources import names_all_patients
from cxrobust.reports.view import detects

TRAINING = authors("training is known here only as far as a checkpoint’s files tell it", table("models"))

CLAIM = Checklist(
    name="CLAIM 2024",
    work="tejani2024",
    groups={
        "Title, abstract, introduction": (
            Item(number="1", topic="AI and its kind in the title", reply=authors("the title is theirs")),
            Item(number="2", topic="Structured summary", reply=met("answer")),
            Item(number="3", topic="Background, intended use, clinical role", reply=authors()),
            Item(number="4", topic="Aims, objectives, hypotheses", reply=met("answer", "methods")),
        ),
        "Study design": (
            Item(number="5", topic="Prospective or retrospective", reply=authors("not told by the data")),
            Item(number="6", topic="Goal of the study", reply=met("answer", "design")),
        ),
        "Data": (
            Item(number="7", topic="Sources of data", reply=met("participants", "reproducibility", "references")),
            Item(
                number="8",
                topic="Inclusion and exclusion",
                reply=partly("what was left out here; how the source chose is for the authors", figure("participants")),
            ),
            Item(
                number="9",
                topic="Preprocessing",
                reply=partly(
                    "size kept; each network’s own in its files",
                    figure("participants"),
                    when=has_size,
                    otherwise=authors(),
                ),
            ),
            Item(number="10", topic="Choice of subsets", reply=met("participants", table("settings"))),
            Item(number="11", topic="De-identification", reply=authors("done by the source of the data")),
            Item(
                number="12",
                topic="Missing data",
                reply=met(
                    table("participants"),
                    "estimands",
                    when=missing_labels,
                    otherwise=met(table("participants"), "methods"),
                ),
            ),
            Item(number="13", topic="Acquisition of images", reply=authors("not told by the data")),
        ),
        "Reference standard": (
            Item(
                number="14",
                topic="Definition",
                reply=partly(
                    "labels taken from reports; see the source",
                    "limitations",
                    when=labels_from_reports,
                    otherwise=authors(),
                ),
            ),
            Item(number="15", topic="Rationale", reply=authors()),
            Item(number="16", topic="Who annotated", reply=authors("told by the source of the data")),
            Item(number="17", topic="Annotation of the test set", reply=authors("told by the source of the data")),
            Item(number="18", topic="Variability between and within raters", reply=authors()),
        ),
        "Partitions and size": (
            Item(
                number="19",
                topic="How images were assigned",
                reply=authors("the study file names the images; how they were drawn is not in it", table("settings")),
            ),
            Item(
                number="20",
                topic="Level at which partitions are disjoint",
                reply=partly(
                    "test and validation images share no patient, which is checked; training images are not known",
                    figure("participants"),
                    when=lambda view: has_validation(view) and names_all_patients(view),
                    otherwise=partly(
                        "which patient an image is of is not known of all; training images are not known",
                        figure("participants"),
                        when=has_validation,
                        otherwise=authors("training images are not known here"),
                    ),
                ),
            ),
            Item(
                number="21",
                topic="Intended size of the test set",
                reply=partly("the smallest detectable difference", table("power"), when=detects, otherwise=authors()),
            ),
        ),
        "Model and training": (
            Item(
                number="22",
                topic="Description of the model",
                reply=partly(
                    "architecture and size; the whole is in the files named",
                    table("models"),
                    when=knows_networks,
                    otherwise=TRAINING,
                ),
            ),
            Item(number="23", topic="Software", reply=met("reproducibility")),
            Item(number="24", topic="Initial parameters", reply=TRAINING),
            Item(
                number="25",
                topic="Training",
                reply=partly(
                    "settings as the checkpoints tell them", table("models"), when=knows_training, otherwise=TRAINING
                ),
            ),
            Item(number="26", topic="Choice of the final model", reply=authors()),
            Item(number="27", topic="Ensembles", reply=not_applicable("each training run predicts alone")),
        ),
        "Evaluation": (
            Item(number="28", topic="Metrics", reply=met("estimands")),
            Item(number="29", topic="Significance and uncertainty", reply=met("methods")),
            Item(
                number="30",
                topic="Robustness or sensitivity",
                reply=met(
                    figure("robustness"),
                    table("conditions"),
                    table("sensitivity"),
                    otherwise=not_met("clean images alone"),
                ),
            ),
            Item(number="31", topic="Explainability", reply=not_met("not part of this program")),
            Item(
                number="32",
                topic="Evaluation on internal data",
                reply=authors("whether the test data are internal is not known", table("primary")),
            ),
            Item(
                number="33",
                topic="Testing on external data",
                reply=authors("whether the test data are external is not known", table("primary")),
            ),
            Item(number="34", topic="Registration of a trial", reply=not_applicable("no clinical trial")),
        ),
        "Results": (
            Item(number="35", topic="Numbers included and excluded", reply=met(figure("participants"))),
            Item(
                number="36",
                topic="Characteristics of each partition",
                reply=partly(
                    "of the images analysed; training images are not known",
                    table("participants"),
                    when=has_characteristics,
                    otherwise=partly("findings alone; the metadata have no age, sex or view", table("participants")),
                ),
            ),
            Item(number="37", topic="Performance", reply=met(table("primary"), table("subgroups"))),
            Item(number="38", topic="Estimates and their precision", reply=met(table("primary"), table("by_finding"))),
            Item(
                number="39",
                topic="Analysis of failures",
                reply=partly(
                    "what the perturbation does; no reading of single errors",
                    figure("examples"),
                    figure("flips"),
                    table("by_finding"),
                    when=is_perturbed,
                    otherwise=partly("by finding; no reading of single errors", table("by_finding")),
                ),
            ),
        ),
        "Discussion and other": (
            Item(number="40", topic="Limitations", reply=met("limitations")),
            Item(number="41", topic="Implications for practice", reply=authors()),
            Item(number="42", topic="Protocol or further detail", reply=met("registration", table("settings"))),
            Item(
                number="43",
                topic="Availability of software, model, data",
                reply=authors(
                    "hashes and versions are here; where they can be had is not", table("models"), "reproducibility"
                ),
            ),
            Item(number="44", topic="Funding", reply=authors()),
        ),
    },
)
