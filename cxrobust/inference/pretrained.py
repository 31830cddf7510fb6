"""Networks as the transformers library keeps them: a folder with configuration, weights and preprocessing."""

import json
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrobust.errors import DataError, counted, require, some
from cxrobust.files import LEFTOVER
from cxrobust.inference.checkpoints import ADAPTER_FILES, adapter_files, model_files, one_line, weight_files
from cxrobust.inference.preprocessing import INTERPOLATIONS, Preprocessing
from cxrobust.inference.repositories import own_code
from cxrobust.inference.surplus import Surplus, find_surplus

CLASSIFIER = "AutoModelForImageClassification"
ENCODER = "AutoModel"
GENERATING = ("AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoModel")
"""Classes that load networks which write of an image, the fittest first."""
TIMM = "timm_wrapper"
"""What transformers calls the kind of all models of timm."""
_WRAPPED, _WHOLE = "module.", "get a whole checkpoint, or correct model"
_UNFILLED = {CLASSIFIER: "fine-tune a head for these outputs and save it, or correct outputs"}


def read_config(folder: Path, *, outputs: tuple[str, ...] | None = None, trust_remote_code: bool = False) -> Any:
    """Return the configuration of a model folder; `outputs` names its outputs anew.

    Raises
    ------
    DataError
        When the folder or its configuration cannot be read.
    MissingGroupError
        When the network is one of timm, which is not installed.
    """
    transformers = require("transformers", group="inference")
    model_files(folder)
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # transformers raises errors of many types for a damaged configuration
        raise own_code_refused(folder, error) or DataError(
            f"{folder / 'config.json'}: no model of transformers ({one_line(error)}): save it with save_pretrained"
        ) from error
    if config.model_type == TIMM:
        require("timm", group="timm")
    if config.model_type == TIMM and config.model_args:  # transformers gives the number of outputs itself
        config.model_args = {key: value for key, value in config.model_args.items() if key != "num_classes"}
    if outputs is not None:
        config.id2label = dict(enumerate(outputs))
        config.label2id = {name: index for index, name in enumerate(outputs)}
    return config


def own_code_refused(folder: Path, error: Exception) -> DataError | None:
    """Return what to say where transformers failed since a folder's own Python code may not run; None where else."""
    if "trust_remote_code" not in str(error):
        return None
    return DataError(own_code(folder, (file.name for file in folder.glob("*.py"))))


def find_generating_auto(config: Any) -> str:
    """Return which class of transformers loads a network of images and texts; its own code may be made for another."""
    own = getattr(config, "auto_map", None) or {}
    return next((name for name in GENERATING if name in own), GENERATING[0])


def load_network(
    folder: Path,
    *,
    config: Any,
    auto: str = CLASSIFIER,
    adapter: Path | None = None,
    trust_remote_code: bool = False,
    unused: tuple[str, ...] = (),
) -> nn.Module:
    """Load a network, float32 on the CPU, in eval mode; every weight that it uses comes from the files.

    A classifier has a place for each weight of its files, and an encoder for each that is not of a head or another
    part of its own; what the network's class ignores, and what no prediction needs, is not counted.

    Parameters
    ----------
    auto
        The class of transformers that loads it.
    unused
        Parts of the network whose weights may be missing, since nothing uses them.

    Raises
    ------
    DataError
        When a file is truncated, a weight is missing, has another shape or is too many, the adapter does not fit, or
        the folder holds another one.
    """
    files = weight_files(folder)
    _check_no_other_adapter(folder, adapter)
    for file in files:
        _check_safetensors(file)
    network, info = _from_pretrained(folder, files, config=config, auto=auto, trust_remote_code=trust_remote_code)
    unfilled = _unfilled(info, unused)
    kind, surplus = type(network).__name__, find_surplus(info["unexpected_keys"], network, _surplus_of(auto, adapter))
    network = network.float()
    if adapter is not None:
        network = _with_adapter(network, adapter, unfilled=unfilled)
    elif unfilled:
        raise _incomplete(files[0], unfilled, info, auto)
    if surplus:
        raise DataError(
            f"{files[0]}: {counted(len(surplus), 'weight')} without a place in {kind} as config.json "
            f"describes it ({some(surplus)}): correct config.json, or, if no prediction needs them, load the model "
            "with transformers and save it with save_pretrained, which leaves them out"
        )
    network.eval()
    return network


