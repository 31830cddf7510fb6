"""The NeurIPS paper checklist, 16 questions."""

from cxrobust.reports.checklists import (
    Checklist,
    Item,
    authors,
    is_made_here,
    knows_training,
    met,
    not_applicable,
    partly,
    table,
)

NEURIPS = Checklist(
    name="NeurIPS paper checklist",
    work="neurips2025",
    groups={
        "Claims and results": (
            Item(
                number="1",
                topic="Claims match what is shown",
                reply=partly("sentences are computed from the results; the paper’s own are the authors’", "answer"),
            ),
            Item(number="2", topic="Limitations", reply=met("limitations")),
            Item(number="3", topic="Theory, assumptions and proofs", reply=not_applicable("no theoretical result")),
            Item(number="4", topic="Reproducibility of the results", reply=met("reproducibility", table("settings"))),
            Item(
                number="5",
                topic="Open access to data and code",
                reply=authors("where they can be had", "reproducibility"),
            ),
            Item(
                number="6",
                topic="Details of the setting",
                reply=met(
                    table("settings"),
                    table("models"),
                    when=knows_training,
                    otherwise=partly(
                        "the evaluation; training only as far as known", table("settings"), table("models")
                    ),
                ),
            ),
            Item(
                number="7",
                topic="Statistical significance",
                reply=met(
                    "methods",
                    table("primary"),
                    when=lambda view: view.has_replicates,
                    otherwise=partly("over patients; one training run of each regime", "methods", table("primary")),
                ),
            ),
            Item(
                number="8",
                topic="Resources of computation",
                reply=partly(
                    "machine and time of predictions; of training not",
                    "reproducibility",
                    when=is_made_here,
                    otherwise=partly("the machine of the analysis; predictions were made elsewhere", "reproducibility"),
                ),
            ),
        ),
        "Ethics and resources": (
            Item(number="9", topic="Code of ethics", reply=authors()),
            Item(number="10", topic="Broader impact", reply=authors()),
            Item(number="11", topic="Safeguards", reply=authors()),
            Item(number="12", topic="Licences of what is used", reply=authors("citations are given", "references")),
            Item(number="13", topic="New assets", reply=authors()),
            Item(number="14", topic="Crowdsourcing and human subjects", reply=authors()),
            Item(number="15", topic="Approval by an ethics board", reply=authors()),
            Item(number="16", topic="Use of language models", reply=authors()),
        ),
    },
)
