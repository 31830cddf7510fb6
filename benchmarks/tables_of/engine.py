"""Tables of the engine: its time and memory, kills, and what a grid on the whole of MIMIC-CXR would cost."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from tables_of.form import seconds, table

SLOWER = 1.05
"""How long a run may take beside a bare loop, which takes 1."""
WHOLE_MIMIC = {"regimes": 10, "conditions": 50, "images": 377_110}
"""The grid that docs/scaling.md reckons with."""


def inference(result: Mapping[str, Any]) -> Iterable[str]:
    yield (
        f"{result['network']} on {result['device']}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}: "
        f"{result['images']} images of side {result['size']}, batches of {result['batch']}; each row is one turn of "
        f"both, of FGSM or of PGD of {result['steps']} steps."
    )
    yield table(
        ("attack", "bare loop", "engine", "ratio", "aim", "CPU seconds of the loop", "of the engine", "ratio"),
        [
            (
                of["attack"].upper(),
                seconds(one["bare"]),
                seconds(one["engine"]),
                f"{one['engine'] / one['bare']:.3f}",
                f"{SLOWER:.2f}, {'met' if one['engine'] <= SLOWER * one['bare'] else 'missed'}",
                seconds(one["bare_cpu"]),
                seconds(one["engine_cpu"]),
                f"{one['engine_cpu'] / one['bare_cpu']:.3f}",
            )
            for of in result["attacks"]
            for one in of["turns"]
        ],
    )
    medians = (
        f"of {of['attack'].upper()} {of['ratio']:.3f} ({'met' if of['ratio'] <= SLOWER else 'missed'})"
        for of in result["attacks"]
    )
    yield f"The median of the turns' ratios is {', '.join(medians)}."
    if not result["cold"]:
        yield "A cold run was not measured yet."
        return
    turns = " and ".join(f"{seconds(one['meanwhile'])} against {seconds(one['before'])}" for one in result["cold"])
    yield (
        f"A cold run under FGSM, from {result['images']} PNG files of side {result['side']}, of a network "
        f"that only waits, as a CPU does for a GPU: "
        f"{turns} where all images are decoded first; the median ratio is {result['cold_ratio']:.2f}."
    )


def memory(result: Mapping[str, Any]) -> Iterable[str]:
    few, many = result["studies"]
    yield (
        f"Clean images and FGSM of a small network, from PNG files of side {result['side']}, in batches of "
        f"{result['batch']} and shards of {result['shard']}, each study in a process of its own."
    )
    yield table(
        ("images", "decoded images", "peak of anonymous memory"),
        [
            (f"{one['images']:,}", *(f"{one[key] / 1e6:.1f} MB" for key in ("decoded", "anonymous")))
            for one in (few, many)
        ],
    )
    yield (
        f"Each further image adds {result['bytes_of_an_image'] / 1e3:.2g} kB to the peak, and "
        f"{2 * result['side'] ** 2 / 1e3:.1f} kB to the file of decoded images."
    )


def whole_mimic(result: Mapping[str, Any]) -> Iterable[str]:
    """What a grid on the whole of MIMIC-CXR would cost at the rates of the engine's units.

    A turn predicts each image clean and attacked: FGSM's is two passes and a gradient, PGD's two passes and `steps`.
    """
    n, steps = result["images"], result["steps"]
    fgsm, pgd = (
        {key: median(turn[key] for turn in of["turns"]) / n for key in ("engine", "engine_cpu")}
        for of in result["attacks"]
    )
    gradient = {key: (pgd[key] - fgsm[key]) / (steps - 1) for key in fgsm}
    forward = {key: (fgsm[key] - gradient[key]) / 2 for key in fgsm}
    regimes, conditions, images = WHOLE_MIMIC.values()

    def hours(key: str, n_gradients: int) -> float:
        attacked = forward[key] + n_gradients * gradient[key]
        return regimes * images * (forward[key] + (conditions - 1) * attacked) / 3600

    yield (
        f"{result['network']} on {result['device']}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}: "
        f"{n} images of side {result['size']}, batches of {result['batch']}. Clean and under FGSM an image takes "
        f"{fgsm['engine_cpu']:.3f} core seconds, clean and under PGD of {steps} steps {pgd['engine_cpu']:.3f}. So a "
        f"gradient takes ({pgd['engine_cpu']:.3f} − {fgsm['engine_cpu']:.3f}) / {steps - 1} = "
        f"{gradient['engine_cpu']:.3f}, and a pass forward {forward['engine_cpu']:.3f}. For {regimes} regimes of that "
        f"network, {conditions} conditions (one clean, all others of one kind) and {images:,} images that makes:"
    )
    yield table(
        ("conditions", "images a second", "core hours", f"days on these {result['made_with']['cores']} cores"),
        (
            (
                name,
                f"{1 / (forward['engine'] + k * gradient['engine']):.1f}",
                f"{hours('engine_cpu', k):,.0f}",
                f"{hours('engine', k) / 24:,.0f}",
            )
            for name, k in (
                ("noise or corruptions, making them not counted", 0),
                ("FGSM", 1),
                (f"PGD of {steps} steps", steps),
                ("PGD of 20 steps, by the same sum", 20),
            )
        ),
    )
    yield "Larger networks and images cost more in proportion to their arithmetic; decoding is not in these numbers."


def kills(result: Mapping[str, Any]) -> Iterable[str]:
    n, same = len(result["kills"]), result["same"]
    yield (
        f"{result['units']:,} units by {result['workers']} processes; the one that hands them out got SIGKILL {n} "
        f"times, at moments drawn at random (seed {result['seed']}), and the same command went on. All "
        f"{result['units']:,} files, the table of images and the index are {'those' if same else '**not** those'} of "
        f"an undisturbed run, byte for byte; {result['leftovers']} half-written files are left."
    )
    yield table(
        ("kill", "seconds after the start", "units done", "workers", "gone within"),
        (
            (
                str(number), f"{one['seconds']:.1f}", f"{one['units']:,}", str(one["workers"]),
                seconds(one["gone"]) if one["workers"] else "",
            )
            for number, one in enumerate(result["kills"], start=1)
        ),
    )  # fmt: skip
