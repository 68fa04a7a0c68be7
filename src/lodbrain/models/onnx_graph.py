"""A folded level of the ladder as an ONNX graph.

The graph computes what `FoldedLevel.features` and `FoldedLevel.score` compute of a whole tile, in float32. It consists
of standard operators (opset 17), which ONNX Runtime runs natively and in a browser. The logits are those at temperature
1: whoever runs the last level divides logits and side by the temperature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lodbrain.labels import N_CLASSES, SIDELESS, SIDELESS_OF_CLASS, STRUCTURES
from lodbrain.models.blocks import ACTIVATION_GAIN, ACTIVATION_SLOPE
from lodbrain.models.folded import Conv, FoldedLevel
from lodbrain.models.lod import LevelConfig

OPSET, IR_VERSION = 17, 8
#: Tensors of a level, in the order of `LevelOutput`; those of the level above have this prefix.
FEATURES, LOGITS, SIDE, ABOVE = "features", "logits", "side", "coarse_"


def level_graph(level: FoldedLevel, above: LevelConfig | None = None) -> onnx.ModelProto:
    """Return the graph of one level.

    Inputs are ``image`` (1, 1, X, Y, Z), scaled, with sides that are multiples of the level's stride; ``log_voxel``
    (1,), log2 of the voxel side over the nominal one; and, but for the coarsest level, what the level above has
    returned for the same box: ``coarse_features`` (1, F, X/2, Y/2, Z/2), ``coarse_logits`` and, if it has no sides,
    ``coarse_side``. Outputs are ``features`` (1, F, X, Y, Z), but for a level that works on blocks, ``logits``
    (1, C, X, Y, Z) and, if the level has no sides, ``side`` (1, 1, X, Y, Z), the log odds of left against right. All
    are float32.

    Parameters
    ----------
    level : FoldedLevel
        In float32, at temperature 1.

    Raises
    ------
    ValueError
        If the level computes in another type or has another temperature.
    """
    if level.dtype != torch.float32 or level.temperature != 1:
        raise ValueError(f"level must be float32 at temperature 1, got {level.dtype} at {level.temperature}")
    return _Graph().build(level, above)


class _Graph:
    """A graph under construction: every method adds nodes and returns the name of their result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def build(self, level: FoldedLevel, above: LevelConfig | None) -> onnx.ModelProto:
        config = level.config
        inputs = [_tensor("image", 1, "XYZ"), helper.make_tensor_value_info("log_voxel", TensorProto.FLOAT, [1])]
        seen = "image" if config.block == 1 else self.space_to_depth("image", config.block)
        grid = self.add("Shape", self.pick(seen, [0]))
        x = self.conv(self.add("Concat", seen, self.add("Expand", "log_voxel", grid), axis=1), level.entry)
        prior = side = None
        if above is not None and level.context is not None:
            inputs += [_tensor(ABOVE + name, size, "xyz") for name, size in outputs_of(above)]
            prior, side = ABOVE + LOGITS, None if above.sided else ABOVE + SIDE
            if above.sided and not config.sided:
                prior, side = self.merge_sides(prior)
            conditioning = self.add("Concat", ABOVE + FEATURES, self.add("Softmax", prior, axis=1), axis=1)
            context = self.conv(conditioning, level.context)
            x = self.add("Add", x, self.double(context) if config.block == 1 else context)
        for first, second in level.more:
            x = self.residual(x, first, second)
        skips = []
        for (first, second), down in zip(level.encode, level.down, strict=False):
            skips.append(self.residual(x, first, second))
            x = self.conv(skips[-1], down)
        x = self.residual(x, *level.encode[-1])
        for up, decode in zip(reversed(level.up), reversed(level.decode), strict=True):
            x = self.leaky(self.conv(self.add("Add", skips.pop(), self.double(self.conv(x, up))), decode))
        features = self.add("Mul", self.leaky(x), self.constant(ACTIVATION_GAIN), to=FEATURES)
        kernel = level.head[:, :, None, None, None]
        logits = self.conv(features, Conv(kernel, None if level.head_bias is None else level.head_bias[:, 0]))
        if config.block > 1:
            logits = self.depth_to_space(logits, config.block, len(level.head) // config.block**3)
        if prior is None or level.trust is None:
            self.add("Identity", logits, to=LOGITS)
        else:
            weighted = self.add("Mul", self.double(prior), self.constant(level.trust))
            self.add("Add", logits, weighted, to=LOGITS)
        if side is not None:
            self.double(side, to=SIDE)
        outputs = [_tensor(name, size, "XYZ") for name, size in outputs_of(config)]
        graph = helper.make_graph(self.nodes, f"level_{config.exponent}", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="lodbrain")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

    def add(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        name = to or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: float | NDArray[np.floating] | NDArray[np.integer] | torch.Tensor) -> str:
        array = value.detach().cpu().contiguous().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        name = f"constant_{len(self.constants)}"
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def conv(self, x: str, conv: Conv) -> str:
        size = conv.kernel.shape[2]
        pad = size // 2 if conv.stride == 1 else 0
        weights = [self.constant(conv.kernel), *([] if conv.bias is None else [self.constant(conv.bias)])]
        shape: dict[str, Any] = {"kernel_shape": [size] * 3, "strides": [conv.stride] * 3, "pads": [pad] * 6}
        return self.add("Conv", x, *weights, **shape)

    def leaky(self, x: str) -> str:
        return self.add("LeakyRelu", x, alpha=ACTIVATION_SLOPE)

    def residual(self, x: str, first: Conv, second: Conv) -> str:
        return self.add("Add", x, self.conv(self.leaky(self.conv(self.leaky(x), first)), second))

    def double(self, x: str, *, to: str = "") -> str:
        """As `blocks.double`."""
        scales = self.constant(np.array([1, 1, 2, 2, 2], np.float32))
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.add("Resize", x, "", scales, to=to, **how)

    def space_to_depth(self, x: str, edge: int) -> str:
        """As `blocks.space_to_depth` of one channel: a convolution with a 1 for each place in a block."""
        kernel = np.eye(edge**3, dtype=np.float32).reshape(edge**3, 1, edge, edge, edge)
        return self.add("Conv", x, self.constant(kernel), kernel_shape=[edge] * 3, strides=[edge] * 3)

    def depth_to_space(self, x: str, edge: int, channels: int) -> str:
        """As `blocks.depth_to_space`: the same, transposed, for each of the channels that it makes."""
        kernel = np.tile(np.eye(edge**3, dtype=np.float32), (channels, 1)).reshape(-1, 1, edge, edge, edge)
        shape: dict[str, Any] = {"kernel_shape": [edge] * 3, "strides": [edge] * 3, "group": channels}
        return self.add("ConvTranspose", x, self.constant(kernel), **shape)

    def merge_sides(self, logits: str) -> tuple[str, str]:
        """As `lod.merge_sides`: logits of 19 classes, and the log odds of left against right."""
        left, right = (
            self.pick(logits, [c for c, label in enumerate(STRUCTURES) if label.side == side])
            for side in ("left", "right")
        )
        # log(exp(a) + exp(b)) = b + softplus(a - b)
        both = self.add("Add", right, self.add("Softplus", self.add("Sub", left, right)))
        middle = [c for c, label in enumerate(STRUCTURES) if label.side is None]
        joined = self.add("Concat", both, self.pick(logits, middle), axis=1)
        found = [SIDELESS_OF_CLASS[c] for c, label in enumerate(STRUCTURES) if label.side == "left"]
        found += [SIDELESS_OF_CLASS[c] for c in middle]
        sums = (self.add("ReduceLogSumExp", half, axes=[1], keepdims=1) for half in (left, right))
        return self.pick(joined, np.argsort(found).tolist()), self.add("Sub", *sums)

    def pick(self, x: str, channels: list[int]) -> str:
        return self.add("Gather", x, self.constant(np.array(channels, np.int64)), axis=1)


def outputs_of(config: LevelConfig) -> list[tuple[str, int]]:
    """Return name and channels of what a level returns; one that works on blocks has no features for a next level.

    Examples
    --------
    >>> outputs_of(LevelConfig(0, (16, 32), sided=False))
    [('features', 16), ('logits', 19), ('side', 1)]
    """
    classes = N_CLASSES if config.sided else len(SIDELESS)
    found = [(FEATURES, config.channels[0])] if config.block == 1 else []
    found.append((LOGITS, classes))
    return found if config.sided else [*found, (SIDE, 1)]


def _tensor(name: str, channels: int, axes: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *axes])
