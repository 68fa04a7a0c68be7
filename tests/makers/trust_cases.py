"""The catalogue: every bad input and fault met in the wild, how to make it, and the right answer.

One table for the tests (`tests/trust`) and for the page `docs/reference/trust.md` (`make trust-page`).
"""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tiny_model
from image_files import Files

REFUSED, CORRECTED, WARNED, ACCEPTED = "refused", "corrected", "warned", "accepted"
Verdict = Literal["refused", "corrected", "warned", "accepted"]

AGAIN = "Copy or download"


class Bench(Files):
    """Makes the inputs of one case: `Files` of a small head, a model, an output folder, the cache."""

    shape, affine = tiny_model.SHAPE, tiny_model.AFFINE

    def __init__(self, folder: Path, model: Path, cache: Path) -> None:
        super().__init__(folder)
        self.model, self.cache, self.out = model, cache, folder / "out"

    def voxels(self, dtype: Any = np.int16, shape: tuple[int, ...] = tiny_model.SHAPE) -> Any:
        """The head."""
        return tiny_model.head((shape[0], shape[1], shape[2])).astype(dtype)

    def nifti_bytes(self, data: Any = None, affine: Any = tiny_model.AFFINE, **fields: Any) -> bytes:
        """A NIfTI of the head."""
        return super().nifti_bytes(data, affine, **fields)

    def packed(self) -> bytes:
        """The plain head as a .nii.gz."""
        return gzip.compress(self.nifti_bytes(), mtime=0)

    def gz(self, change: Callable[[bytes], bytes]) -> Path:
        """The same with a fault."""
        return self.raw("scan.nii.gz", change(self.packed()))

    def with_extension(self, claimed: int) -> Path:
        """A header extension that claims so many bytes."""
        sound = bytearray(self.nifti_bytes(vox_offset=368))
        sound[348] = 1
        extension = claimed.to_bytes(4, "little") + (6).to_bytes(4, "little") + bytes(8)
        return self.raw("scan.nii", bytes(sound[:352]) + extension + bytes(sound[352:]))

    def changed(self, change: Callable[[Any], None], dtype: Any = np.float32) -> Path:
        """The head with its voxels changed."""
        data = self.voxels(dtype)
        change(data)
        return self.nifti("scan.nii.gz", data)

    def pickled(self, name: str) -> list[str]:
        """A model file that would make a folder if it were unpickled."""
        path = self.raw(name, pickle.dumps(_Trap(str(self.folder / "trapped")), protocol=4))
        return [str(self.nifti()), "--model", str(path)]

    def from_zoo(self, content: bytes | None) -> list[str]:
        """A published model whose file in the cache is `content`, or is absent."""
        if content is not None:
            (self.cache / "elsewhere").mkdir()
            (self.cache / "elsewhere" / "elsewhere.safetensors").write_bytes(content)
        return [str(self.nifti()), "--model", "elsewhere", "--labels", "tissue"]

    def model_named(self, name: str) -> list[str]:
        """A model whose card bears another name."""
        content = self.model.read_bytes()
        size = int.from_bytes(content[:8], "little")
        old = b'\\"name\\": \\"tiny\\"'
        header = content[8 : 8 + size].rstrip()
        assert old in header
        header = header.replace(old, b'\\"name\\": \\"%s\\"' % name.encode())
        header += b" " * (-len(header) % 8)
        path = self.raw("other.safetensors", len(header).to_bytes(8, "little") + header + content[8 + size :])
        return [str(self.nifti()), "--model", str(path)]

    def linked(self, name: str, target: str) -> Path:
        """A symbolic link."""
        path = self.folder / name
        path.symlink_to(target)
        return path

    def output_that_is_input(self) -> list[str]:
        """The output folder already holds the scan, under the name of its label map."""
        scan = self.nifti("scan.nii.gz")
        self.out.mkdir()
        os.link(scan, self.out / "scan_dseg.nii.gz")
        return [str(scan), "--overwrite"]


