from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lodbrain.datasets.labelled import Labelled
from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labels import CLASS_OF_INDEX, INDEX_OF_CLASS
from lodbrain.training.config import TrainingConfig
from lodbrain.training.pairs import first_pair
from lodbrain.training.real import Augmentation, RealSamples, remapped
from lodbrain.training.samples import Geometry
from lodbrain.training.sources import geometry_of, make_sources
from lodbrain.training.stage_networks import build_ladder
from lodbrain.training.training_run import train

#: Mirrors half of the scans and changes nothing else.
NOTHING = Augmentation(bias=0, noise=0, gamma_sd=0, clip_share=0, fault_share=0)

MakeConfig = Callable[..., TrainingConfig]


@pytest.fixture
def geometry(make_config: MakeConfig) -> Geometry:
    """Levels of 8 and 4 mm."""
    config = make_config()
    return geometry_of(config, build_ladder(config))


@pytest.fixture
def scans(tmp_path: Path, raw_head: np.ndarray) -> list[Labelled]:
    """The head at 4 mm, in LAS order, from two sites; its brightness tells of the label."""
    labels = raw_head.copy()
    labels[labels > 500] = 0
    labels[6:12, 12:20, 12:16] = 24  # in one hemisphere only
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])
    out = []
    for site in ("north", "south"):
        data = (10.0 * labels[::-1] + 3).astype(np.float32)
        write_nifti(tmp_path / f"{site}.nii.gz", data, Image(data, affine))
        write_nifti(tmp_path / f"{site}_dseg.nii.gz", np.ascontiguousarray(labels[::-1]), Image(data, affine))
        out.append(Labelled(tmp_path / f"{site}.nii.gz", tmp_path / f"{site}_dseg.nii.gz", site))
    return out


