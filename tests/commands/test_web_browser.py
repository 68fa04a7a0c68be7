"""The page that segments in a browser, as a visitor meets it, beside the command line."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from headless import WEBGPU_FLAGS, RendererMemory, Visit, headless_browser, launched
from tiny_model import AFFINE, head, save_tiny_model

from lodbrain.commands import web
from lodbrain.images import Image, read_image, write_nifti
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 60_000
#: A head of 1 mm in WebAssembly, on a machine that does other things as well.
REAL_PATIENCE_MS = 900_000
#: What the browser itself says of a machine without a graphics card.
OF_THE_BROWSER = ("GPU stall", "No available adapters")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless_browser() as started:
        yield started


@pytest.fixture(scope="module")
def webgpu_browser(browser: Any) -> Iterator[Any]:
    """With WebGPU computed in software."""
    with launched(browser.browser_type, *WEBGPU_FLAGS) as started:
        yield started


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Builds the page with a model and serves it; returns its address."""
    if shutil.which("npm") is None or not (web.SOURCE / "node_modules").is_dir():
        pytest.skip("the packages of the page are not installed: run npm ci in web/")
    servers: dict[str, Any] = {}

    def served(model: str) -> str:
        if model not in servers:
            folder = tmp_path_factory.mktemp("page")
            web.build_page(folder, model)
            servers[model] = web.make_server(folder)
            threading.Thread(target=servers[model].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[model].server_port}/"

    yield served
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a tiny head, and what the command line makes of it."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder / "tiny.safetensors")
    write_nifti(folder / "head.nii.gz", head(), Image(head(), AFFINE))
    segment_file(folder / "head.nii.gz", folder / "out", Settings(model=str(folder / "tiny.safetensors")))
    return folder


