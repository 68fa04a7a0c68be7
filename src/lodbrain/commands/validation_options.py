"""Options of commands that evaluate a model on synthetic scans."""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import Parameter

from lodbrain.commands.parameters import Device, ModelName, Paths, Quiet
from lodbrain.evaluation.validation_scans import Kind
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.system.memory import keep_freed_memory


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """Options of commands that evaluate a model on synthetic scans.

    Parameters
    ----------
    maps
        Generate scans from these label maps, on which the model was not trained. Default: the four of `lodbrain fetch
        labelmaps` that are reserved for validation.
    contrasts
        Generate scans of these contrasts: t1w, or any for a model of every contrast.
    seed
        Start the synthetic scans from this seed.
    """

    maps: Paths = None
    contrasts: Kind = "t1w"
    seed: int = 0
    model: ModelName = "default"
    device: Device = "auto"
    quiet: Quiet = False

    def load(self) -> Model:
        """Load the model once for many scans in this process."""
        keep_freed_memory()
        return load_model(Settings(model=self.model, device=self.device))
