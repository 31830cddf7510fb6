"""The appendix: all that is needed to make this report again, and to see whether it came out the same."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.parts import EMPTY, Cell, Column, Group, Table, even_parts
from cxrobust.reports.sections import section
from cxrobust.reports.sections.registration import registered
from cxrobust.reports.view import View
from cxrobust.reports.words import condition_words, counted, finding_words, number, readable, regime, significant

MOST_COLUMNS = 8
TIMES = {
    "wall_seconds": "Wall time of predictions",
    "seconds": "Time of predictions, summed over units, of which some may run at once",
}


@section("reproducibility", order=140, title="Computation and reproduction", documents=("report", "appendix"))
def reproducibility(view: View) -> Mapping[str, Any]:
    """Return command, hashes, versions, hardware, operating points and the study file."""
    provenance = view.results.provenance
    return {
        "command": readable(str(provenance.get("command", "cxrobust run study.toml"))),
        "facts": _facts(view),
        "machines": _machines(view),
        "needs_data_root": "--data-root" in str(provenance.get("command", "")),
        "analysis": _machine(provenance.get("analysis", {})),
        "hashes": _hashes(view),
        "stages": _stages(view),
        "thresholds": _thresholds(view),
        "study_text": readable(view.results.study_text),
    }


def _facts(view: View) -> list[tuple[str, str]]:
    provenance = view.results.provenance
    seed = provenance.get("seed", view.results.study["study"]["seed"])
    facts = [
        (
            "Seed",
            f"{seed} ({'perturbations: by study, condition and image; ' if view.series else ''}analysis: by study and purpose)",
        ),
        ("Study file, SHA-256", str(provenance.get("study_sha256", ""))),
        ("Predictions, SHA-256 of their index", str(provenance.get("predictions_sha256", ""))),
    ]
    facts += _times(provenance.get("inference", {}))
    facts += [
        (f"Against fp32, {one['regime']}, {condition_words(one['condition'])}", _deviation(one))
        for one in _deviations(view)
    ]
    facts.append(
        (
            "Wall time of analysis",
            "in log.jsonl beside the results: not here, so that the same predictions give the same documents",
        )
    )
    return [(name, readable(value)) for name, value in facts if value]


def _times(inference: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how long predictions took, as far as that was kept."""
    n = inference.get("n_untimed", 0)
    without = f", without {counted(n, 'unit')} whose time was not kept" if n else ""
    return [
        (title, f"{duration(float(seconds))}{without}")
        for key, title in TIMES.items()
        if (seconds := inference.get(key))
    ]


def _deviations(view: View) -> list[Mapping[str, Any]]:
    """Return how far predictions are from fp32, where they were made otherwise; of first training runs."""
    found = view.results.provenance.get("inference", {}).get("deviations", [])
    return [one for one in found if one["replicate"] == 0]


def _deviation(one: Mapping[str, Any]) -> str:
    """Say how far one model's probabilities are from fp32."""
    return (
        f"probabilities of {counted(one['n_images'], 'image')} differ by {significant(one['mean'])} on average and by "
        f"{significant(one['largest'])} at most; {one['changed']:,} of {one['n_decisions']:,} decisions at 0.5 differ"
    )


def duration(seconds: float) -> str:
    """Write a time: `42 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _machines(view: View) -> list[dict[str, str]]:
    machines = view.results.provenance.get("inference", {}).get("machines", [])
    return [_machine(one) for one in machines]


def _machine(one: Mapping[str, Any]) -> dict[str, str]:
    said = {name: readable(str(one.get(name, ""))) for name in ("hardware", "device", "platform")}
    return {**said, "versions": _versions(one)}


def _versions(machine: Mapping[str, Any]) -> str:
    python = [f"Python {machine['python']}"] if machine.get("python") else []
    commits = {"cxrobust": f" (commit {machine['commit']})"} if machine.get("commit") else {}
    packages = [f"{name} {version}{commits.get(name, '')}" for name, version in (machine.get("versions") or {}).items()]
    return readable(", ".join([*python, *packages]))


def _hashes(view: View) -> list[tuple[str, str]]:
    """Return (what, SHA-256) of the files that the data were read from, and of the image set."""
    data = view.results.data
    found = list((data.get("sources") or {}).items())
    held_out = data.get("validation") or {}
    found += [(f"{file} (validation)", digest) for file, digest in (held_out.get("sources") or {}).items()]
    for name, part in (("All test images, by id and hash", data), ("All validation images, by id and hash", held_out)):
        if part.get("images_sha256"):
            found.append((name, part["images_sha256"]))
    return [(readable(file), readable(str(digest))) for file, digest in found]


def _stages(view: View) -> list[tuple[str, str]]:
    """Return (stage, command) of each stage alone, and of what checks it, in order, from the command of all."""
    command = str(view.results.provenance.get("command", "cxrobust run study.toml"))
    words = command.removeprefix("cxrobust run ")
    if words == command:
        return []
    stages = [
        ("Check before", f"cxrobust check {words}"),
        *([("Registration", f"cxrobust register {words}")] if registered(view) else []),
        ("Predictions", f"cxrobust predict {words}"),
        ("Analysis", f"cxrobust analyze {words}"),
        ("Documents", "cxrobust report out/results.json"),
        ("Check of a PDF", "cxrobust verify out/report.pdf"),
        ("Bundle to pass on", "cxrobust bundle out"),
        ("Check of a bundle", "cxrobust reproduce out/bundle"),
    ]
    return [(stage, readable(line)) for stage, line in stages]


def _thresholds(view: View) -> tuple[Table, ...]:
    """Return the operating points, findings by regimes, in as many tables as the width asks for."""
    known = {
        (one.regime, one.finding): one.value
        for one in view.results.thresholds
        if one.replicate == _first(view, one.regime)
    }
    if not known:
        return ()
    chunks = even_parts(view.regimes, MOST_COLUMNS)
    return tuple(
        Table(
            key=f"thresholds-{place + 1}",
            columns=(Column(title="Finding", left=True), *(Column(title=regime(name)) for name in some)),
            groups=tuple(
                Group(
                    head=finding_words(finding["name"]),
                    rows=(tuple(_threshold(known.get((name, finding["name"]))) for name in some),),
                )
                for finding in view.findings
            ),
            dense=True,
        )
        for place, some in enumerate(chunks)
    )


def _threshold(value: float | None) -> Cell:
    return EMPTY if value is None else Cell(text=number(value, digits=4))


def _first(view: View, name: str) -> int:
    return min(one.replicate for one in view.results.thresholds if one.regime == name)
