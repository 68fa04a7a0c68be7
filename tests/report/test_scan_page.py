import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images import Image, write_nifti
from lodbrain.report.scan_page import ensure_page, is_up_to_date, scan_page, write_scan_page
from lodbrain.report.sidecars import ScanResults, read_results
from lodbrain.segmentation.usual_volumes import reference_of, references


@pytest.fixture
def own(segmented: Path, tmp_path: Path) -> ScanResults:
    """A copy of the results that may be changed."""
    shutil.copytree(segmented, tmp_path / "own")
    return read_results(tmp_path / "own" / "head_dseg.json")


def change(results: ScanResults, **content: object) -> ScanResults:
    results.path.write_text(json.dumps({**results.content, **content}))
    return read_results(results.path)


def test_the_page_says_what_the_files_say(head: ScanResults) -> None:
    html = scan_page(head, head.path.with_name("head.nii.gz"))
    text = re.sub(r"[ \n]+", " ", re.sub(r"<[^>]*>", " ", html.split("<main", 1)[1].split("</main>")[0]))
    assert head.content["model"]["sha256"] in text and head.content["input"]["sha256"] in text
    assert "For research, not a medical device" in html
    volumes = head.volumes_mm3()
    for name in ("Left-Putamen", "Right-Thalamus", "Brain-Stem", "brain"):
        assert f"{volumes[name] / 1000:,.2f}".replace(",", "\u202f") in text
    assert len(re.findall(r'<img class="lines"', html)) == 24
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    assert {label["index"] for label in data["labels"]} == {label.index for label in head.table()}


def test_notes_and_reasons_are_listed_and_counted(own: ScanResults) -> None:
    changed = change(own, notes=["NaN in 0.1% of the voxels were set to 0."], quality={"reasons": ["cut at the <top>"]})
    html = scan_page(changed, own.path.with_name("head.nii.gz"))
    assert "<li>NaN in 0.1% of the voxels were set to 0.</li>" in html and "<li>cut at the &lt;top&gt;</li>" in html
    assert "1 note<" in html and "1 QC warning" in html


def test_scripts_in_names_notes_and_labels_stay_text(own: ScanResults) -> None:
    evil = "</script><script>alert(1)</script>"
    table = own.path.with_name("head_dseg.tsv")
    table.write_text(table.read_text().replace("Left-Thalamus", evil))
    volumes = own.path.with_name("head_volumes.tsv")
    volumes.write_text(volumes.read_text().replace("Left-Thalamus", evil))
    changed = change(own, input={"name": evil}, notes=[evil], quality={evil: evil}, version=evil, model={"name": evil})
    html = scan_page(changed, own.path.with_name("head.nii.gz"))
    assert "<script>alert" not in html and "alert(1)" in html


def test_a_page_is_made_anew_only_if_its_results_have_changed(own: ScanResults) -> None:
    scan = own.path.with_name("head.nii.gz")
    assert not is_up_to_date(own)
    page = ensure_page(own.path, scan)
    assert page == own.page and is_up_to_date(own)
    page.write_bytes(page.read_bytes() + b" ")
    assert ensure_page(own.path, scan).read_bytes().endswith(b" ")
    changed = change(own, notes=["new"])
    assert not is_up_to_date(changed)
    assert b"<li>new</li>" in ensure_page(own.path, scan).read_bytes()


def test_without_the_scan_labels_are_shown_and_the_page_is_never_up_to_date(own: ScanResults) -> None:
    html = write_scan_page(own, None).read_text()
    assert "The scan was not found" in html
    assert not is_up_to_date(own)


def test_a_scan_of_another_grid_is_refused(own: ScanResults, tmp_path: Path) -> None:
    data = np.ones((5, 6, 7), np.float32)
    write_nifti(tmp_path / "other.nii.gz", data, Image(data, np.eye(4)))
    with pytest.raises(InputError, match="grid"):
        scan_page(own, tmp_path / "other.nii.gz")


def test_a_lost_table_of_volumes_is_counted_from_the_labels(own: ScanResults) -> None:
    before = own.volumes_mm3()["Left-Putamen"]
    own.path.with_name("head_volumes.tsv").unlink()
    html = scan_page(own, own.path.with_name("head.nii.gz"))
    assert f"Left putamen: {before / 1000:.2f} ml" in html


def test_the_same_results_give_the_same_page(head: ScanResults) -> None:
    scan = head.path.with_name("head.nii.gz")
    assert scan_page(head, scan) == scan_page(head, scan)


def test_the_tiv_of_a_stripped_scan_is_shown_as_limited_and_not_judged(own: ScanResults) -> None:
    assert list(own.volume_notes()) == ["TIV"]  # the template is skull-stripped
    html = scan_page(own, None)
    assert "Intracranial, in the mask" in html
    row = re.search(r"Intracranial volume \(TIV\), limited by the mask.*?</tr>", html, re.DOTALL)
    assert row is not None
    assert re.search(r'<td class="num usual"></td>', row[0])
    table = own.path.with_name("head_volumes.tsv")
    table.write_text(table.read_text().replace("limited by the mask of the skull-stripped input", "n/a"))
    html = scan_page(own, None)
    assert "limited by the mask" not in html.split('id="volumes"')[1]
    assert "Intracranial, in the mask" not in html


def test_volumes_out_of_the_ordinary_are_named_beside_the_checks(own: ScanResults) -> None:
    table = own.path.with_name("head_volumes.tsv")
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    brain = math.exp(references()["brain"].mean_log)
    for line in lines[1:]:
        if reference := reference_of(line[1], {"brain": brain}):
            line[2] = f"{math.exp(reference[0].mean_log) * reference[1]:.3f}"  # all are usual
    usual = "\n".join("\t".join(line) for line in lines)
    table.write_text(usual)
    calm = change(own, quality={"score": 0.9, "reasons": []})
    html = scan_page(calm, None)
    assert "There are no QC warnings." in html
    assert "outside the usual range" not in html
    line = next(line for line in lines if line[1] == "Left-Pallidum")
    table.write_text(usual.replace("\t".join(line), "\t".join([*line[:2], str(2 * float(line[2])), *line[3:]])))
    assert "outside the usual range" in scan_page(calm, None)
    assert "Left pallidum (high)" in scan_page(calm, None)
