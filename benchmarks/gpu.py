"""A whole study analysed on a GPU and on all cores of the same machine, in one run, each in a process of its own.

python benchmarks/gpu.py --out benchmarks/results/gpu.json
python benchmarks/gpu.py --metrics all --out benchmarks/results/gpu-all.json
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch
from record import write
from scaling import STUDY, Run, analyze_made, print_run

from cxrobust.analysis.metrics import metric

DEVICES: tuple[Literal["cuda", "cpu"], ...] = ("cuda", "cpu")


def main() -> None:
    arguments = parse_arguments()
    plan = replace(STUDY, metrics=tuple(metric)) if arguments.metrics == "all" else STUDY
    runs: dict[str, Run] = {}
    for device in arguments.devices:
        print(f"on {device}:", flush=True)
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            runs[device] = child.submit(analyze_made, plan, device).result()
        print_run(runs[device])
        content = {"gpu": torch.cuda.get_device_name(), "runs": {name: asdict(one) for name, one in runs.items()}}
        write(arguments.out, content, packages=("torch",))
    if set(DEVICES) <= set(runs):
        print(f"the GPU is {runs['cpu'].seconds / runs['cuda'].seconds:.1f} times as fast as all cores beside it")


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", choices=("default", "all"), default="default")
    parser.add_argument("--devices", choices=DEVICES, nargs="+", default=DEVICES)
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
