"""Family `hf-classifier`: what is loaded, how pixels become log-odds, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.nn import functional as F
from transformers import PreTrainedConfig, ResNetConfig, ResNetForImageClassification, ViTConfig
from transformers import ViTForImageClassification as ViT

from cxrobust.checks import check
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.graph import PixelClassifier, softmax_log_odds
from cxrobust.inference.models.hf import HfClassifier
from cxrobust.inference.outputs import match_labels
from cxrobust.inference.preprocessing import Preprocessing, read_preprocessing
from cxrobust.inference.pretrained import (
    load_network,
    quiet,
    read_config,
    save_network,
)
from cxrobust.progress import silent
from cxrobust.study import Study, parse_study, read_study

from .tiny import write_study

FINDINGS = ("Mass", "Pleural_Thickening", "Edema")


def vit_config(names=FINDINGS, **changes) -> ViTConfig:
    settings = {
        "image_size": 16,
        "patch_size": 8,
        "num_channels": 1,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": "multi_label_classification",
    }
    return ViTConfig(**{**settings, **changes})


def save_vit(folder: Path, config: ViTConfig | None = None, *, seed: int = 0, **processor) -> ViT:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ViT(config or vit_config()).eval()
        torch.nn.init.normal_(network.classifier.weight)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return network


def save_adapter(base: Path, folder: Path, *, n_outputs: int | None = None) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    changes = {} if n_outputs is None else {"num_labels": n_outputs, "ignore_mismatched_sizes": True}
    network = ViT.from_pretrained(base, **changes)
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(1)
        adapted = get_peft_model(network, LoraConfig(r=2, target_modules=["fc1"], modules_to_save=["classifier"]))
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                torch.nn.init.normal_(parameter)
    adapted.save_pretrained(folder)
    return adapted.eval()


def study_with(folder: Path, regime: str) -> Study:
    before = '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n[[regimes]]\nname = "r"\n'
    return parse_study(f"{before}{regime}\n", path=folder / "study.toml")


def regime_in(folder: Path, **settings) -> HfClassifier:
    table = {"name": "r", "family": "hf-classifier", "model": "vit", **settings}
    return HfClassifier.model_validate_json(json.dumps(table, default=str), context={"study_folder": folder})


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_logits_against_transformers(tmp_path, images):
    network = save_vit(tmp_path / "vit", image_mean=[0.3], image_std=[0.2])
    loaded = regime_in(tmp_path).load(FINDINGS)
    expected = network(pixel_values=(images - 0.3) / 0.2).logits
    torch.testing.assert_close(loaded(images), expected)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_findings_come_in_the_order_of_the_study(tmp_path, images):
    save_vit(tmp_path / "vit")
    in_order = regime_in(tmp_path).load(FINDINGS)(images)
    other = regime_in(tmp_path).load(("Edema", "Mass"))(images)
    torch.testing.assert_close(other, in_order[:, [2, 0]])


def test_resizing_and_channels_against_torch(tmp_path):
    network = save_vit(
        tmp_path / "vit",
        vit_config(num_channels=3),
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.4, 0.5, 0.6],
        resample=3,
    )
    large = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(large, size=(16, 16), mode="bicubic", antialias=True)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    expected = network(pixel_values=(small.expand(-1, 3, -1, -1) - mean) / std).logits
    torch.testing.assert_close(regime_in(tmp_path).load(FINDINGS)(large), expected)


def test_gradient_reaches_the_pixels_against_finite_differences(tmp_path):
    save_vit(tmp_path / "vit")
    model = regime_in(tmp_path).load(FINDINGS).double()
    large = torch.rand(1, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: model(x).sum(), large.requires_grad_(True), fast_mode=True)


def test_softmax_log_odds_against_softmax():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(dim=1)
    torch.testing.assert_close(softmax_log_odds(logits, [3, 1]), (p / (1 - p)).log()[:, [3, 1]])


def test_two_class_softmax_is_the_difference_of_logits(tmp_path, images):
    network = save_vit(tmp_path / "vit", vit_config(("NORMAL", "PNEUMONIA"), problem_type=None))
    z = network(pixel_values=(images - 0.5) / 0.5).logits
    loaded = regime_in(tmp_path).load(("Pneumonia",))
    torch.testing.assert_close(loaded(images), (z[:, 1] - z[:, 0])[:, None])
    sigmoid = regime_in(tmp_path, head="sigmoid").load(("Pneumonia",))
    torch.testing.assert_close(sigmoid(images), z[:, 1:])


def test_one_output_is_a_sigmoid(tmp_path, images):
    network = save_vit(tmp_path / "vit", vit_config(("Pneumonia",), problem_type=None))
    expected = network(pixel_values=(images - 0.5) / 0.5).logits
    torch.testing.assert_close(regime_in(tmp_path).load(("Pneumonia",))(images), expected)
    with pytest.raises(DataError, match="a softmax needs two outputs"):
        regime_in(tmp_path, head="softmax").load(("Pneumonia",))


def test_a_network_without_a_size_of_its_own_takes_that_of_the_preprocessor(tmp_path):
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], id2label={0: "Mass", 1: "Edema"}, num_channels=3
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 32}, "do_normalize": false}')
    loaded = regime_in(tmp_path).load(("Edema",))
    assert loaded.image_size == (32, 32)
    assert loaded.mean.flatten().tolist() == [0.0] * 3
    assert loaded(torch.rand(2, 1, 20, 20)).shape == (2, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [0.8] * 3}),
        ("ViTImageProcessor", {"do_rescale": False}),
        ("ViTImageProcessor", {"do_normalize": False, "rescale_factor": 0.01}),
        ("EfficientNetImageProcessor", {}),
        ("EfficientNetImageProcessor", {"include_top": False}),
        ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ],
)
def test_pixels_are_scaled_as_the_processor_of_transformers_scales_them(tmp_path, kind, settings):
    size = {"height": 24, "width": 24}
    processor = getattr(transformers, kind)(size=size, crop_size=size, do_resize=False, **settings)
    processor.save_pretrained(tmp_path)
    found = read_preprocessing(tmp_path, {"num_channels": 3, "image_size": 24})
    grey = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    image = Image.fromarray(grey).convert("RGB")
    expected = processor(images=image, return_tensors="pt")["pixel_values"][0].double()
    channels = torch.from_numpy(grey / 255).expand(3, 24, 24)
    mean, std = (torch.tensor(one, dtype=torch.float64)[:, None, None] for one in (found.mean, found.std))
    torch.testing.assert_close((channels - mean) / std, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("resample", [None, *range(6)])
def test_images_are_resized_by_the_filter_that_the_processor_names(tmp_path, resample):
    settings = {} if resample is None else {"resample": resample}
    save_vit(tmp_path / "vit", image_mean=0.0, image_std=1.0, **settings)
    grey = np.random.default_rng(0).uniform(size=(48, 48)).astype(np.float32)
    seen = regime_in(tmp_path).load(FINDINGS).prepared(torch.from_numpy(grey)[None, None])[0, 0]
    stands_for = {None: Image.Resampling.BILINEAR, 1: Image.Resampling.BICUBIC, 5: Image.Resampling.BILINEAR}
    expected = Image.fromarray(grey).resize((16, 16), stands_for.get(resample, resample))
    np.testing.assert_allclose(seen, np.asarray(expected), atol=1e-5)


def test_images_are_taken_as_they_come_where_the_processor_resizes_none(tmp_path, images):
    network = save_vit(tmp_path / "vit", do_resize=False, size={"height": 8, "width": 8})
    loaded = regime_in(tmp_path).load(FINDINGS)
    torch.testing.assert_close(loaded(images), network(pixel_values=(images - 0.5) / 0.5).logits)
    assert loaded.image_size is None
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_resize": False, "crop_size": 8}))
    assert read_preprocessing(tmp_path, {"num_channels": 1, "image_size": 16}).image_size == (8, 8)


@pytest.mark.parametrize("resample", [6, -1, "bicubic", [3]])
def test_an_unknown_filter_is_refused_in_a_sentence(tmp_path, resample):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"resample": resample}))
    with pytest.raises(DataError, match=r"preprocessor_config\.json: resample is .*, expected a number from 0 to 5"):
        read_preprocessing(tmp_path, {"num_channels": 1})


@pytest.mark.parametrize("factor", [0, -1, "a lot"])
def test_a_factor_that_is_no_positive_number_is_refused_in_a_sentence(tmp_path, factor):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"rescale_factor": factor}))
    with pytest.raises(DataError, match=r"preprocessor_config\.json: rescale_factor is .* above 0: correct it"):
        read_preprocessing(tmp_path, {"num_channels": 1})


def write_study_of(folder: Path, *regimes: str) -> Path:
    study = write_study(folder)
    text = study.read_text().split("[[regimes]]")[0]
    text += "".join(f'[[regimes]]\nname = "{one}"\nfamily = "hf-classifier"\nmodel = "{one}"\n' for one in regimes)
    study.write_text(f'{text}[[perturbations]]\ncorruption = "blur"\nseverity = [5]\n[analysis]\nresamples = 200\n')
    return study


@pytest.mark.parametrize(
    ("processor", "assumed"),
    [
        (None, "image_mean and image_std 0.5, since preprocessor_config.json is missing"),
        ({}, "image_mean and image_std 0.5, since preprocessor_config.json has no image_mean and no image_std"),
        ({"image_mean": [0.4]}, "image_std 0.5, since preprocessor_config.json has no image_std"),
        ({"image_mean": [0.4], "image_std": [0.2]}, None),
        ({"do_normalize": False}, None),
        ({"image_processor_type": "BitImageProcessor"}, None),
        (
            {"image_processor_type": "OfThisModelImageProcessor", "do_normalize": True, "image_std": [0.2]},
            "image_mean 0.5, since preprocessor_config.json has no image_mean",
        ),
    ],
)
def test_a_normalisation_that_no_file_tells_is_among_the_facts(processor, assumed, tmp_path):
    save_vit(tmp_path / "vit", **(processor or {}))
    if processor is None:
        (tmp_path / "vit" / "preprocessor_config.json").unlink()
    assert regime_in(tmp_path).facts().get("assumed_normalisation") == assumed


@pytest.mark.parametrize(
    "processor",
    [
        {"image_processor_type": "BitImageProcessor"},
        {"image_processor_type": "BitImageProcessor", "image_mean": [0.4, 0.3, 0.2]},
        {"image_processor_type": "BitImageProcessorFast", "do_normalize": True},
        {"image_processor_type": "LevitImageProcessor", "rescale_factor": 0.5},
        {"image_processor_type": "ChameleonImageProcessor"},
        {"image_processor_type": "EfficientNetImageProcessor"},
        {"image_processor_type": "MobileViTImageProcessor"},
        {"image_processor_type": "MobileViTImageProcessor", "image_mean": [0.5], "image_std": [0.5]},
        {"feature_extractor_type": "CLIPFeatureExtractor"},
        {"feature_extractor_type": "MobileViTFeatureExtractor", "do_resize": True},
    ],
    ids=str,
)
def test_a_normalisation_that_only_the_class_knows_against_transformers(processor, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with quiet():
        theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    pixels = torch.from_numpy(np.stack([grey] * 3))
    settings = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
    expected = theirs(pixels, input_data_format="channels_first", **settings)["pixel_values"][0]
    read = read_preprocessing(tmp_path, {"num_channels": 3})
    mean, std = (torch.tensor(values)[:, None, None] for values in (read.mean, read.std))
    torch.testing.assert_close((pixels / 255 - mean) / std, expected.float(), rtol=1e-5, atol=1e-5)


def test_check_advises_on_a_normalisation_that_no_file_tells(tmp_path):
    study = write_study_of(tmp_path, "a", "b")
    for name in ("a", "b"):
        save_vit(tmp_path / name, vit_config(("Effusion", "Mass")), image_mean=[0.4], image_std=[0.2])
    (tmp_path / "a" / "preprocessor_config.json").unlink()
    [line] = check(read_study(study), tmp_path / "out", report=silent).advice
    assert line.startswith(
        "regime 'a' normalises pixels by image_mean and image_std 0.5, since preprocessor_config.json is missing: if "
    )


def test_adapter_against_peft(tmp_path, images):
    save_vit(tmp_path / "vit")
    adapted = save_adapter(tmp_path / "vit", tmp_path / "lora")
    loaded = regime_in(tmp_path, adapter=tmp_path / "lora").load(FINDINGS)
    torch.testing.assert_close(loaded(images), adapted(pixel_values=(images - 0.5) / 0.5).logits)
    plain = regime_in(tmp_path).load(FINDINGS)
    assert not torch.allclose(loaded(images), plain(images))
    adapted.merge_and_unload().save_pretrained(tmp_path / "vit")
    merged = regime_in(tmp_path).load(FINDINGS)
    torch.testing.assert_close(merged(images), loaded(images), atol=1e-5, rtol=1e-4)


def test_an_adapter_among_the_models_files_is_not_put_on_unasked(tmp_path, images):
    save_vit(tmp_path / "vit")
    adapted = save_adapter(tmp_path / "vit", tmp_path / "lora")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(tmp_path / "lora" / name, tmp_path / "vit" / name)
    for settings in ({}, {"adapter": tmp_path / "lora"}):
        with pytest.raises(DataError, match=r"vit/adapter_config.json: the model's folder holds an adapter too"):
            regime_in(tmp_path, **settings).load(FINDINGS)
    named = regime_in(tmp_path, adapter=tmp_path / "vit")
    assert "vit/adapter_model.safetensors" in named.fingerprint()
    torch.testing.assert_close(named.load(FINDINGS)(images), adapted(pixel_values=(images - 0.5) / 0.5).logits)


def test_adapter_may_bring_a_head_of_another_size(tmp_path, images):
    save_vit(tmp_path / "vit", vit_config(tuple("abcde")))
    adapted = save_adapter(tmp_path / "vit", tmp_path / "lora", n_outputs=3)
    loaded = regime_in(tmp_path, adapter=tmp_path / "lora", outputs=FINDINGS).load(FINDINGS)
    torch.testing.assert_close(loaded(images), adapted(pixel_values=(images - 0.5) / 0.5).logits)


def test_pickled_weights_load_without_running_code(tmp_path, images):
    network = save_vit(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "vit" / "pytorch_model.bin")
    loaded = regime_in(tmp_path).load(FINDINGS)
    torch.testing.assert_close(loaded(images), network(pixel_values=(images - 0.5) / 0.5).logits)


def test_pickled_code_is_refused(tmp_path):
    save_vit(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").unlink()
    torch.save({"weight": Path("x")}, tmp_path / "vit" / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pytorch_model\.bin: the model cannot be loaded"):
        regime_in(tmp_path).load(FINDINGS)


def test_half_precision_checkpoint_is_computed_in_single(tmp_path):
    save_vit(tmp_path / "vit").half().save_pretrained(tmp_path / "vit")
    assert {p.dtype for p in regime_in(tmp_path).load(FINDINGS).parameters()} == {torch.float32}


def test_what_was_saved_is_read_back(tmp_path):
    preprocessing = Preprocessing(image_size=(16, 16), mean=(0.4,), std=(0.3,), interpolation="bicubic")
    network = ViT(vit_config())
    save_network(network, tmp_path / "vit", preprocessing=preprocessing)
    save_network(network, tmp_path / "vit", preprocessing=preprocessing)
    config = read_config(tmp_path / "vit")
    assert read_preprocessing(tmp_path / "vit", config) == preprocessing
    state = load_network(tmp_path / "vit", config=config).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["vit"]


def test_random_numbers_elsewhere_are_left_alone(tmp_path):
    save_vit(tmp_path / "vit")
    save_adapter(tmp_path / "vit", tmp_path / "lora")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    regime_in(tmp_path, adapter=tmp_path / "lora").load(FINDINGS)
    assert torch.equal(torch.rand(1), expected)


def test_loading_says_nothing_and_keeps_the_settings_of_transformers(tmp_path, capfd):
    from transformers.utils import logging

    save_vit(tmp_path / "vit")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    regime_in(tmp_path).load(FINDINGS)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_facts_tell_network_size_and_adapter(tmp_path):
    network = save_vit(tmp_path / "vit")
    save_adapter(tmp_path / "vit", tmp_path / "lora")
    facts = regime_in(tmp_path, adapter=tmp_path / "lora").facts()
    assert (facts["architecture"], facts["resolution"], facts["source"]) == (type(network).__name__, [16, 16], "folder")
    assert facts["n_parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert facts["adapter"]["r"] == 2
    assert "training" not in facts


def test_fingerprint_follows_every_file_that_matters(tmp_path):
    save_vit(tmp_path / "vit")
    save_adapter(tmp_path / "vit", tmp_path / "lora")
    regime = regime_in(tmp_path, adapter=tmp_path / "lora")
    first = regime.fingerprint()
    assert sorted(first) == [
        "lora/adapter_config.json",
        "lora/adapter_model.safetensors",
        "vit/config.json",
        "vit/model.safetensors",
        "vit/preprocessor_config.json",
    ]
    save_vit(tmp_path / "vit", seed=1)
    second = regime.fingerprint()
    assert {key for key in first if first[key] != second[key]} == {"vit/model.safetensors"}


def test_reading_a_study_and_fingerprinting_import_no_torch(tmp_path):
    save_vit(tmp_path / "vit")
    code = (
        "import sys; from cxrobust.inference.models.hf import HfClassifier;"
        "HfClassifier(name='r', family='hf-classifier', model=sys.argv[1]).fingerprint();"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "vit")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fold_takes_its_place_in_paths(tmp_path, images):
    for fold in "01":
        save_vit(tmp_path / f"vit-{fold}", seed=int(fold))
    regime = regime_in(tmp_path, model="vit-{fold}", cross_fit="fold")
    first, second = (regime.load(FINDINGS, fold=fold)(images) for fold in "01")
    assert not torch.allclose(first, second)
    assert regime.fingerprint(fold="1").keys() == {
        f"vit-1/{n}" for n in ("config.json", "model.safetensors", "preprocessor_config.json")
    }
    with pytest.raises(DataError, match="vit-2: there is no such model folder"):
        regime.fingerprint(fold="2")


def test_fold_and_cross_fit_need_each_other(tmp_path):
    with pytest.raises(StudyError, match="cross_fit is missing"):
        study_with(tmp_path, 'family = "hf-classifier"\nmodel = "vit-{fold}"')
    with pytest.raises(StudyError, match=r"no path has \{fold\}"):
        study_with(tmp_path, 'family = "hf-classifier"\nmodel = "vit"\ncross_fit = "fold"')


def test_settings_name_no_folder_of_this_machine(tmp_path):
    save_vit(tmp_path / "vit")
    study = study_with(tmp_path, f'family = "hf-classifier"\nmodel = "{tmp_path}/vit"\nadapter = "a/lora"')
    settings = study.regimes[0].settings()
    assert (settings["model"], settings["adapter"]) == ("vit", "lora")
    assert str(tmp_path) not in json.dumps(settings)
    assert regime_in(tmp_path, model="google/vit-base").settings()["model"] == "google/vit-base"


def test_hub_repository_comes_from_the_local_cache(tmp_path, monkeypatch, images):
    import huggingface_hub

    network = save_vit(tmp_path / "cache")
    asked = []

    def snapshot_download(name, *, revision, allow_patterns, local_files_only):
        asked.append((name, revision, local_files_only))
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    loaded = regime_in(tmp_path, model="lab/vit", revision="v1").load(FINDINGS)
    torch.testing.assert_close(loaded(images), network(pixel_values=(images - 0.5) / 0.5).logits)
    assert set(asked) == {("lab/vit", "v1", True)}


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("kinds", [("pickled",), ("safe", "pickled"), ()])
def test_pickled_weights_of_the_hub_load_where_it_has_no_others(kinds, is_cached, tmp_path, monkeypatch, images):
    import huggingface_hub

    network, hub, cache = save_vit(tmp_path / "hub"), tmp_path / "hub", tmp_path / "cache"
    if "pickled" in kinds:
        torch.save(network.state_dict(), hub / "pytorch_model.bin")
    if "safe" not in kinds:
        (hub / "model.safetensors").unlink()
    cache.mkdir()

    def snapshot_download(name, *, revision, allow_patterns, local_files_only):
        if not local_files_only or is_cached:
            for file in (one for pattern in allow_patterns for one in hub.glob(pattern)):
                shutil.copy(file, cache / file.name)
        elif not any(cache.iterdir()):
            raise FileNotFoundError(name)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    if not kinds:
        with pytest.raises(DataError, match=r"lab/vit: .* no config.json with model.safetensors or pytorch_model.bin:"):
            regime_in(tmp_path, model="lab/vit").load(FINDINGS)
        return
    loaded = regime_in(tmp_path, model="lab/vit").load(FINDINGS)
    torch.testing.assert_close(loaded(images), network(pixel_values=(images - 0.5) / 0.5).logits)
    if not is_cached:
        assert (cache / "pytorch_model.bin").exists() == ("safe" not in kinds)


def test_hub_that_cannot_be_reached_is_one_sentence(tmp_path, monkeypatch):
    import huggingface_hub

    def snapshot_download(*_, **__):
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(DataError, match=r"^lab/vit: no folder .*\(no route to the hub\): correct model"):
        regime_in(tmp_path, model="lab/vit").load(FINDINGS)


def test_folder_missing_beside_others_is_not_looked_for_on_the_hub(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(DataError, match="checkpoints/vit: there is no such model folder"):
        regime_in(tmp_path, model="checkpoints/vit").load(FINDINGS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: no model of transformers"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "none-such"}'),
            "config.json: no model of transformers",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: truncate(f / "model.safetensors"), "model.safetensors: the weights are damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors: the weights are damaged"),
        (lambda f: (f / "preprocessor_config.json").write_text("[]"), "preprocessor_config.json: it is no JSON table"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"image_std": [0]}'), "image_std is"),
        (
            lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": [1, 2]}'),
            "not one number for each of 1",
        ),
    ],
)
def test_damaged_folder_is_one_sentence(tmp_path, damage, message):
    save_vit(tmp_path / "vit")
    damage(tmp_path / "vit")
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path).load(FINDINGS)
    assert "\n" not in str(caught.value)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_checkpoint_without_a_fitting_head_is_refused(tmp_path):
    save_vit(tmp_path / "vit", vit_config(tuple("abcde")))
    with pytest.raises(DataError, match=r"2 weights .* \(classifier.bias, classifier.weight\): fine-tune a head"):
        regime_in(tmp_path, outputs=FINDINGS).load(FINDINGS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "there is no such adapter folder"),
        (lambda f: (f / "adapter_config.json").unlink(), "adapter_config.json: the adapter's file is missing"),
        (lambda f: truncate(f / "adapter_model.safetensors"), "adapter_model.safetensors: the weights are damaged"),
        (lambda f: retarget(f, "fc2"), "adapter_model.safetensors: the adapter does not fit"),
        (lambda f: retarget(f, "nothing"), "adapter_model.safetensors: the adapter does not fit"),
    ],
)
def test_adapter_that_does_not_fit_is_one_sentence(tmp_path, damage, message):
    save_vit(tmp_path / "vit")
    save_adapter(tmp_path / "vit", tmp_path / "lora")
    damage(tmp_path / "lora")
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path, adapter=tmp_path / "lora").load(FINDINGS)
    assert "\n" not in str(caught.value)


def retarget(folder: Path, module: str) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": [module]}))


def test_match_labels_takes_the_chosen_name_first():
    names = ("Effusion", "Pleural Effusion")
    assert match_labels(["Effusion"], names, chosen={}, where="m") == (0,)
    assert match_labels(["Effusion"], names, chosen={"Effusion": "pleural_effusion"}, where="m") == (1,)


@pytest.mark.parametrize(
    ("findings", "names", "chosen", "message"),
    [
        (["Edema"], ("Oedema",), {}, "no output 'Edema' (did you mean 'Oedema'?): its outputs are Oedema"),
        (["Edema"], ("edema", "EDEMA"), {}, "there are two outputs 'edema'"),
        (["Edema"], ("Edema",), {"Edma": "Edema"}, "labels names 'Edma', which is no finding"),
        (["Edema"], ("LABEL_0",), {"Edema": "LABEL_1"}, "no output 'LABEL_1' (did you mean 'LABEL_0'?)"),
        (["Infiltration"], ("Edema",), {}, "there is none for this finding, leave it out of findings in [data]"),
    ],
)
def test_labels_that_do_not_match_are_named(findings, names, chosen, message):
    with pytest.raises(DataError) as caught:
        match_labels(findings, names, chosen=chosen, where="m")
    assert message in str(caught.value)


def test_pixel_classifier_does_not_resize_an_image_that_fits(images):
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)[:, :2]

    PixelClassifier(Network(), columns=[0, 1], image_size=(16, 16), mean=(0.0,), std=(1.0,))(images)
    np.testing.assert_array_equal(seen[0].numpy(), images.numpy())


def test_configuration_type_is_that_of_the_folder(tmp_path):
    save_vit(tmp_path / "vit")
    config = read_config(tmp_path / "vit", outputs=("a", "b", "c"))
    assert isinstance(config, PreTrainedConfig)
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
