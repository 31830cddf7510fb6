"""A study's folder that a benchmark writes: images, two findings as labels, a network, and the study file."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def write_folder(folder: Path, images: Iterable[Image.Image], *, network: str, study: str) -> Path:
    """Write a study of one image a patient, with the findings Effusion and Mass, and return its folder.

    Parameters
    ----------
    network
        Python code of the module `network`, which regimes name.
    study
        TOML of the study file, whose images are of kind `folder`.
    """
    (folder / "images").mkdir(parents=True)
    rows = ["image_id,patient_id,Effusion,Mass"]
    for i, image in enumerate(images):
        image.save(folder / "images" / f"i{i:04}.png", compress_level=1)
        rows.append(f"i{i:04},p{i},{i % 2},{i // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "network.py").write_text(network, encoding="utf-8")
    (folder / "study.toml").write_text(study, encoding="utf-8")
    return folder
