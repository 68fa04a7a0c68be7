"""`GeneratorSettings`: the random steps of the generator, in their order."""

from __future__ import annotations

from dataclasses import dataclass, field

from lodbrain.synthesis.deform import Shapes
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.synthesis.steps.background_noise import RandomBackground
from lodbrain.synthesis.steps.blur import RandomBlur
from lodbrain.synthesis.steps.defacing import RandomDefacing
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.ghosts import RandomGhosts
from lodbrain.synthesis.steps.lesions import RandomLesions
from lodbrain.synthesis.steps.motion import RandomMotion
from lodbrain.synthesis.steps.noise import RandomNoise
from lodbrain.synthesis.steps.receive import RandomBias
from lodbrain.synthesis.steps.skull_stripping import RandomStripping
from lodbrain.synthesis.steps.susceptibility import RandomSusceptibility
from lodbrain.synthesis.steps.texture import RandomTexture
from lodbrain.synthesis.steps.thick_slices import RandomSlices
from lodbrain.synthesis.steps.tone import RandomTone
from lodbrain.synthesis.steps.transmit import RandomTransmit
from lodbrain.synthesis.steps.ventricles import RandomVentricles
from lodbrain.synthesis.steps.wrap import RandomWrap


@dataclass(frozen=True)
class GeneratorSettings:
    """The random steps, in the order in which they act on a scan.

    Attributes
    ----------
    shapes ... defacing
        One random step each; fields named `..._share` are probabilities.
    uhf_share : float
        Share of scans at 7 T and above: these get `transmit`, `susceptibility` and the strong fields of `bias`.
    profile : ContrastProfile or None
        Scans are sampled from this profile with probability `profile_share`: their intensities, bias field, noise,
        blur, voxel size and background are the profile's and override these settings
        (`lodbrain.synthesis.tailored`).
    """

    shapes: Shapes = field(default_factory=Shapes)
    ventricles: RandomVentricles = field(default_factory=RandomVentricles)
    field_of_view: RandomFieldOfView = field(default_factory=RandomFieldOfView)
    lesions: RandomLesions = field(default_factory=RandomLesions)
    contrasts: Contrasts = field(default_factory=Contrasts)
    texture: RandomTexture = field(default_factory=RandomTexture)
    uhf_share: float = 0.2
    transmit: RandomTransmit = field(default_factory=RandomTransmit)
    susceptibility: RandomSusceptibility = field(default_factory=RandomSusceptibility)
    bias: RandomBias = field(default_factory=RandomBias)
    wrap: RandomWrap = field(default_factory=RandomWrap)
    blur: RandomBlur = field(default_factory=RandomBlur)
    slices: RandomSlices = field(default_factory=RandomSlices)
    motion: RandomMotion = field(default_factory=RandomMotion)
    ghosts: RandomGhosts = field(default_factory=RandomGhosts)
    noise: RandomNoise = field(default_factory=RandomNoise)
    background: RandomBackground = field(default_factory=RandomBackground)
    tone: RandomTone = field(default_factory=RandomTone)
    stripping: RandomStripping = field(default_factory=RandomStripping)
    defacing: RandomDefacing = field(default_factory=RandomDefacing)
    profile: ContrastProfile | None = None
    profile_share: float = 1.0
