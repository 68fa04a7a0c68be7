"""`lodbrain evaluate`: evaluation of segmentations, and comparison of models and groups."""

from __future__ import annotations

from lodbrain.commands.lazy import LazyApp

app = LazyApp(name="evaluate")
for _name, _help in (
    ("labels", "Compare label maps with references: overlap, volumes and surface distances of every common region."),
    ("groups", "Compare models, sites, scanners or ages: means, paired tests, volume agreement, test-retest."),
    ("stress", "Degrade scans step by step, segment them, and measure the Dice."),
    ("quality", "Evaluate the quality score: degraded synthetic scans are segmented and compared with the truth."),
    ("calibration", "Fit a temperature and volume intervals for every level of a model, and evaluate both."),
    ("ultracortex", "Verify a model on UltraCortex: 12 heads at 9.4 T with manual labels of grey and white matter."),
):
    app.command(f"lodbrain.commands.evaluate_{_name}:{_name}", name=_name, help=_help)