def _from_pretrained(
    folder: Path, files: Sequence[Path], *, config: Any, auto: str, trust_remote_code: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """Load a network by a class of transformers; return what that tells of its weights too."""
    transformers = require("transformers", group="inference")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            network, info = getattr(transformers, auto).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                use_safetensors=any(file.suffix == ".safetensors" for file in files),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers and its file formats raise errors of many types
        raise own_code_refused(folder, error) or DataError(
            f"{files[0]}: the model cannot be loaded ({one_line(error)}): get or save it again"
        ) from error
    return network, info


def _unfilled(info: Mapping[str, Any], unused: Collection[str]) -> list[str]:
    """Name the weights that no file brings in their shape, but for those of parts that nothing uses."""
    missing = {*info["missing_keys"], *(mismatch[0] for mismatch in info["mismatched_keys"])}
    return sorted(key for key in missing if not set(unused) & set(key.split(".")))


def _incomplete(file: Path, unfilled: Sequence[str], info: Mapping[str, Any], auto: str) -> DataError:
    """Return what to say where no file brings these weights."""
    is_wrapped = any(key.startswith(_WRAPPED) for key in info["unexpected_keys"])
    mend = "save the network that DataParallel wraps, its .module" if is_wrapped else _UNFILLED.get(auto, _WHOLE)
    return DataError(
        f"{file}: {counted(len(unfilled), 'weight')} missing or of another shape ({some(unfilled)}): {mend}"
    )


def _surplus_of(auto: str, adapter: Path | None) -> Surplus:
    """Return which weights of a checkpoint are too many; a model whose head an adapter brings is an encoder."""
    if auto == CLASSIFIER and adapter is None:
        return "any"
    return "inside" if auto in {CLASSIFIER, ENCODER} else "repeated"


def save_network(network: Any, folder: Path, *, preprocessing: Preprocessing) -> None:
    """Write a network of transformers, or its PEFT adapter, as a folder that `hf-classifier` reads.

    The folder appears whole under its name, in the place of an older one.
    """
    partial = folder.with_name(f"{LEFTOVER}{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    text = json.dumps(_processor_settings(preprocessing), indent=2) + "\n"
    (partial / "preprocessor_config.json").write_text(text, encoding="utf-8")
    with quiet():
        network.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _processor_settings(preprocessing: Preprocessing) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": preprocessing.image_size is not None,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "image_processor_type": "ViTImageProcessor",
        "resample": next(key for key, mode in INTERPOLATIONS.items() if mode == preprocessing.interpolation),
        "rescale_factor": 1 / 255,
    }
    if preprocessing.image_size is not None:
        settings["size"] = dict(zip(("height", "width"), preprocessing.image_size, strict=True))
    return settings


def _check_no_other_adapter(folder: Path, adapter: Path | None) -> None:
    """Refuse an adapter among the model's own files, which transformers puts on the model without being asked."""
    own = folder / ADAPTER_FILES[0]
    if own.exists() and (adapter is None or adapter.resolve() != folder.resolve()):
        raise DataError(
            f"{own}: the model's folder holds an adapter too, which would change the model unasked: write "
            f"adapter = its folder, or move the adapter's files away"
        )


def _check_safetensors(file: Path) -> None:
    if file.suffix != ".safetensors":
        return
    safetensors = require("safetensors", group="inference")
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            opened.keys()
    except Exception as error:  # safetensors raises its own error, OSError and ValueError
        raise DataError(f"{file}: the weights are damaged ({one_line(error)}): get or save the file again") from error


def _with_adapter(network: nn.Module, adapter: Path, *, unfilled: list[str]) -> nn.Module:
    """Put a PEFT adapter on a network, all of it; `unfilled` are the weights that only the adapter can bring."""
    peft = require("peft", group="inference")
    settings, weights = adapter_files(adapter)
    _check_safetensors(weights)
    try:
        with quiet(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            adapted: nn.Module = peft.PeftModel.from_pretrained(network, str(adapter), is_trainable=False)
            unused = _unused_of_adapter(adapted, adapter)
    except Exception as error:  # peft raises errors of many types, and only warns where weights are missing
        raise DataError(
            f"{weights}: the adapter does not fit the model ({one_line(error)}): give the model it was trained on"
        ) from error
    if unused:
        raise DataError(
            f"{weights}: {counted(len(unused), 'weight')} of the adapter without a place in the model "
            f"({some(unused)}): give the model it was trained on"
        )
    brought = json.loads(settings.read_text(encoding="utf-8")).get("modules_to_save") or ()
    left = [key for key in unfilled if not any(part in brought for part in key.split("."))]
    if left:
        raise DataError(f"{weights}: neither model nor adapter brings {some(left)}: save the head with the adapter")
    return adapted


def _unused_of_adapter(adapted: Any, folder: Path) -> list[str]:
    """Return the weights of an adapter that its network has no place for, by putting them there once more.

    PEFT tells of them when it puts them there, but not when it loads. Those of learned prompts lie outside the network.
    """
    if adapted.active_peft_config.is_prompt_learning:
        return []
    peft = require("peft", group="inference")
    weights = peft.load_peft_weights(str(folder), device="cpu")
    return sorted(peft.set_peft_model_state_dict(adapted, weights).unexpected_keys)


def without_wrapper(network: Any) -> Any:
    """Return a network with its adapter's layers, but not behind the class of PEFT, which hides what it is called with.

    Adapters that learn prompts stay behind it, since they are part of no layer.
    """
    settings = getattr(network, "peft_config", None)
    if not settings or not hasattr(network, "get_base_model") or any(o.is_prompt_learning for o in settings.values()):
        return network
    return network.get_base_model()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the chatter of transformers from the terminal, and leave its settings as they were."""
    logging: Any = require("transformers.utils.logging", group="inference")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