class _Trap:
    """What a pickle may do to who loads it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


Words = Path | list[str]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes
    ----------
    key : str
        Number in the catalogue, with a letter where it has several forms.
    title : str
    verdict : str
    make : callable or None
        Writes the input; returns it, or the words after ``lodbrain segment``. None: a fault with a test of its own.
    says : tuple of str
        What stands in the one line on stderr (refused), or in the notes of the sidecar (corrected, warned).
    exit : int
        Exit status: 4 for a refused input if it is the only one (3 beside good ones).
    same : bool
        The labels are those of the plain file.
    shown : str
        The test that shows it, for faults.
    """

    key: str
    title: str
    verdict: Verdict
    make: Callable[[Bench], Words] | None = None
    says: tuple[str, ...] = ()
    exit: int = field(default=-1)
    same: bool = False
    shown: str = ""

    def __post_init__(self) -> None:
        if self.exit < 0:
            object.__setattr__(self, "exit", 4 if self.verdict == REFUSED else 0)

    @property
    def number(self) -> int:
        """Without the letter."""
        return int(self.key.rstrip("abcdef"))


def _flip(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def _stub(text: str) -> Callable[[Bench], Path]:
    return lambda m: m.raw("scan.nii.gz", text.encode())


def _dims(*dims: int) -> Callable[[Bench], Path]:
    return lambda m: m.raw("scan.nii", m.nifti_bytes(dim=[len(dims), *dims, *[1] * (7 - len(dims))]))


def _sform(change: Callable[[np.ndarray], Any], **more: Any) -> Callable[[Bench], Path]:
    """Only the sform is set, and changed."""

    def make(m: Bench) -> Path:
        sform = m.affine.copy()
        change(sform)
        rows = {f"srow_{axis}": row for axis, row in zip("xyz", sform[:3], strict=True)}
        return m.nifti("scan.nii.gz", **rows, qform_code=0, **more)

    return make


def _scaled(factor: float, unit: int) -> Callable[[Bench], Path]:
    def make(m: Bench) -> Path:
        affine = m.affine.copy()
        affine[:3] *= factor
        return m.nifti("scan.nii.gz", None, affine, xyzt_units=unit)

    return make


def _spoil(share: float) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        bad = np.random.default_rng(1).random(data.shape) < share
        data[bad] = np.where(np.random.default_rng(2).random(data.shape) < 0.5, np.nan, np.inf)[bad]

    return change


def _strip(data: Any, background: float = 0) -> None:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in data.shape), indexing="ij")
    data[x**2 + y**2 + z**2 > 0.75**2] = background


def _flatten(data: Any) -> None:
    data[:] = np.digitize(data, [200])


