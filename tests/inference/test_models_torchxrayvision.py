"""Family `torchxrayvision`: the library's own forward pass as oracle, its files, and what is refused."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.chexpert import FINDINGS as CHEXPERT
from cxrobust.inference.datasets.nih import ADJUDICATED
from cxrobust.inference.datasets.nih import FINDINGS as NIH
from cxrobust.inference.datasets.openi import HEADINGS
from cxrobust.inference.datasets.padchest import PadChest
from cxrobust.inference.datasets.rsna import FINDINGS as RSNA
from cxrobust.inference.datasets.siim import FINDINGS as SIIM
from cxrobust.inference.models.torchxrayvision import SIZES, TorchXRayVision, _also_called
from cxrobust.study import parse_study

with warnings.catch_warnings():
    xrv = pytest.importorskip("torchxrayvision")

VINDR = (
    *("Aortic enlargement", "Atelectasis", "Cardiomegaly", "Calcification", "Clavicle fracture", "Consolidation"),
    *("Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst"),
    *("Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax"),
    *("Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis"),
    "Other diseases",
)
"""The 27 findings of the label files."""
DENSE = "densenet121-res224-all"
CALLED = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


def densenet(n_outputs: int = 18) -> torch.nn.Module:
    torch.manual_seed(0)
    network = xrv.models.DenseNet(num_classes=n_outputs)
    for name, value in network.named_buffers():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    torch.nn.init.normal_(network.classifier.weight, std=0.05)
    return network.eval()


@pytest.fixture(scope="module")
def pickled(tmp_path_factory) -> Path:
    """A whole network as pickle, as the library distributes its own, under the name that it looks for."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(densenet(), folder / CALLED)
    return folder / CALLED


def regime_in(folder: Path, **settings) -> TorchXRayVision:
    table = {"name": "r", "family": "torchxrayvision", "model": DENSE, **settings}
    return TorchXRayVision.model_validate_json(json.dumps(table, default=str), context={"study_folder": folder})


def picture(side: int) -> np.ndarray:
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [224, 300])
def test_logits_against_the_library(side, pickled, tmp_path, capsys):
    theirs = xrv.models.DenseNet(weights=DENSE, cache_dir=str(pickled.parent))
    theirs.op_threshs = None
    normalised = xrv.utils.normalize(picture(side), 255)[None, None]
    expected = theirs(torch.from_numpy(normalised))[:, [theirs.pathologies.index(name) for name in NIH]]
    capsys.readouterr()
    loaded = regime_in(tmp_path, weights=pickled).load(NIH)
    images = torch.from_numpy(picture(side)[None, None].astype(np.float32) / 255)
    torch.testing.assert_close(loaded(images), expected, atol=1e-3, rtol=1e-3)
    assert expected.std() > 0.05
    assert capsys.readouterr().out == ""


def test_a_pickled_network_of_torchvision_gives_what_it_gives_itself(tmp_path):
    from torchvision.models import densenet121

    torch.manual_seed(0)
    network = densenet121(num_classes=18)
    network.features.conv0 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    torch.save(network, tmp_path / "w.pt")
    loaded = regime_in(tmp_path, weights=tmp_path / "w.pt", image_size=64).load(("Atelectasis",))
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = network.eval()((2 * images - 1) * 1024)[:, :1]
    torch.testing.assert_close(loaded(images), expected, atol=1e-3, rtol=1e-3)


def test_names_and_sizes_are_those_of_the_library():
    known = {name: one["input_resolution"] for name, one in xrv.models.model_urls.items() if "-res" in name}
    assert known == SIZES


def test_gradient_reaches_the_pixels(pickled, tmp_path):
    loaded = regime_in(tmp_path, weights=pickled, image_size=64).load(("Effusion",))
    images = torch.from_numpy(picture(80)[None, None].astype(np.float32) / 255).requires_grad_(True)
    (gradient,) = torch.autograd.grad(loaded(images).sum(), images)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9


