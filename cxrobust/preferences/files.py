"""Files of preference data: samples, the pairs as trl reads them, and a sheet for people to fill in."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cxrobust.errors import DataError
from cxrobust.files import atomic_write, atomic_write_text, read_json_table, sha256_bytes, sha256_file, sha256_json
from cxrobust.preferences import AGREEMENT
from cxrobust.preferences.pairs import Pair, Sample, Sampled
from cxrobust.radiology_reports.judges import Judgement
from cxrobust.results import to_csv

PAIRS, UNPAIRED, MARGINS, JUDGED, SUMMARY = (
    "pairs.jsonl",
    "unpaired.jsonl",
    "margins.csv",
    "judged.jsonl",
    "summary.json",
)
OF_JUDGE = (PAIRS, UNPAIRED, MARGINS, JUDGED)
"""What a judge's summary stands by."""
_KEY = b"cxrobust-samples"
Layout = Literal["conversation", "text"]


def write_samples(samples: Mapping[str, Sequence[Sample]], path: Path, *, key: str) -> None:
    """Write the samples of a unit's images as Parquet, whole or not at all."""
    rows = [(image, place, one) for image, some in samples.items() for place, one in enumerate(some)]
    columns = {
        "image_id": pa.array([image for image, _, _ in rows], pa.string()),
        "sample": pa.array([place for _, place, _ in rows], pa.int32()),
        "report": pa.array([one.text for _, _, one in rows], pa.string()),
        "log_probability": pa.array([one.log_probability for _, _, one in rows], pa.float64()),
        "cut_off": pa.array([one.is_cut for _, _, one in rows], pa.bool_()),
    }
    identity = {"key": key, "content": _content(samples)}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(identity).encode()})
    atomic_write(path, lambda temporary: pq.write_table(table, temporary, write_page_checksum=True))


def read_samples(path: Path, *, key: str) -> dict[str, tuple[Sample, ...]]:
    """Return the samples of each image of a unit.

    Raises
    ------
    DataError
        When the file is missing, damaged, or another unit's.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        identity = json.loads((table.schema.metadata or {})[_KEY])
        found: dict[str, list[Sample]] = {}
        for row in table.to_pylist():
            one = Sample(text=row["report"], log_probability=row["log_probability"], is_cut=row["cut_off"])
            found.setdefault(row["image_id"], []).append(one)
        samples = {image: tuple(some) for image, some in found.items()}
        whole = identity["key"] == key and identity["content"] == _content(samples)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{path}: the samples cannot be read ({error}): delete the file and run again") from error
    if not whole:
        raise DataError(f"{path}: the samples are damaged: delete the file and run again")
    return samples


def _content(samples: Mapping[str, Sequence[Sample]]) -> str:
    return sha256_json(
        [
            [image, [[one.text, repr(float(one.log_probability)), one.is_cut] for one in some]]
            for image, some in samples.items()
        ]
    )


def write_reports(sampled: Sequence[Sampled], path: Path) -> None:
    """Write every sampled report, a line each, with the image's id, as `cxrobust label` reads reports."""
    lines = [
        {
            "id": f"{one.image}#{place}",
            "image": one.image,
            "sample": place,
            "report": sample.text,
            "log_probability": None if math.isnan(sample.log_probability) else sample.log_probability,
            "cut_off": sample.is_cut,
            "reference": one.reference,
        }
        for one in sampled
        for place, sample in enumerate(one.samples)
    ]
    _write_lines(lines, path)