def _cut_mgz(m: Bench) -> Path:
    whole = gzip.decompress(m.mgh("whole.mgz").read_bytes())
    (m.folder / "whole.mgz").unlink()
    return m.raw("scan.mgz", gzip.compress(whole[: len(whole) // 2]))


def _pair_without_voxels(m: Bench) -> Path:
    header = bytearray(m.nifti_bytes()[:348])
    header[344:348] = b"ni1\0"
    return m.raw("scan.hdr", bytes(header))


def _frames(n: int) -> Callable[[Bench], Path]:
    return lambda m: m.nifti("scan.nii.gz", np.stack([m.voxels()] * n, -1))


def _slices(m: Bench) -> Path:
    shape = (150, 160, 16)
    return m.nifti("scan.nii.gz", m.voxels(shape=shape), np.diag([0.5, 0.5, 5.0, 1.0]))


def _cut_head(m: Bench) -> Path:
    return m.nifti("scan.nii.gz", np.ascontiguousarray(m.voxels()[10:22]))


def _deep(name: str) -> Callable[[Bench], Path]:
    def make(m: Bench) -> Path:
        path = m.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(m.packed())
        return path

    return make


def _forms_disagree(m: Bench) -> Path:
    return m.nifti("scan.nii.gz", qoffset_x=-60)


def _bomb(m: Bench) -> Path:
    return m.raw("scan.nii.gz", gzip.compress(m.nifti_bytes() + bytes(70 << 20), 1))


def _noise(m: Bench) -> list[str]:
    noise = np.random.default_rng(0).normal(100, 20, (24, 24, 24)).astype(np.float32)
    return [str(m.nifti("scan.nii.gz", noise, np.diag([8.0, 8, 8, 1]))), "--model", "default"]


def _faults(test: str) -> str:
    return f"tests/trust/test_faults.py::{test}"


_HDR = "Export the scan again"

CASES: tuple[Case, ...] = (
    # the file
    Case("1", "empty file", REFUSED, _stub(""), ("the file is empty", AGAIN)),
    Case("2", "gzip stream cut short", REFUSED, lambda m: m.gz(lambda d: d[: len(d) // 2]), ("too early", AGAIN)),
    Case("3", "gzip trailer missing", REFUSED, lambda m: m.gz(lambda d: d[:-8]), ("too early", AGAIN)),
    Case(
        "4", "wrong checksum in the gzip trailer", REFUSED, lambda m: m.gz(lambda d: _flip(d, -6)), ("damaged", AGAIN)
    ),
    Case("5", "bit flipped in the gzip stream", REFUSED, lambda m: m.gz(lambda d: _flip(d, len(d) // 2)), (AGAIN,)),
    Case(
        "6",
        "garbage behind the gzip stream",
        WARNED,
        lambda m: m.gz(lambda d: d + b"garbage"),
        ("7 bytes behind the voxels were ignored",),
        same=True,
    ),
    Case(
        "7",
        "gzip file named .nii",
        CORRECTED,
        lambda m: m.raw("scan.nii", m.packed()),
        ("gzip-compressed although its name ends in .nii",),
        same=True,
    ),
    Case(
        "8",
        "plain file named .nii.gz",
        CORRECTED,
        lambda m: m.raw("scan.nii.gz", m.nifti_bytes()),
        ("not compressed although its name ends in .gz",),
        same=True,
    ),
    Case(
        "9a",
        "web page in the image's place",
        REFUSED,
        _stub("<!DOCTYPE html><html>404</html>"),
        ("it is a web page", "fetch it again"),
    ),
    Case(
        "9b",
        "git LFS pointer in its place",
        REFUSED,
        _stub("version https://git-lfs.github.com/spec/v1\noid sha256:1"),
        ("it is a git LFS pointer", "git lfs pull"),
    ),
    Case(
        "9c",
        "git-annex pointer in its place",
        REFUSED,
        _stub("/annex/objects/MD5E-s1--2.nii.gz\n"),
        ("it is a git-annex pointer", "datalad get"),
    ),
    Case("10", "wrong magic", REFUSED, lambda m: m.nifti(magic=b"n+9"), ("it is not NIfTI: its magic is", AGAIN)),
    Case("11a", ".nii cut short", REFUSED, lambda m: m.raw("scan.nii", m.nifti_bytes()[:-99]), ("cannot hold", AGAIN)),
    Case(
        "11b", ".mgz cut short before it was packed", REFUSED, _cut_mgz, ("fewer voxels than its header claims", AGAIN)
    ),
    Case("12", "huge header extension", REFUSED, lambda m: m.with_extension(1 << 30), ("extension claims", _HDR)),
    Case("13a", "vox_offset NaN", REFUSED, lambda m: m.nifti(vox_offset=np.nan), ("the voxels at byte nan", _HDR)),
    Case("13b", "vox_offset huge", REFUSED, lambda m: m.nifti(vox_offset=1e12), ("the voxels at byte 9", _HDR)),
    Case("14a", "dimension 0", REFUSED, _dims(32, 0, 30), ("claims the shape 32 x 0 x 30", _HDR)),
    Case("14b", "dimension negative", REFUSED, _dims(32, -36, 30), ("claims the shape 32 x -36 x 30", _HDR)),
    Case("14c", "dimensions overflowing", REFUSED, _dims(32767, 32767, 32767), ("its header claims 32767 x", _HDR)),
    Case("15a", "header claims more than the file can hold", REFUSED, _dims(1200, 1200, 1200), ("cannot hold", AGAIN)),
    Case("15b", "gzip bomb", REFUSED, _bomb, ("unpacks to far more than its header claims", _HDR)),
    Case("16", "unknown type of voxels", REFUSED, lambda m: m.nifti(datatype=9999), ("unknown type of voxels", _HDR)),
    Case("17", ".hdr without .img", REFUSED, _pair_without_voxels, ("scan.img is missing", "Copy both files")),
    # the data
    Case("18", "4D with one frame", CORRECTED, _frames(1), ("4D with one frame; it is read as 3D",), same=True),
    Case("19a", "4D with several frames", REFUSED, _frames(2), ("it holds 2 volumes", "Choose one with --frame N")),
    Case(
        "19b", "4D with several frames and --frame", ACCEPTED, lambda m: [str(_frames(2)(m)), "--frame", "1"], same=True
    ),
    Case("20", "5D", REFUSED, _dims(4, 4, 4, 4, 2), ("it has 5 dimensions", "Give a 3D scan")),
    Case("21", "2D", REFUSED, _dims(32, 36), ("it is a flat picture", "Give a 3D scan")),
    Case("22", "RGB", REFUSED, lambda m: m.nifti(datatype=128), ("colour picture (RGB)", "Give the scan itself")),
    Case("23", "complex numbers", REFUSED, lambda m: m.nifti(datatype=32), ("complex numbers", "magnitude image")),
    Case("24a", "NaN and Inf in some voxels", CORRECTED, lambda m: m.changed(_spoil(0.01)), ("NaN or Inf in",)),
    Case(
        "24b",
        "NaN around a head in more than half, as SPM writes it",
        CORRECTED,
        lambda m: m.changed(lambda d: _strip(d, np.nan)),
        ("NaN or Inf around the head", "were taken as background"),
    ),
    Case(
        "24c",
        "NaN and Inf scattered over more than half",
        REFUSED,
        lambda m: m.changed(_spoil(0.6)),
        ("are NaN or Inf", _HDR),
    ),
    Case(
        "25",
        "constant",
        REFUSED,
        lambda m: m.changed(lambda d: d.fill(7)),
        ("all of its voxels are 7", "Give the scan"),
    ),
    Case(
        "26a",
        "negative values: whole scan shifted by -1024",
        CORRECTED,
        lambda m: m.changed(lambda d: np.subtract(d, 1024, out=d)),
        ("Negative intensities", "the darkest count as black"),
        same=True,
    ),
    Case(
        "26b",
        "intensities shifted by 32768 as unsigned integers",
        ACCEPTED,
        lambda m: m.changed(lambda d: np.add(d, 32768, out=d), np.uint16),
        same=True,
    ),
    Case(
        "26c",
        "background of one value within the head's intensities",
        CORRECTED,
        lambda m: m.changed(lambda d: _strip(d, 450)),
        ("The background (450) lies within the intensities", "was set to their darkest"),
    ),
    Case(
        "26d",
        "background far below the head's intensities",
        CORRECTED,
        lambda m: m.changed(lambda d: _strip(d, -9000)),
        ("The background (-9000) lies outside of the intensities", "was set to their darkest"),
    ),
    Case(
        "26e",
        "intensities at an offset that float32 cannot hold",
        CORRECTED,
        lambda m: m.nifti("scan.nii.gz", m.voxels(np.float64) + 1e12),
        ("were shifted to begin at 0",),
        same=True,
    ),
    Case("27a", "scl_slope 2: applied", ACCEPTED, lambda m: m.nifti(scl_slope=2), same=True),
    Case("27b", "scl_slope 0: none", ACCEPTED, lambda m: m.nifti(scl_slope=0, scl_inter=5), same=True),
    Case("27c", "scl_slope NaN: none", ACCEPTED, lambda m: m.nifti(scl_slope=np.nan), same=True),
    Case(
        "27d",
        "scl_slope infinite",
        WARNED,
        lambda m: m.nifti(scl_slope=np.inf),
        ("intensity scaling", "was ignored"),
        same=True,
    ),
    Case("28", "big-endian", CORRECTED, lambda m: m.nifti(big=True), ("The file is big-endian",), same=True),
    Case("29", "NIfTI-2", ACCEPTED, lambda m: m.nifti(version=2), same=True),
    Case(
        "30",
        "float64 up to 1e200",
        CORRECTED,
        lambda m: m.nifti("scan.nii.gz", m.voxels(np.float64) * 1e197),
        ("were multiplied by",),
    ),
    Case("31", "looks like a label map", WARNED, lambda m: m.changed(_flatten), ("looks like a label map or a mask",)),
    Case("32", "skull-stripped", ACCEPTED, lambda m: m.changed(_strip)),
    # the geometry
    Case(
        "33", "qform and sform disagree: sform wins", WARNED, _forms_disagree, ("the sform is used. sform",), same=True
    ),
    Case(
        "34",
        "qform and sform code 0",
        WARNED,
        lambda m: m.nifti(qform_code=0, sform_code=0),
        ("left and right are unknown",),
    ),
    Case("35a", "singular affine", REFUSED, _sform(lambda a: a[2].fill(0)), ("its affine is singular", "from DICOM")),
    Case("35b", "NaN in the affine", REFUSED, _sform(lambda a: a[1].fill(np.nan)), ("not numbers", "from DICOM")),
    Case(
        "36",
        "shear",
        CORRECTED,
        _sform(lambda a: np.add(a[:3, 1], 0.2 * a[:3, 0], out=a[:3, 1])),
        ("sheared by 11", "It was resampled to orthogonal axes"),
    ),
    Case("37a", "oblique: result on its own grid", ACCEPTED, lambda m: m.nifti("scan.nii.gz"), same=True),
    Case(
        "37b",
        "left-handed: result on its own grid",
        ACCEPTED,
        lambda m: m.nifti("scan.nii.gz", None, m.affine @ np.diag([-1.0, 1, 1, 1])),
    ),
    Case("38a", "lengths in metres", CORRECTED, _scaled(1e-3, 1), ("in metres; they were converted to mm",)),
    Case("38b", "lengths in micrometres", CORRECTED, _scaled(1e3, 3), ("in micrometres; they were converted to mm",)),
    Case(
        "39a",
        "voxels outside of 0.1 to 10 mm",
        REFUSED,
        lambda m: m.nifti("scan.nii", None, np.diag([6.0, 6, 12, 1])),
        ("its voxels are 6 x 6 x 12 mm", "--allow-odd-voxels"),
    ),
    Case(
        "39b",
        "the same with --allow-odd-voxels",
        ACCEPTED,
        lambda m: [str(m.nifti("scan.nii", None, np.diag([6.0, 6, 12, 1]))), "--allow-odd-voxels"],
    ),
    Case("40", "voxels of 0.5 x 0.5 x 5 mm", WARNED, _slices, ("anisotropic", "uncertain", "resampled from 0.50 x")),
    Case(
        "41",
        "tiny field of view; cut structures are named",
        WARNED,
        _cut_head,
        ("The field of view is small", "At the edge of the field of view and perhaps cut"),
    ),
    Case(
        "42a",
        "more than the memory: refused by its header, with what is needed",
        REFUSED,
        lambda m: [str(m.nifti("scan.nii.gz")), "--memory", "20MB"],
        ("it needs at least", "20MB are allowed", "Give --memory"),
    ),
    Case(
        "42b",
        "a budget that is enough is kept, in tiles",
        ACCEPTED,
        shown="tests/trust/test_memory.py::test_budget_is_kept_and_the_plan_is_met",
    ),
    Case(
        "43",
        "pixdim 0: volumes come from the affine",
        CORRECTED,
        lambda m: m.nifti("scan.nii.gz", qform_code=0, pixdim=[1, 0, 0, 0, 1, 1, 1, 1]),
        ("pixdim (0 0 0) is impossible",),
        same=True,
    ),
    # the system
    Case(
        "44a",
        "output not writable: refused before any work",
        REFUSED,
        exit=6,
        says=("not a folder|cannot be made",),
        shown=_faults("test_output_that_cannot_be_written_is_refused_before_the_model_is_loaded"),
    ),
    Case("44b", "read-only disk", REFUSED, exit=6, shown=_faults("test_read_only_disk_is_refused_before_any_work")),
    Case(
        "45",
        "disk full: temporary files removed",
        REFUSED,
        exit=6,
        shown=_faults("test_disk_that_fills_up_leaves_nothing_new"),
    ),
    Case(
        "46",
        "kill -9 at any moment: old file or new file",
        ACCEPTED,
        exit=137,
        shown=_faults("test_killed_segment_leaves_nothing_half_and_resume_finishes"),
    ),
    Case(
        "47",
        "two processes, one output: one wins",
        REFUSED,
        shown=_faults("test_two_processes_on_one_output_never_mix"),
    ),
    Case(
        "48",
        "GPU out of memory: smaller tiles, then the processor",
        CORRECTED,
        shown=_faults("test_gpu_out_of_memory_ends_on_the_processor_with_the_same_labels"),
    ),
    Case(
        "49",
        "host out of memory: this scan fails, the others go on",
        REFUSED,
        exit=3,
        shown=_faults("test_scan_beyond_the_memory_fails_alone"),
    ),
    Case("50a", "pickled weights", REFUSED, lambda m: m.pickled("model.pt"), ("pickled weights can run any code",), 5),
    Case(
        "50b",
        "pickled weights named .safetensors",
        REFUSED,
        lambda m: m.pickled("model.safetensors"),
        ("pickled weights can run any code",),
        5,
    ),
    Case(
        "51",
        "weights of another SHA-256: no fallback",
        REFUSED,
        lambda m: m.from_zoo(b"other weights"),
        ("SHA-256", "Delete it, then: lodbrain models get"),
        5,
    ),
    Case(
        "52",
        "offline: names the file and the cache",
        REFUSED,
        lambda m: m.from_zoo(None),
        ("elsewhere.safetensors", "could not be downloaded", "Put elsewhere.safetensors there; it comes from"),
        5,
    ),
    Case(
        "53a",
        "a model that names itself ../../x",
        REFUSED,
        lambda m: m.model_named("../../x"),
        ("which is not a plain file name",),
        5,
    ),
    Case(
        "53b",
        "a model with an absolute name",
        REFUSED,
        lambda m: m.model_named("/tmp/x"),
        ("which is not a plain file name",),
        5,
    ),
    Case(
        "53c",
        "zip-slip: archives of DICOM files are read one by one under names of our own; no other is unpacked",
        REFUSED,
        shown="tests/trust/test_source.py::test_no_archive_is_unpacked_but_file_by_file_under_names_of_our_own",
    ),
    Case(
        "53d",
        "BIDS labels such as ../../x",
        REFUSED,
        exit=2,
        shown="tests/trust/test_fuzz.py::test_participant_labels_that_are_no_labels_are_refused",
    ),
    Case("54a", "non-ASCII names and spaces", ACCEPTED, _deep("Größe 頭 [1]/scan é 頭.nii.gz"), same=True),
    Case("54b", "long names", ACCEPTED, _deep("n" * 230 + ".nii.gz"), same=True),
    Case(
        "54c",
        "names too long for their outputs",
        REFUSED,
        _deep("n" * 246 + ".nii.gz"),
        ("too long", "Rename the scan"),
    ),
    Case(
        "55a", "links in a circle", REFUSED, lambda m: m.linked("scan.nii.gz", "scan.nii.gz"), ("link", "datalad get")
    ),
    Case(
        "55b",
        "broken git-annex link",
        REFUSED,
        lambda m: m.linked("scan.nii.gz", ".git/annex/objects/x/MD5E-s1--2.nii.gz"),
        ("points to no file", "datalad get"),
    ),
    Case(
        "56",
        "input is output",
        REFUSED,
        Bench.output_that_is_input,
        ("this input would be overwritten", "Choose another"),
    ),
    Case(
        "57",
        "<script> in a name: kept as text, escaped in HTML",
        ACCEPTED,
        _deep("<script>alert(1)<script>.nii.gz"),
        same=True,
    ),
    Case("58", "input changed during the run", WARNED, shown=_faults("test_input_changed_during_the_run_is_noted")),
    Case(
        "59",
        "SIGTERM: finish or roll back",
        ACCEPTED,
        exit=143,
        shown=_faults("test_terminated_segment_leaves_nothing_half_and_resume_finishes"),
    ),
    Case(
        "60", "clock, locale, umask: no effect", ACCEPTED, shown=_faults("test_clock_locale_and_umask_change_no_byte")
    ),
    Case("61", "no brain in it", REFUSED, _noise, ("no brain found", "check that it is a T1w scan of a head")),
)