def test_names_of_other_data_sets_are_matched(pickled, tmp_path):
    regime = regime_in(tmp_path, weights=pickled)
    names = xrv.models.model_urls[DENSE]["labels"]
    columns = regime.load(("Pleural Effusion", "Pleural_Thickening", "Lung Opacity", "Pulmonary fibrosis")).columns
    assert columns == [names.index(n) for n in ("Effusion", "Pleural_Thickening", "Lung Opacity", "Fibrosis")]
    with pytest.raises(DataError, match="there is no output 'Support Devices'"):
        regime.load(("Support Devices",))


def test_of_all_names_of_our_data_sets_only_those_of_the_same_meaning_are_matched(pickled, wheel_tables, tmp_path):
    padchest = {"kind": "padchest", "root": tmp_path, "least_positives": 1, "labeler": "all", "views": "all"}
    padchest |= {"labels": wheel_tables / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"}
    of_padchest = PadChest.model_validate_json(json.dumps(padchest, default=str)).table(with_images=False).findings
    assert len(of_padchest) > 150
    names = tuple(dict.fromkeys((*NIH, *ADJUDICATED, *CHEXPERT, *HEADINGS, *RSNA, *SIIM, *VINDR, *of_padchest)))
    outputs = tuple(xrv.models.model_urls[DENSE]["labels"])
    expected = {
        "Airspace opacity": "Lung Opacity",
        "Infiltrate": "Infiltration",
        "infiltrates": "Infiltration",
        "Pleural Effusion": "Effusion",
        "Pleural effusion": "Effusion",
        "pleural effusion": "Effusion",
        "Pulmonary fibrosis": "Fibrosis",
        "pulmonary fibrosis": "Fibrosis",
        "hiatal hernia": "Hernia",
        "pulmonary mass": "Mass",
        "pulmonary edema": "Edema",
    }
    assert _also_called(names, outputs) == expected
    columns = regime_in(tmp_path, weights=pickled).load(tuple(expected)).columns
    assert [outputs[column] for column in columns] == list(expected.values())


def test_an_output_of_ones_own_that_reads_the_same_comes_before_one_of_the_same_meaning():
    names = ("Hernia", "Hiatal_Hernia")
    assert _also_called(("hiatal hernia",), names) == {}
    assert _also_called(("hiatal hernia",), names[:1]) == {"hiatal hernia": "Hernia"}
    assert _also_called(("hiatal hernia",), ("Mass",)) == {}


def test_an_output_that_the_named_weights_were_not_trained_for_is_refused(pickled, tmp_path):
    with pytest.raises(DataError, match=r"there is no output 'Hernia'.*, or name all of them with outputs"):
        regime_in(tmp_path, model="densenet121-res224-chex", weights=pickled).load(("Hernia",))


def test_outputs_are_not_advised_where_the_library_s_own_weights_have_names(pickled, tmp_path, monkeypatch):
    monkeypatch.setattr(xrv.models, "get_weights", lambda name: pickled)
    with pytest.raises(DataError, match=r"'Hernia'.*, or give weights of your own and name their outputs"):
        regime_in(tmp_path, model="densenet121-res224-chex").load(("Hernia",))


def test_weights_of_ones_own_may_be_safetensors_with_other_outputs(tmp_path):
    network = densenet(2)
    save_file(dict(network.state_dict()), tmp_path / "own.safetensors")
    loaded = regime_in(tmp_path, weights=tmp_path / "own.safetensors", outputs=("a", "b"), image_size=64).load(("b",))
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(images), network((images - 0.5) * 2048)[:, 1:], atol=1e-3, rtol=1e-3)


def as_trained_in_parallel(network: torch.nn.Module) -> object:
    return torch.nn.DataParallel(network).state_dict()


def as_lightning_saves(network: torch.nn.Module) -> object:
    """Return what `Trainer.save_checkpoint` writes of a module that holds the network as `model`."""
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 1, 32, 32)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    holder = torch.nn.Module()
    holder.model = network
    states = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [], "loops": {"fit_loop": {}}}
    return {"epoch": 3, "global_step": 12, "state_dict": holder.state_dict(), **states}


def as_scripts_save(network: torch.nn.Module) -> object:
    return {"model_state_dict": as_trained_in_parallel(network), "epoch": 3, "loss": 0.1, "optimizer": {"state": {}}}