class AppVisit(Visit):
    """The open page that segments scans."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        super().__init__(browser, url, patience_ms=PATIENCE_MS, **{"accept_downloads": True, **options})
        self.enters("empty")
        self.loaded = len(self.requests)

    def _hear(self, message: Any) -> None:
        words = message.text
        if message.type in ("error", "warning") and not any(known in words for known in OF_THE_BROWSER):
            self.complaints.append(words)

    @property
    def requests_after_loading(self) -> list[str]:
        return [url for url in self.requests[self.loaded :] if not url.startswith(("blob:", "data:"))]

    def enters(self, state: str, patience_ms: int = PATIENCE_MS) -> None:
        self.page.wait_for_selector(f'body[data-state="{state}"]', timeout=patience_ms)

    def finishes(self, patience_ms: int = PATIENCE_MS) -> None:
        self.page.wait_for_selector('body:is([data-state="done"], [data-state="error"])', timeout=patience_ms)
        assert self.page.get_attribute("body", "data-state") == "done", self.page.inner_text("#error")

    def give(self, *files: Path) -> None:
        self.page.set_input_files("#file", [str(file) for file in files])

    def drop(self, path: Path) -> None:
        """As a person drops a file or folder from the desktop."""
        session = self.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 150, "data": data})

    def save(self, what: str, folder: Path) -> Path:
        with self.page.expect_download() as download:
            self.page.click(f"#save-{what}")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


@pytest.fixture
def visit(browser: Any, build: Callable[[str], str], tiny: Path) -> Iterator[AppVisit]:
    opened = AppVisit(browser, build(str(tiny / "tiny.safetensors")))
    yield opened
    opened.context.close()


def _differing(found: Path, expected: Path) -> float:
    one, other = nib.load(found), nib.load(expected)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
    assert one.get_data_dtype() == other.get_data_dtype()
    return float(np.mean(np.asarray(one.dataobj) != np.asarray(other.dataobj)))


def test_labels_volumes_and_record_are_the_command_line_s(visit: AppVisit, tiny: Path, tmp_path: Path) -> None:
    visit.give(tiny / "head.nii.gz")
    visit.finishes()
    labels, tsv, record = (visit.save(what, tmp_path) for what in ("labels", "tsv", "json"))
    assert [path.name for path in (labels, tsv, record)] == ["head_dseg.nii.gz", "head_volumes.tsv", "head_dseg.json"]
    assert _differing(labels, tiny / "out" / "head_dseg.nii.gz") <= 1e-3
    rows, expected = (
        [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (tsv, tiny / "out" / "head_volumes.tsv")
    )
    assert [(row[0], row[1], row[6]) for row in rows] == [(row[0], row[1], row[6]) for row in expected]
    for column in (2, 3):
        np.testing.assert_allclose(
            [float(row[column]) for row in rows[1:]], [float(row[column]) for row in expected[1:]], rtol=1e-2, atol=1000
        )
    content = json.loads(record.read_text(encoding="utf-8"))
    command_line = json.loads((tiny / "out" / "head_dseg.json").read_text(encoding="utf-8"))
    assert content["model"] == command_line["model"] and content["input"] == command_line["input"]
    assert content["purpose"] == "for research, not a medical device"
    assert visit.complaints == [] and visit.requests_after_loading == []


@pytest.mark.parametrize("dropped", ["file", "folder"])
def test_a_dropped_freesurfer_file_gets_the_labels_of_the_command_line(
    visit: AppVisit, tiny: Path, tmp_path: Path, dropped: str
) -> None:
    scan = tmp_path / "folder" / "orig.mgz"
    scan.parent.mkdir()
    nib.save(nib.MGHImage(head(seed=1).astype(np.int16), AFFINE), scan)
    expected = segment_file(scan, tmp_path / "out", Settings(model=str(tiny / "tiny.safetensors")))
    visit.drop(scan if dropped == "file" else scan.parent)
    visit.finishes()
    assert _differing(visit.save("labels", tmp_path), expected.outputs.labels) <= 1e-3
    assert visit.complaints == [] and visit.requests_after_loading == []


def test_webgpu_gives_the_labels_of_the_command_line(
    webgpu_browser: Any, build: Callable[[str], str], tiny: Path, tmp_path: Path
) -> None:
    visit = AppVisit(webgpu_browser, build(str(tiny / "tiny.safetensors")) + "?device=webgpu")
    assert "WebGPU (" in visit.page.inner_text("#about")
    visit.give(tiny / "head.nii.gz")
    visit.finishes(REAL_PATIENCE_MS)
    assert _differing(visit.save("labels", tmp_path), tiny / "out" / "head_dseg.nii.gz") <= 1e-3
    assert json.loads(visit.save("json", tmp_path).read_text())["execution"]["device"].startswith("browser, WebGPU (")
    assert "WebGPU" not in visit.page.inner_text("#notes")
    assert visit.complaints == [] and visit.requests_after_loading == []
    visit.context.close()


def test_webgpu_in_software_is_not_used_unasked(webgpu_browser: Any, build: Callable[[str], str], tiny: Path) -> None:
    visit = AppVisit(webgpu_browser, build(str(tiny / "tiny.safetensors")))
    assert "WebAssembly." in visit.page.inner_text("#about")
    assert not any("webgpu" in url for url in visit.requests)
    visit.context.close()


#: The page takes it for a graphics processor; its worker finds none.
PRETENDED_GPU = """Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => ({
    info: { vendor: "pretended", architecture: "", isFallbackAdapter: false },
    limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 },
}) } })"""


def test_where_webgpu_fails_webassembly_computes(
    browser: Any, build: Callable[[str], str], tiny: Path, tmp_path: Path
) -> None:
    visit = AppVisit(browser, build(str(tiny / "tiny.safetensors")), script=PRETENDED_GPU)
    assert "WebGPU (pretended)" in visit.page.inner_text("#about")
    visit.give(tiny / "head.nii.gz")
    visit.finishes()
    assert _differing(visit.save("labels", tmp_path), tiny / "out" / "head_dseg.nii.gz") <= 1e-3
    record = json.loads(visit.save("json", tmp_path).read_text())
    assert record["execution"]["device"] == "browser, WebAssembly"
    assert [note for note in record["notes"] if "WebGPU failed" in note and "computed with WebAssembly" in note]
    assert "WebAssembly." in visit.page.inner_text("#about")
    assert visit.requests_after_loading == []
    visit.context.close()


def test_after_loading_neither_page_nor_worker_can_send_anything(visit: AppVisit, tiny: Path) -> None:
    send = f"() => fetch('{visit.page.url}').then(() => 'sent', () => 'refused')"
    assert visit.page.evaluate(send) == "refused"
    with visit.page.expect_worker() as worker:
        visit.give(tiny / "head.nii.gz")
    assert worker.value.evaluate(send) == "refused"
    assert visit.requests_after_loading == []


def test_a_click_on_a_structure_moves_the_cross_hair_into_it(visit: AppVisit, tiny: Path) -> None:
    visit.give(tiny / "head.nii.gz")
    visit.finishes()
    buttons = visit.page.locator("#rows button")
    assert buttons.count() > 5
    for number in (0, 3, 5):
        buttons.nth(number).click()
        assert visit.page.get_attribute("#where", "data-index") == buttons.nth(number).get_attribute("data-index")


def test_a_computation_can_be_cancelled_and_another_started(visit: AppVisit, tiny: Path) -> None:
    visit.give(tiny / "head.nii.gz")
    visit.page.click("#cancel")
    visit.enters("empty")
    assert visit.page.evaluate("() => document.activeElement.id") == "choose"
    visit.give(tiny / "head.nii.gz")
    visit.finishes()
    visit.page.click("#again")
    visit.enters("empty")
    assert visit.complaints == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\x1f\x8b damaged", "is damaged"), (b"x" * 500, "neither NIfTI nor MGH"), (b"", "too short for a scan")],
)
def test_what_cannot_be_read_is_told_in_words(visit: AppVisit, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(content)
    visit.give(tmp_path / "scan.nii.gz")
    visit.enters("error")
    text = visit.page.inner_text("#error")
    assert text.startswith("scan.nii.gz: The file ") and words in text and text.endswith(".")
    assert visit.page.is_visible("#choose") and visit.complaints == []


def test_a_scan_that_memory_cannot_hold_is_refused_before_it_is_computed(
    browser: Any, build: Callable[[str], str], tiny: Path
) -> None:
    little = 'Object.defineProperty(navigator, "deviceMemory", { value: 0.25 })'
    visit = AppVisit(browser, build(str(tiny / "tiny.safetensors")), script=little)
    visit.give(tiny / "head.nii.gz")
    visit.enters("error")
    text = visit.page.inner_text("#error")
    words = r"head\.nii\.gz: The scan needs about 0\.\d GB of memory, the browser reports 0\.3 GB\. Use a computer .+"
    assert re.fullmatch(words, text), text
    assert visit.page.inner_text("#where") == ""  # the viewer has not been given the scan
    visit.context.close()


def test_a_volume_of_a_4d_file_is_chosen_and_gets_the_labels_of_the_command_line(
    visit: AppVisit, tiny: Path, tmp_path: Path
) -> None:
    both = np.stack([head(seed=2), head()], axis=-1)
    nib.save(nib.Nifti1Image(both, AFFINE), tmp_path / "both.nii.gz")
    visit.give(tmp_path / "both.nii.gz")
    visit.enters("choosing")
    assert visit.page.inner_text("#volume-text") == "both.nii.gz: The file holds 2 volumes."
    visit.page.fill("#volume-number", "2")
    visit.page.click("#volume-go")
    visit.enters("choosing")  # there is no volume 2
    visit.page.fill("#volume-number", "1")
    visit.page.click("#volume-go")
    visit.finishes()
    assert _differing(visit.save("labels", tmp_path), tiny / "out" / "head_dseg.nii.gz") <= 1e-3
    record = json.loads(visit.save("json", tmp_path).read_text())
    assert record["input"]["volume"] == 1 and "Volume 1 of 0 to 1 was taken." in record["notes"]
    assert visit.complaints == [] and visit.requests_after_loading == []


def test_a_scan_without_a_brain_is_told_in_words(visit: AppVisit, tmp_path: Path) -> None:
    air = np.random.default_rng(1).normal(100, 1, (8, 8, 8)).astype(np.float32)
    write_nifti(tmp_path / "air.nii.gz", air, Image(air, np.diag([2.0, 2.0, 2.0, 1.0])))
    visit.give(tmp_path / "air.nii.gz")
    visit.enters("error")
    assert "No brain was found in the scan" in visit.page.inner_text("#error")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(browser: Any, build: Callable[[str], str], tiny: Path, scheme: str) -> None:
    visit = AppVisit(
        browser, build(str(tiny / "tiny.safetensors")), viewport={"width": 360, "height": 740}, color_scheme=scheme
    )
    visit.give(tiny / "head.nii.gz")
    visit.finishes()
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    dark = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    assert dark == (scheme == "dark")
    visit.context.close()


@pytest.mark.data
@pytest.mark.parametrize("pooled", [1, 2])
def test_a_real_head_gets_the_labels_of_the_command_line(
    browser: Any,
    build: Callable[[str], str],
    data_dir: Path,
    tmp_path: Path,
    pooled: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = data_dir / "heads" / "philips_1mm_T1w.nii.gz"
    if pooled > 1:
        image = read_image(scan)
        x, y, z = (n // 2 for n in image.shape)
        half = image.data[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))
        affine = image.affine @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]])
        scan = tmp_path / "half.nii.gz"
        write_nifti(scan, half.astype(np.float32), Image(half, affine))
    started = time.monotonic()
    outcome = segment_file(scan, tmp_path / "out")
    command_line = time.monotonic() - started
    visit = AppVisit(browser, build("default"))
    started = time.monotonic()
    with RendererMemory() as memory:
        visit.give(scan)
        visit.finishes(REAL_PATIENCE_MS)
    seconds = time.monotonic() - started
    differing = _differing(visit.save("labels", tmp_path), outcome.outputs.labels)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{pooled} mm: {seconds:.0f} s in the browser, {command_line:.0f} s on the command line; "
            f"{memory.peak_bytes / 1e9:.2f} GB in the tab; labels differ in {differing:.1e} of the voxels"
        )
    assert differing <= 1e-3
    assert visit.complaints == [] and visit.requests_after_loading == []
    visit.context.close()


@pytest.mark.data
def test_a_dicom_file_is_converted_and_segmented(browser: Any, build: Callable[[str], str], data_dir: Path) -> None:
    files = sorted(path for path in (data_dir / "dicom" / "xa30_T1w_2mm").rglob("*") if path.is_file())
    visit = AppVisit(browser, build("default"))
    visit.give(*files)
    visit.finishes(REAL_PATIENCE_MS)
    brain = visit.page.locator("#rows tr", has_text="brain").last.locator("td").first.inner_text()
    assert 900 < float(brain) < 1800
    assert visit.complaints == [] and visit.requests_after_loading == []
    visit.context.close()
