"""What is known of each model: source, revision, size, what was tuned and how, and the hash of every file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.sections.settings import value_text
from cxrobust.reports.view import View
from cxrobust.reports.words import count, readable, regime

NOT_KNOWN = "not known"
OUTPUTS = (
    "pooling",
    "question",
    "prompt",
    "yes",
    "no",
    "present",
    "absent",
    "words",
    "prompts",
    "head",
    "output",
    "outputs",
    "labels",
    "mean",
    "std",
    "cross_fit",
    "trust_remote_code",
    "options",
    "id",
    "prefix",
)
"""Settings of a regime that say how its outputs are read."""
ROWS_OF_THEIR_OWN = ("network", "tuned")
"""What `training.json` says that is no setting of the training."""
NEW_LINE = "\\n"
"""How a line's end is printed within a text."""
FORMS = {
    "study": "in the form that the study file gives",
    "template": "in the form of the processor’s chat template",
    "none": "the image and then the text alone, since the processor has no chat template",
}
MOST_RUNS = 5
"""Training runs whose settings are told apart."""


@section("models", order=130, title="Models", documents=("report", "appendix"))
def models(view: View) -> Mapping[str, Any]:
    """Return what is known of each regime's network, and what is not."""
    columns = (Column(title="Regime", left=True), Column(title="What", left=True), Column(title="Value", left=True))
    groups = tuple(Group(head=regime(one["name"]), rows=tuple(_rows(one, view))) for one in view.results.regimes)
    return {
        "models": Table(key="models-table", columns=columns, groups=groups, dense=True),
        "elsewhere": any(one.get("family") == "elsewhere" for one in view.results.regimes),
    }


def _rows(one: Mapping[str, Any], view: View) -> Iterator[tuple[Cell, ...]]:
    runs = one.get("settings") or [{}]
    first = runs[0]
    yield _row("Source", _source(one, runs))
    if one.get("family") != "elsewhere":
        yield _row("Network", readable(str(one.get("architecture") or _said(one).get("network") or NOT_KNOWN)))
    if one.get("resolution"):
        yield _row("Resolution", _resolution(one, view.results.data.get("size")))
    if one.get("assumed_normalisation"):
        yield _row("Normalisation", readable(str(one["assumed_normalisation"])))
    yield _row("Parameters", _parameters(one))
    yield _row("Tuned", _tuned(one))
    if one.get("adapter"):
        yield _row("Adapter", value_text(dict(one["adapter"])))
    yield _row("Training", _training(one))
    outputs = {key: first[key] for key in OUTPUTS if first.get(key)}
    if outputs:
        yield _row("Outputs", value_text(outputs))
    if one.get("asked"):
        yield _row("Text with the image", _asked(one["asked"]))
    if one.get("answers"):
        yield _row("Tokens that count", _answers(one["answers"]))
    if len(runs) > 1:
        yield _row("Training runs", count(len(runs)))
    for file, digest in (one.get("fingerprint") or {}).items():
        yield Cell(text=readable(file)), Cell(text=readable(str(digest)), look="hash")


def _row(name: str, text: str) -> tuple[Cell, ...]:
    return Cell(text=name), Cell(text=text, look="quiet" if text == NOT_KNOWN else "")


def _source(one: Mapping[str, Any], runs: list[Mapping[str, Any]]) -> str:
    if one.get("family") == "elsewhere":
        return "predictions made elsewhere"
    names = list(dict.fromkeys(str(run.get("model") or run.get("weights") or "") for run in runs))[:MOST_RUNS]
    name = ", ".join(readable(name) for name in names if name) or NOT_KNOWN
    if one.get("source") != "hub":
        return name
    revision = runs[0].get("revision")
    commit = f", commit {readable(one['commit'])}" if one.get("commit") else ""
    return f"{name}, hub{f', revision {readable(revision)}' if revision else ''}{commit}"


def _resolution(one: Mapping[str, Any], perturbed_at: int | None) -> str:
    """Say at which size the network sees images, which may differ from that at which they are perturbed."""
    height, width = one["resolution"]
    inside = f"{height} × {width} pixels"
    if perturbed_at is None or (height, width) == (perturbed_at, perturbed_at):
        return inside
    return f"{inside}, resized within the graph from {perturbed_at} × {perturbed_at}, at which images are perturbed"


def _parameters(one: Mapping[str, Any]) -> str:
    if not one.get("n_parameters"):
        return NOT_KNOWN
    own = count(int(one["n_parameters"]))
    added = one.get("n_adapter_parameters")
    return f"{own}, and {count(int(added))} in the adapter" if added else own


def _tuned(one: Mapping[str, Any]) -> str:
    """Say which parameters were tuned: what the training says, else what an adapter implies, else nothing."""
    said = _said(one).get("tuned")
    if said:
        return readable(str(said))
    if not one.get("adapter"):
        return NOT_KNOWN
    whole = one["adapter"].get("modules_to_save")
    return f"the adapter{f' and {value_text(whole)}' if whole else ''}"


def _training(one: Mapping[str, Any]) -> str:
    said = {key: value for key, value in _said(one).items() if key not in ROWS_OF_THEIR_OWN}
    return value_text({key.replace("_", " "): value for key, value in said.items()}) if said else NOT_KNOWN


def _asked(asked: Mapping[str, Any]) -> str:
    """Quote the texts that the processor is given with an image, and say what their form is from."""
    texts = "; ".join(f"“{readable(one).replace(chr(10), NEW_LINE)}”" for one in asked["texts"])
    return f"{texts}, {FORMS[asked['form']]}"


def _answers(spellings: Mapping[str, Sequence[str]]) -> str:
    """Name, in quotes since some begin with a space, the spellings of each answer that are one token of the model."""
    return "; ".join(
        f"{answer}: {', '.join(f'“{readable(one)}”' for one in ones)}" for answer, ones in spellings.items()
    )


def _said(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `training.json` says of a regime; nothing where there is none."""
    return one.get("training") or {}