@pytest.mark.parametrize("saved", [as_trained_in_parallel, as_lightning_saves, as_scripts_save])
def test_weights_are_read_as_training_saves_them(saved, tmp_path):
    network = densenet(2)
    torch.save(saved(network), tmp_path / "own.ckpt")
    loaded = regime_in(tmp_path, weights=tmp_path / "own.ckpt", outputs=("a", "b"), image_size=64).load(("b",))
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(images), network.eval()((images - 0.5) * 2048)[:, 1:], atol=1e-3, rtol=1e-3)


def test_safetensors_of_a_network_trained_in_parallel(tmp_path):
    network = densenet(2)
    save_file(as_trained_in_parallel(network), tmp_path / "own.safetensors")
    loaded = regime_in(tmp_path, weights=tmp_path / "own.safetensors", outputs=("a", "b"), image_size=64).load(("a",))
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(images), network((images - 0.5) * 2048)[:, :1], atol=1e-3, rtol=1e-3)


def test_resnet_against_torchvision(tmp_path):
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50(num_classes=18)
    network.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    regime = regime_in(tmp_path, model="resnet50-res512-all", weights=tmp_path / "state.pt", image_size=64)
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = network.eval()((2 * images - 1) * 1024)
    torch.testing.assert_close(regime.load(("Atelectasis",))(images), expected[:, :1], atol=1e-3, rtol=1e-3)
    assert regime.facts()["resolution"] == [64, 64]
    assert regime_in(tmp_path, model="resnet50-res512-all", weights=tmp_path / "state.pt").facts()["resolution"] == [
        512,
        512,
    ]


def test_weights_by_name_come_from_the_library(pickled, tmp_path, monkeypatch):
    monkeypatch.setattr(xrv.models, "get_weights", lambda name: str(pickled) if name == DENSE else "")
    assert set(regime_in(tmp_path).fingerprint()) == {f"{pickled.parent.name}/{CALLED}"}
    assert regime_in(tmp_path).load(("Mass",)).columns == [12]


def test_weights_that_cannot_be_downloaded_are_one_sentence(tmp_path, monkeypatch):
    def unreachable(name):
        raise OSError("no route\nto host")

    monkeypatch.setattr(xrv.models, "get_weights", unreachable)
    with pytest.raises(DataError, match=r"cannot be downloaded \(no route to host\): get https://.* with weights$"):
        regime_in(tmp_path).fingerprint()


def test_importing_the_library_leaves_warnings_on():
    import subprocess
    import sys

    code = (
        "import warnings; warnings.simplefilter('error');"
        "from cxrobust.inference.models.torchxrayvision import _library; before = list(warnings.filters);"
        "_library(); assert warnings.filters == before, warnings.filters"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Evil:
    def __reduce__(self):
        return (print, ("code from a checkpoint",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), "hold more than the tensors and layers of a network"),
        ({"weight": torch.zeros(2)}, "not those of densenet121 with 18 outputs"),
        ([torch.zeros(2)], "it holds no table of tensors"),
        ({"epoch": 3, "loss": torch.zeros(1)}, "it holds no table of tensors"),
        (
            {"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": {"a": torch.ones(1)}},
            "it holds 2 tables of tensors, state_dict, state_dict_ema: save the right one alone",
        ),
        ({"state_dict": {"module.weight": torch.zeros(2)}}, "not those of densenet121 with 18 outputs"),
        (None, "the weights are damaged"),
    ],
)
def test_files_that_cannot_be_used_are_one_sentence(content, message, tmp_path, capsys):
    if content is None:
        (tmp_path / "w.pt").write_bytes(b"x" * 50)
    else:
        torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path, weights=tmp_path / "w.pt").load(("Mass",))
    assert "\n" not in str(caught.value)
    assert "code from a checkpoint" not in capsys.readouterr().out


def test_missing_file_and_unknown_name(tmp_path):
    with pytest.raises(DataError, match=r"w\.pt: the weights of regime 'r' are missing"):
        regime_in(tmp_path, weights=tmp_path / "w.pt").load(("Mass",))
    text = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n[[regimes]]\nname = "r"\n'
        'family = "torchxrayvision"\nmodel = "densenet121-res224-al"\n'
    )
    with pytest.raises(StudyError, match=r"study.toml:\d+: .*did you mean 'densenet121-res224-all'"):
        parse_study(text, path=tmp_path / "study.toml")
