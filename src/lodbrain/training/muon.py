"""Muon: steps of a kernel along its orthogonalised momentum, those of all other parameters by AdamW."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

#: Coefficients of the Newton-Schulz iteration and number of its steps; Jordan et al. 2024, see `Muon`.
_A, _B, _C, _STEPS = 3.4445, -4.7750, 2.0315, 5
#: Root mean square of a step in units of the learning rate, about that of AdamW (Liu et al. 2025, arXiv:2502.16982).
_STEP_RMS = 0.2


class Muon(torch.optim.AdamW):
    """AdamW, except for the kernels of convolutions larger than one voxel.

    The momentum of a kernel, as a matrix (outputs, inputs * voxels), is replaced by the nearest matrix with orthonormal
    rows or columns, so that all directions of the kernel are trained at one speed. Rates are those of AdamW, since the
    step is scaled to the same size.

    References
    ----------
    Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks, kellerjordan.github.io/posts/muon.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the parameters that have a gradient. Gradients of kernels are set to None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None or parameter.ndim != 5 or max(parameter.shape[2:]) == 1:
                    continue
                gradient, parameter.grad = parameter.grad, None  # AdamW leaves parameters without gradient alone
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                mean = state["momentum_buffer"]
                mean.lerp_(gradient, 1 - self.momentum)
                ahead = gradient.lerp(mean, self.momentum).flatten(1)  # Nesterov
                update = orthogonal(ahead) * (_STEP_RMS * max(ahead.shape) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-group["lr"])
        super().step()


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix (n, m) with the singular vectors of another and singular values between about 0.7 and 1.2.

    Examples
    --------
    >>> values = torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([1.0, 10.0, 100.0]))))
    >>> bool(values.min() > 0.3), bool(values.max() < 1.3)
    (True, True)
    """
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    out: torch.Tensor = x.T if matrix.shape[0] > matrix.shape[1] else x
    return out
