"""TRIPOD+AI: reporting of prediction models that use regression or machine learning, 27 items in 52 parts.

Numbers and topics were held against the checklist of 11 January 2024 as others print it.
"""

from cxrobust.reports.checklists import (
    OF_THE_SOURCE,
    Checklist,
    Item,
    authors,
    figure,
    has_characteristics,
    has_corruption,
    has_size,
    has_validation,
    is_registered,
    knows_networks,
    knows_training,
    met,
    not_applicable,
    not_met,
    partly,
    table,
)
from cxrobust.reports.view import detects

EVALUATION = not_applicable("models are evaluated here, not developed")

TRIPOD_AI = Checklist(
    name="TRIPOD+AI",
    work="collins2024",
    groups={
        "Title, abstract, introduction": (
            Item(number="1", topic="Title", reply=authors("the title is theirs")),
            Item(number="2", topic="Abstract", reply=partly("a summary to write it from", "answer")),
            Item(number="3a", topic="Healthcare context and rationale", reply=authors()),
            Item(number="3b", topic="Population, purpose and users", reply=authors()),
            Item(number="3c", topic="Known health inequalities", reply=authors()),
            Item(number="4", topic="Objectives", reply=met("answer", "design")),
        ),
        "Methods": (
            Item(number="5a", topic="Sources of data", reply=met("participants", "reproducibility", "references")),
            Item(number="5b", topic="Dates of the data", reply=OF_THE_SOURCE),
            Item(number="6a", topic="Setting", reply=OF_THE_SOURCE),
            Item(number="6b", topic="Eligibility", reply=partly("what was left out here", figure("participants"))),
            Item(number="6c", topic="Treatments", reply=OF_THE_SOURCE),
            Item(
                number="7",
                topic="Preparation of data",
                reply=partly(
                    "size kept; each network’s own in its files",
                    figure("participants"),
                    when=has_size,
                    otherwise=authors(),
                ),
            ),
            Item(number="8a", topic="Outcome and how it was assessed", reply=OF_THE_SOURCE),
            Item(number="8b", topic="Who assessed a subjective outcome", reply=OF_THE_SOURCE),
            Item(number="8c", topic="Blinding of the outcome’s assessment", reply=OF_THE_SOURCE),
            Item(number="9a", topic="Choice of predictors", reply=not_applicable("the image alone is the predictor")),
            Item(
                number="9b",
                topic="Definition of predictors",
                reply=partly("the image at the size kept", figure("participants"), when=has_size, otherwise=authors()),
            ),
            Item(number="9c", topic="Who assessed subjective predictors", reply=not_applicable("there are none")),
            Item(
                number="10",
                topic="Sample size",
                reply=partly("the smallest detectable difference", table("power"), when=detects, otherwise=authors()),
            ),
            Item(number="11", topic="Missing data", reply=met(table("participants"), "estimands")),
            Item(number="12a", topic="Use of the data", reply=met(figure("participants"), "estimands")),
            Item(number="12b", topic="Handling of predictors", reply=EVALUATION),
            Item(
                number="12c",
                topic="Kind of model, how it was built",
                reply=partly(
                    "as far as the checkpoints tell",
                    table("models"),
                    when=knows_networks,
                    otherwise=authors("", table("models")),
                ),
            ),
            Item(
                number="12d",
                topic="Differences between clusters",
                reply=partly("patients are the clusters", table("clustering"), otherwise=authors("", "methods")),
            ),
            Item(
                number="12e", topic="Measures and plots of performance", reply=met("estimands", figure("calibration"))
            ),
            Item(
                number="12f",
                topic="Updating of the model",
                reply=met(table("recalibration"), otherwise=not_applicable("no model was updated")),
            ),
            Item(
                number="12g",
                topic="How predictions are calculated",
                reply=partly("by the files whose hashes are given", table("models")),
            ),
            Item(
                number="13", topic="Imbalance of classes", reply=authors("prevalences are given", table("participants"))
            ),
            Item(
                number="14",
                topic="Fairness",
                reply=met(table("subgroups"), otherwise=not_met("the study names no subgroup")),
            ),
            Item(
                number="15",
                topic="Output of the model and thresholds",
                reply=met("estimands", table("reproducibility")),
            ),
            Item(
                number="16",
                topic="Differences of training and evaluation data",
                reply=authors("training data are not known here"),
            ),
            Item(number="17", topic="Ethical approval", reply=authors()),
        ),
        "Open science": (
            Item(number="18a", topic="Funding", reply=authors()),
            Item(number="18b", topic="Conflicts of interest", reply=authors()),
            Item(
                number="18c",
                topic="Protocol",
                reply=met("registration", when=is_registered, otherwise=authors("no plan was registered")),
            ),
            Item(
                number="18d",
                topic="Registration",
                reply=partly(
                    "a plan with date and hash; no registry",
                    "registration",
                    when=is_registered,
                    otherwise=authors("no plan was registered"),
                ),
            ),
            Item(number="18e", topic="Sharing of data", reply=authors("hashes are given", "reproducibility")),
            Item(
                number="18f",
                topic="Sharing of code",
                reply=authors("the version of the analysis is given", "reproducibility"),
            ),
            Item(number="19", topic="Patients and public", reply=authors()),
        ),
        "Results": (
            Item(number="20a", topic="Flow of participants", reply=met(figure("participants"))),
            Item(
                number="20b",
                topic="Characteristics",
                reply=met(
                    table("participants"),
                    when=has_characteristics,
                    otherwise=partly("findings alone", table("participants")),
                ),
            ),
            Item(
                number="20c",
                topic="Comparison with development data",
                reply=partly(
                    "validation images alone",
                    table("participants"),
                    when=has_validation,
                    otherwise=authors("training data are not known here"),
                ),
            ),
            Item(number="21", topic="Numbers in each analysis", reply=met(figure("participants"), table("by_finding"))),
            Item(
                number="22",
                topic="Details of the full model",
                reply=partly(
                    "hashes and training settings",
                    table("models"),
                    when=knows_training,
                    otherwise=partly("hashes", table("models")),
                ),
            ),
            Item(
                number="23a",
                topic="Performance with intervals, in subgroups",
                reply=met(table("subgroups"), otherwise=partly("no subgroup", table("primary"))),
            ),
            Item(
                number="23b",
                topic="Differences in performance between clusters",
                reply=authors("", table("clustering")),
            ),
            Item(
                number="24",
                topic="Results of updating",
                reply=met(table("recalibration"), otherwise=not_applicable("no model was updated")),
            ),
        ),
        "Discussion": (
            Item(number="25", topic="Interpretation", reply=partly("what is shown and what is not", "answer")),
            Item(number="26", topic="Limitations", reply=met("limitations")),
            Item(
                number="27a",
                topic="Poor or missing input",
                reply=met(figure("corruptions"), table("conditions"), when=has_corruption, otherwise=authors()),
            ),
            Item(number="27b", topic="Interaction with users", reply=authors()),
            Item(number="27c", topic="Next steps", reply=authors()),
        ),
    },
)