def write_pairs(pairs: Sequence[Pair], folder: Path, *, prompt: str, layout: Layout, images: Mapping[str, str]) -> None:
    """Write pairs, and the same unpaired (for KTO), as trl reads them, and beside them whose they are.

    `images` are files by image, relative to the folder of JSON lines.
    """

    def written(text: str, role: str) -> Any:
        return text if layout == "text" else [{"role": role, "content": text}]

    asked = written(prompt, "user")
    paired, unpaired = [], []
    for pair in pairs:
        image = images[pair.image]
        chosen, rejected = (written(text, "assistant") for text in (pair.chosen_text, pair.rejected_text))
        paired.append({"image": image, "prompt": asked, "chosen": chosen, "rejected": rejected})
        unpaired.append({"image": image, "prompt": asked, "completion": chosen, "label": True})
        unpaired.append({"image": image, "prompt": asked, "completion": rejected, "label": False})
    _write_lines(paired, folder / PAIRS)
    _write_lines(unpaired, folder / UNPAIRED)
    header = (
        "image",
        "chosen",
        "rejected",
        "chosen_grade",
        "rejected_grade",
        "margin",
        "chosen_words",
        "rejected_words",
    )
    rows = [
        [
            *(pair.image, pair.chosen, pair.rejected, pair.chosen_grade, pair.rejected_grade, pair.margin),
            *(len(text.split()) for text in (pair.chosen_text, pair.rejected_text)),
        ]
        for pair in pairs
    ]
    atomic_write_text(folder / MARGINS, to_csv(header, rows))


def write_judged(sampled: Sequence[Sampled], judgements: Sequence[Judgement], path: Path) -> None:
    """Write what a judge made of each image: grades, reasons, and each comparison in sample numbers."""
    lines = []
    for one, judgement in zip(sampled, judgements, strict=True):
        places = one.places
        lines.append(
            {
                "image": one.image,
                "grades": {
                    str(place): grade if grade is not None else {"not graded": why}
                    for place, grade, why in zip(places, judgement.grades, judgement.reasons, strict=True)
                },
                "comparisons": [
                    {
                        "first": places[decision.first],
                        "second": places[decision.second],
                        "choice": decision.choice,
                        **({"why": decision.why} if decision.why else {}),
                        **({} if decision.orders is None else {"orders": list(decision.orders)}),
                    }
                    for decision in judgement.decisions
                ],
            }
        )
    _write_lines(lines, path)


def write_for_people(sampled: Sequence[Sampled], path: Path, *, seed: int, known: Path) -> bool:
    """Write a sheet that people fill in: two reports of each image, in an order drawn from the seed.

    The two are drawn from the different texts, so that the sheet tells nothing of any judge. A sheet that is not byte
    for byte as it was written, which the file `known` tells, may have been filled in and is left as it is.

    Returns
    -------
    bool
        Whether it is written.
    """
    rows = []
    for number, one in enumerate(sampled):
        if len(one.case.texts) < 2:
            continue
        rng = np.random.default_rng([seed, number])
        first, second = rng.permutation(len(one.case.texts))[:2]
        rows.append([one.image, one.reference or "", one.case.texts[first], one.case.texts[second], ""])
    sheet = to_csv(("image", "reference", "first", "second", "preferred"), rows)
    written = sha256_bytes(sheet.encode())
    if path.exists() and sha256_file(path) not in {written, known.read_text("utf-8") if known.exists() else ""}:
        return False
    atomic_write_text(path, sheet)
    atomic_write_text(known, written)
    return True


def remove_stale(folder: Path, *, reports: str, judges: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Remove what was made of other reports than those with this hash, or tells of judges that are others now.

    Returns
    -------
    list of Path
        Folders of judges, and the file of agreement, that are removed.
    """
    stale = []
    for place in sorted(path.parent for path in folder.glob(f"*/{JUDGED}")):
        if read_json_table(place / SUMMARY).get("sampling", {}).get("reports") != reports:
            for name in (SUMMARY, *OF_JUDGE):
                (place / name).unlink(missing_ok=True)
            stale.append(place)
    agreement = folder / AGREEMENT
    if agreement.exists():
        told = read_json_table(agreement)
        then = {one["name"]: one for one in told.get("judges", [])}
        if told.get("reports") != reports or any(then.get(one["name"], one) != one for one in judges):
            agreement.unlink()
            stale.append(agreement)
    return stale


def write_summary(content: Mapping[str, Any], path: Path) -> None:
    """Write counts and the judge's identity as JSON that people read."""
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_lines(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    atomic_write_text(path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))
