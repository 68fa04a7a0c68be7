"""Pooling of the fits of several scans into one profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lodbrain.contrast_analysis.analysis import ScanFit
from lodbrain.contrast_analysis.goodness import relative_mismatch
from lodbrain.contrast_analysis.mixture import CORTEX, DEEP, FLUID, GREY, GROUP_POSITIONS, WHITE, WHITE_MATTER
from lodbrain.labels import SIDELESS
from lodbrain.synthesis.profile import Air, BiasStatistics, ContrastProfile, Intensity, NoiseStatistics, ScanRecord


def pool(fits: Sequence[ScanFit], names: Sequence[str]) -> ContrastProfile:
    """Return one profile of scans of similar contrast, from at least one fit.

    Each scan's fit is on a scale where its own white matter is 160, whatever the scanner's gain. Scans have equal
    weights; a structure is averaged over the scans that have it.
    """
    if not fits:
        raise ValueError("fits must hold at least one scan, got none")
    means = np.array([fit.mixture.means for fit in fits])
    variances = np.array([fit.mixture.sds for fit in fits]) ** 2
    volumes_ml = np.array([fit.volumes_ml for fit in fits])
    pure_ml = np.array([fit.mixture.voxels * fit.spacing_mm.prod() / 1000 for fit in fits])
    own = np.array([fit.mixture.own for fit in fits])
    structures = {}
    for position, name in enumerate(SIDELESS):
        there = np.isfinite(means[:, position])
        if there.any():
            column = means[there, position]
            structures[name] = Intensity(
                mean=float(column.mean()),
                sd=float(np.sqrt(variances[there, position].mean())),
                between_scans=float(column.std(ddof=1)) if len(column) > 1 else None,
                volume_ml=float(volumes_ml[there, position].mean()),
                pure_ml=float(pure_ml[there, position].mean()),
                own=float(own[there, position].mean()),
            )
    records = tuple(record(fit, name) for fit, name in zip(fits, names, strict=True))
    kind = Counter(each.background.kind for each in records).most_common(1)[0][0]
    seen = [fit.outside for fit in fits if fit.outside]
    return ContrastProfile(
        structures=structures,
        contrast_to_noise=_contrasts(structures),
        bias=BiasStatistics(
            log_sd=float(np.mean([each.bias.log_sd for each in records])),
            scale_mm=float(np.mean([each.bias.scale_mm for each in records])),
        ),
        noise=NoiseStatistics(
            sd=float(np.mean([each.noise.sd for each in records])),
            fwhm_mm=float(np.mean([each.noise.fwhm_mm for each in records])),
            measured_in=" and ".join(sorted({each.noise.measured_in for each in records})),
        ),
        background=Air(kind, float(np.mean([r.background.level for r in records if r.background.kind == kind]))),
        voxel_mm=float(np.mean([fit.spacing_mm.prod() ** (1 / 3) for fit in fits])),
        outside=tuple(float(value) for value in np.mean(seen, axis=0)) if seen else (),
        scans=records,
    )


def record(fit: ScanFit, name: str) -> ScanRecord:
    """Return the record of one scan's measurements."""
    x, y, z = fit.spacing_mm.tolist()
    return ScanRecord(
        name=name,
        voxel_mm=(x, y, z),
        bias=fit.bias,
        noise=fit.noise,
        background=fit.background,
        outliers=fit.mixture.outliers,
        mismatch=relative_mismatch(fit.mixture, fit.histogram),
        iterations=fit.iterations,
    )


def _contrasts(structures: dict[str, Intensity]) -> dict[str, float]:
    """Contrast-to-noise ratios of white matter, cortex, deep grey matter and fluid, where present."""
    kinds = {WHITE: [SIDELESS[WHITE_MATTER]], GREY: [SIDELESS[CORTEX]]}
    kinds |= {kind: [SIDELESS[k] for k in GROUP_POSITIONS[kind] if SIDELESS[k] in structures] for kind in (DEEP, FLUID)}
    looks = {kind: _together([structures[name] for name in names]) for kind, names in kinds.items() if names}
    pairs = ((WHITE, GREY), (WHITE, DEEP), (DEEP, GREY), (GREY, FLUID))
    return {
        f"{one} - {other}": (looks[one][0] - looks[other][0])
        / float(np.sqrt((looks[one][1] ** 2 + looks[other][1] ** 2) / 2))
        for one, other in pairs
        if one in looks and other in looks
    }


def _together(looks: Sequence[Intensity]) -> tuple[float, float]:
    """Return mean, and standard deviation within structures, of several structures weighted by volume."""
    weights = np.array([look.volume_ml for look in looks])
    mean = np.average([look.mean for look in looks], weights=weights)
    return float(mean), float(np.sqrt(np.average([look.sd**2 for look in looks], weights=weights)))
