"""ONNX files as networks of torch: read back with gradients where that is possible, else run for outputs alone."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrobust.errors import CxrobustError, DataError, require
from cxrobust.inference.checkpoints import one_line
from cxrobust.inference.onnx_description import GROUP, Described
from cxrobust.inference.pretrained import quiet

SIDE = 64
"""Side at which a file that takes any size is tried out."""
KNOWN_OPSET = 17
"""Version of ONNX's operators that onnx2torch knows; of those after it, it lacks some that did not change in what they
do to numbers, such as AveragePool and Constant."""
MOST_DIFFERENCE = 1e-3
"""Between the outputs of torch and of onnxruntime, relative to the largest output where that is above 1."""


class ScoresAlone(nn.Module):
    """An ONNX file run by onnxruntime: outputs without gradients; whoever asks for a gradient is told so."""

    def __init__(self, session: Any, described: Described, *, output: str, problem: str) -> None:
        super().__init__()
        self.session = session
        self.input_name = described.input_name
        self.output = output
        self.problem = problem

    @property
    def refusal(self) -> str:
        """What whoever asks for a gradient is told."""
        return (
            f"{self.problem}: only what needs no gradient can run on this regime: score-based attacks, noise and "
            f"corruptions"
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the output for prepared images.

        Raises
        ------
        DataError
            When a gradient is asked for.
        """
        outputs: Tensor = _Scores.apply(images, self)
        return outputs

    def scores(self, images: Tensor) -> Tensor:
        """Return the output for prepared images, as onnxruntime gives it."""
        (found,) = self.session.run([self.output], {self.input_name: images.detach().float().cpu().numpy()})
        return torch.from_numpy(np.asarray(found)).to(device=images.device, dtype=images.dtype)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, network: ScoresAlone) -> Tensor:
        ctx.refusal = network.refusal
        return network.scores(images)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise DataError(ctx.refusal)


class Batched(nn.Module):
    """A network that takes a fixed number of images at once, for any number of them."""

    def __init__(self, network: nn.Module, *, batch: int | None, output: int | None) -> None:
        super().__init__()
        self.network = network
        self.batch = batch
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs (n, n_outputs) of prepared images."""
        if self.batch is None:
            return self._outputs(images)
        found = []
        for part in torch.split(images, self.batch):
            missing = self.batch - len(part)
            whole = torch.cat((part, part[:1].expand(missing, -1, -1, -1))) if missing else part
            found.append(self._outputs(whole)[: len(part)])
        return torch.cat(found)

    def _outputs(self, images: Tensor) -> Tensor:
        found: Any = self.network(images)
        if self.output is not None and not isinstance(found, Tensor):
            found = found[self.output]
        flat: Tensor = found.flatten(1)
        return flat


def load(file: Path, described: Described, *, output: str, where: str) -> tuple[Batched, int]:
    """Return an ONNX file as a network of prepared images, and its number of outputs.

    Torch's reading must give what onnxruntime gives, and a gradient; else the file is run by onnxruntime, and the
    network says why when a gradient is asked for.

    Raises
    ------
    DataError
        When onnxruntime cannot run it.
    """
    session = _session(file)
    side = described.image_size or (SIDE, SIDE)
    n_channels = described.n_channels or 1
    tried = torch.rand(described.batch or 2, n_channels, *side, generator=torch.Generator().manual_seed(0))
    scores = ScoresAlone(session, described, output=output, problem="")
    try:
        expected = scores.scores(tried)
    except Exception as error:  # onnxruntime raises errors of many types
        raise DataError(
            f"{where}: onnxruntime failed on an image of {side[0]} × {side[1]} pixels "
            f"({one_line(error, most=160)}): give image_size, or export it again"
        ) from error
    if expected.flatten(1).shape[0] != len(tried):
        raise DataError(f"{where}: its output {output!r} has not one row an image: name another with output")
    n_outputs = expected.flatten(1).shape[1]
    position = described.outputs.index(output)
    try:
        network = _read_back(file)
        problem = _differs(Batched(network, batch=None, output=position), tried, expected.flatten(1))
    except CxrobustError:
        raise
    except Exception as error:  # onnx2torch raises errors of many types for what it does not know
        problem = f"{type(error).__name__}: {one_line(error, most=160)}"
    if problem is None:
        return Batched(network, batch=described.batch, output=position), n_outputs
    scores.problem = f"{where}: torch cannot read it back with gradients ({problem})"
    return Batched(scores, batch=described.batch, output=None), n_outputs


def _session(file: Path) -> Any:
    runtime = require("onnxruntime", group=GROUP)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of many types
        raise DataError(f"{file}: onnxruntime cannot load it ({one_line(error, most=160)}): export it again") from error


def _read_back(file: Path) -> nn.Module:
    """Return torch's reading of a file, in words that it knows where those of the file are none."""
    onnx2torch = require("onnx2torch", group=GROUP)
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            read = onnx2torch.convert(str(file))
        except (KeyError, NotImplementedError):  # the former where it looks for a weight that a node gives
            read = onnx2torch.convert(_in_known_words(file))
    network: nn.Module = read.float().eval().requires_grad_(False)
    return network


def _in_known_words(file: Path) -> Any:
    """Return a file's model without nodes that only rename weights, and newer operators in the words of older ones."""
    onnx, versions = require("onnx", group=GROUP), require("onnx.version_converter", group=GROUP)
    model = onnx.load(file)
    _name_weights_apart(model.graph)
    if any(one.domain in {"", "ai.onnx"} and one.version > KNOWN_OPSET for one in model.opset_import):
        return versions.convert_version(model, KNOWN_OPSET)
    return model


def _name_weights_apart(graph: Any) -> None:
    """Give each name by which an `Identity` calls a weight a weight of its own, and leave out the node.

    Exporters that keep equal weights once write such nodes, as for the batch normalisations of an untrained network.
    """
    weights, kept = {one.name: one for one in graph.initializer}, []
    outputs = {one.name for one in graph.output}
    for node in graph.node:
        weight = weights.get(node.input[0]) if node.op_type == "Identity" else None
        if weight is None or node.output[0] in outputs:
            kept.append(node)
            continue
        own = graph.initializer.add()
        own.CopyFrom(weight)
        own.name = node.output[0]
        weights[own.name] = own
    del graph.node[:]
    graph.node.extend(kept)


def _differs(network: nn.Module, images: Tensor, expected: Tensor) -> str | None:
    """Return what is wrong with torch's reading of a file, or None."""
    with torch.enable_grad():
        pixels = images.clone().requires_grad_(True)
        found = network(pixels)
        if found.shape != expected.shape:
            return f"it gives {tuple(found.shape)} instead of {tuple(expected.shape)}"
        difference = float((found.detach() - expected).abs().max())
        if not difference <= MOST_DIFFERENCE * max(1.0, float(expected.abs().max())):
            return f"its outputs differ from those of onnxruntime by {difference:.2g}"
        if not found.requires_grad:
            return "no gradient reaches the pixels"
        weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(1))  # a softmax sums to 1 always
        (gradient,) = torch.autograd.grad((found * weights).sum(), pixels, allow_unused=True)
        if gradient is None or not bool(gradient.isfinite().all()) or not bool(gradient.any()):
            return "the gradient at the pixels is zero or not finite"
    return None