def test_scan_and_labels_agree_at_every_level(geometry: Geometry, scans: list[Labelled]) -> None:
    sample = RealSamples(scans, geometry, augmentation=None).sample(0, 1)
    coarse, fine = sample.views
    assert coarse.image.shape == (15, 17, 14)  # 30 x 34 x 28 voxels of 4 mm, halved
    assert fine.image.shape == (12, 16, 12)
    assert float(coarse.log_voxel) == pytest.approx(0) == float(fine.log_voxel)
    # brightness is 10 x the label, above the black of 3: the shares of a voxel give it, at either level
    bright = 10.0 * torch.as_tensor(INDEX_OF_CLASS, dtype=torch.float32)
    for view in sample.views:
        torch.testing.assert_close(torch.einsum("cxyz,c->xyz", view.target, bright), view.image, rtol=1e-4, atol=1e-2)
    # the fine view lies where it says, under the coarse one
    start = [s // 2 for s in fine.start]
    pooled = torch.nn.functional.avg_pool3d(fine.image[None, None], 2)[0, 0]
    there = coarse.image[start[0] : start[0] + 6, start[1] : start[1] + 8, start[2] : start[2] + 6]
    torch.testing.assert_close(pooled, there)


def test_offset_changes_no_training_scan(geometry: Geometry, scans: list[Labelled], tmp_path: Path) -> None:
    plain = read_image(scans[0].volume)
    write_nifti(tmp_path / "moved.nii.gz", plain.data - np.float32(1024), plain)
    pairs = []
    for volume in (scans[0].volume, tmp_path / "moved.nii.gz"):
        scan = Labelled(volume, scans[0].labels, "north")
        sample = RealSamples([scan], geometry, augmentation=Augmentation(noise=0, fault_share=0)).sample(3, 0)
        pairs.append(first_pair(sample.views[0], 2).image)
    torch.testing.assert_close(pairs[1], pairs[0], atol=1e-4, rtol=0)


def test_mirrored_scan_swaps_its_sides(geometry: Geometry, scans: list[Labelled]) -> None:
    plain = RealSamples(scans[:1], geometry, augmentation=None).sample(0, 0).views[0].target
    samples = RealSamples(scans[:1], geometry, augmentation=NOTHING)
    targets = [samples.sample(seed, 0).views[0].target for seed in range(8)]
    flipped = [not torch.equal(target, plain) for target in targets]
    assert 0 < sum(flipped) < 8
    mirrored = targets[flipped.index(True)]
    # left white matter (class 1) lies where right white matter was, mirrored
    right = CLASS_OF_INDEX[41]
    assert torch.equal(mirrored[1], plain[right].flip(0))
    assert torch.equal(mirrored[0], plain[0].flip(0))


def test_same_seed_same_real_scene(geometry: Geometry, scans: list[Labelled]) -> None:
    samples = RealSamples(scans, geometry, augmentation=Augmentation())
    one, other, again = samples.sample(5, 1), samples.sample(6, 1), samples.sample(5, 1)
    assert torch.equal(one.views[1].image, again.views[1].image)
    assert not torch.equal(one.views[0].image, other.views[0].image)


def test_scan_that_is_too_coarse_for_a_level_is_left_out(
    geometry: Geometry, scans: list[Labelled], tmp_path: Path
) -> None:
    data = np.ones((16, 16, 16), np.float32)
    data[4:12, 4:12, 4:12] = 2
    image = Image(data, np.diag([8.0, 8.0, 8.0, 1.0]))
    write_nifti(tmp_path / "coarse.nii.gz", data, image)
    write_nifti(tmp_path / "coarse_dseg.nii.gz", np.where(data > 1, 2, 0).astype(np.int16), image)
    coarse = Labelled(tmp_path / "coarse.nii.gz", tmp_path / "coarse_dseg.nii.gz", "far")
    samples = RealSamples([*scans, coarse], geometry, augmentation=None)
    assert (samples.usable(0), samples.usable(1)) == ([0, 1, 2], [0, 1])
    with pytest.raises(InputError, match="no scan is fine enough for the level of 4 mm"):
        RealSamples([coarse], geometry, augmentation=None).sample(0, 1)


def test_thick_slices_are_refused(geometry: Geometry, tmp_path: Path) -> None:
    data = np.ones((8, 8, 8), np.float32)
    data[4:] = 2
    write_nifti(tmp_path / "a.nii.gz", data, Image(data, np.diag([4.0, 4.0, 6.0, 1.0])))
    with pytest.raises(InputError, match=r"a\.nii\.gz.*voxels of 4 x 4 x 6 mm"):
        RealSamples([Labelled(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "x")], geometry, augmentation=None)


def test_resampled_scan_keeps_its_place_and_the_shares_of_its_classes(geometry: Geometry, tmp_path: Path) -> None:
    labels = np.zeros((24, 24, 18), np.int16)
    labels[6:18, 6:18, 6:12] = 2
    labels[6:10, 6:18, 6:12] = 12
    image = Image(10.0 * labels.astype(np.float32), np.diag([4.0, 4.0, 5.33, 1.0]))
    write_nifti(tmp_path / "a.nii.gz", image.data, image)
    write_nifti(tmp_path / "a_dseg.nii.gz", labels, image)
    samples = RealSamples(
        [Labelled(tmp_path / "a.nii.gz", tmp_path / "a_dseg.nii.gz", "x")], geometry, augmentation=None
    )
    view = samples.sample(0, 0).views[0]
    assert view.image.shape == (12, 12, 12)
    white, putamen = (view.target[CLASS_OF_INDEX[index]] for index in (2, 12))
    torch.testing.assert_close(20 * white + 120 * putamen, view.image, atol=1.0, rtol=0)  # as bright as its shares say
    assert float(white.sum()) * 8**3 == pytest.approx(8 * 12 * 6 * 4 * 4 * 5.33, rel=0.02)


def test_a_teachers_second_label_gets_the_rest_of_the_probability(
    geometry: Geometry, scans: list[Labelled], tmp_path: Path
) -> None:
    hard = scans[0]
    labels = read_labels(hard.labels)
    names = [tmp_path / f"north_desc-{end}.nii.gz" for end in ("teacher_dseg", "second_dseg", "teacher_probseg")]
    probability = np.where(labels.data == 24, 0.6, 1.0).astype(np.float32)
    second = np.where(labels.data == 24, 4, labels.data).astype(labels.data.dtype)
    for name, data in zip(names, (labels.data, second, probability), strict=True):
        write_nifti(name, data, labels)
    soft = RealSamples([Labelled(hard.volume, names[0], "north")], geometry, augmentation=None)
    target, plain = (
        samples.sample(0, 0).views[0].target for samples in (soft, RealSamples([hard], geometry, augmentation=None))
    )
    fluid, ventricle = (CLASS_OF_INDEX[index] for index in (24, 4))
    torch.testing.assert_close(target[fluid], 0.6 * plain[fluid])
    torch.testing.assert_close(target[ventricle], plain[ventricle] + 0.4 * plain[fluid])
    torch.testing.assert_close(target.sum(0), torch.ones(target.shape[1:]))


def test_clipping_cuts_at_the_median_of_white_matter(geometry: Geometry, tmp_path: Path) -> None:
    labels = np.zeros((24, 24, 24), np.int16)
    labels[4:20, 4:20, 4:20] = 2
    labels[4:10, 4:20, 4:20] = 12
    labels[18:20, 4:20, 4:20] = 24
    intensity = np.select([labels == 2, labels == 12, labels == 24], [100.0, 150.0, 20.0]).astype(np.float32)
    image = Image(intensity, np.diag([4.0, 4.0, 4.0, 1.0]))
    write_nifti(tmp_path / "a.nii.gz", image.data, image)
    write_nifti(tmp_path / "a_dseg.nii.gz", labels, image)
    scan = Labelled(tmp_path / "a.nii.gz", tmp_path / "a_dseg.nii.gz", "x")
    clipped = Augmentation(bias=0, noise=0, gamma_sd=0, clip_share=1, fault_share=0)
    brightest = [
        float(RealSamples([scan], geometry, augmentation=clipped).sample(seed, 0).views[0].image.max())
        for seed in range(6)
    ]
    assert 95 <= min(brightest) < max(brightest) <= 115


def test_faults_change_the_image_and_leave_the_target(geometry: Geometry, scans: list[Labelled]) -> None:
    faulty = Augmentation(bias=0, noise=0, gamma_sd=0, clip_share=0, fault_share=1)
    for seed in range(6):
        plain = RealSamples(scans[:1], geometry, augmentation=NOTHING).sample(seed, 0).views[0]
        changed = RealSamples(scans[:1], geometry, augmentation=faulty).sample(seed, 0).views[0]
        assert torch.equal(plain.target, changed.target)
        assert not torch.equal(plain.image, changed.image)


@pytest.fixture
def manifest(scans: list[Labelled], tmp_path: Path) -> Path:
    path = tmp_path / "scans.csv"
    rows = [f"{scan.volume.name},{scan.labels.name},{scan.site}" for scan in scans]
    path.write_text("\n".join(["volume,labels,site", *rows]))
    return path


def test_held_out_site_is_reported_apart_and_never_trained_on(make_config: MakeConfig, manifest: Path) -> None:
    config = make_config(
        train=[], validate=[], real={"manifest": manifest, "share": 1.0, "hold_out": ["south"]},
        report_on=[{"name": "mine", "manifest": manifest}],
    )  # fmt: skip
    lines: list[str] = []
    train(config, report=lines.append)
    scores = [line for line in lines if "tissues" in line]
    assert scores
    assert all("site-south/tissues" in line and "mine/tissues" in line for line in scores)
    assert not any("north" in line for line in lines)
    sources = make_sources(config, geometry_of(config, build_ladder(config)), {}, 0)
    assert isinstance(sources.training, RealSamples)
    assert [scan.site for scan, _, _ in sources.training.scans] == ["north"]


def test_site_that_does_not_exist_is_named(make_config: MakeConfig, manifest: Path, geometry: Geometry) -> None:
    config = make_config(train=[], validate=[], real={"manifest": manifest, "share": 1.0, "hold_out": ["east"]})
    with pytest.raises(UsageError, match=r"hold_out: no scan is of site 'east'.*Sites: north, south"):
        make_sources(config, geometry, {}, 0)


def test_mixed_pairs_come_from_both_in_their_share(
    make_config: MakeConfig, manifest: Path, head, geometry: Geometry
) -> None:
    config = make_config(real={"manifest": manifest, "share": 0.25})
    samples = make_sources(config, geometry, {"head": head, "other": head}, 0).training
    # real scans are 4 mm: their coarse level is exactly 8 mm
    real = [float(samples.sample(seed, 0).views[0].log_voxel) == pytest.approx(0, abs=1e-9) for seed in range(60)]
    assert 8 <= sum(real) <= 22


def test_a_remapped_scan_keeps_black_and_its_target_and_may_be_inverted() -> None:
    image = torch.linspace(0, 100, 101)
    curves = [remapped(image, 80.0, torch.Generator().manual_seed(seed)) for seed in range(20)]
    for curve in curves:
        assert curve[0] == 0
        assert curve[:96].min() >= 0 and curve[:96].max() <= 80  # the curve ends at 96
        assert curve.diff().abs().max() <= 80 / 16 + 1e-4  # one piece is 16 wide: no jumps
    assert any(curve[40] > curve[80] for curve in curves)
    assert any(curve[40] < curve[80] for curve in curves)


def test_the_share_of_remapped_scans_is_as_asked(geometry: Geometry, scans: list[Labelled]) -> None:
    still = replace(NOTHING, remap_share=0.0)
    plain, half = (
        RealSamples(scans[:1], geometry, augmentation=augmentation)
        for augmentation in (still, replace(still, remap_share=0.5))
    )
    changed = 0
    for seed in range(16):
        one, other = (samples.sample(seed, 0).views[0] for samples in (plain, half))
        assert torch.equal(one.target, other.target)
        changed += not torch.allclose(one.image, other.image)
    assert 3 < changed < 13
