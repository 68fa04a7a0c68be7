import re
from collections.abc import Callable
from pathlib import Path

from lodbrain.report.group_page import MOST_DOTS, group_page, write_group_page
from lodbrain.report.sidecars import ScanResults

Make = Callable[..., ScanResults]


def volumes(place: int) -> dict[str, float]:
    return {"Left-Putamen": 5000.0 + place, "Right-Putamen": 5000.0, "TIV": 1.5e6, "brain": 1.1e6 + 1000 * place}


def test_every_scan_has_a_row_with_its_numbers_and_a_link_if_it_has_a_page(make_results: Make, tmp_path: Path) -> None:
    group = [
        make_results(f"s {n}#%", volumes(n), tmp_path / "sub", execution={"seconds": {"total": 1.25}}) for n in range(3)
    ]
    group[1].page.write_text("page")
    html = group_page(tmp_path, group)
    assert html.count('href="./sub/s%201%23%25_report.html"') >= 1 and "s%200" not in html
    rows = re.findall(r"<tr><th scope=\"row\" data-sort=\"sub/s (\d)#%\">.*?</tr>", html, re.DOTALL)
    assert rows == ["0", "1", "2"]
    assert 'data-sort="1100">1\u202f100<' in html and 'data-sort="1102">1\u202f102<' in html
    assert 'data-sort="1.25">1.2<' in html


def test_medians_and_quartiles_are_those_of_the_scans(make_results: Make, tmp_path: Path) -> None:
    html = group_page(tmp_path, [make_results(f"s{n}", volumes(100 * n)) for n in range(5)])
    (row,) = re.findall(r'<th scope="row">Left putamen</th>(.*?)<span class="strip', html, re.DOTALL)
    assert re.findall(r">([^<>]+)<", row)[0] == "5.20" and "5.10 to 5.30" in row


def test_left_and_right_stand_side_by_side(make_results: Make, tmp_path: Path) -> None:
    order = {"Left-Caudate": 1.0, "Left-Putamen": 1.0, "Right-Caudate": 1.0, "Right-Putamen": 1.0, "brain": 9.0}
    html = group_page(tmp_path, [make_results("a", order)])
    spread = html.split('class="spread"')[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">([^<]+)<', spread) == [
        "Left caudate", "Right caudate", "Left putamen", "Right putamen", "Brain, all but CSF",
    ]  # fmt: skip


def test_many_scans_are_drawn_as_boxes_with_few_dots(make_results: Make, tmp_path: Path) -> None:
    few, many = (
        group_page(tmp_path, [make_results(f"s{n}", volumes(n)) for n in range(count)])
        for count in (MOST_DOTS, 3 * MOST_DOTS)
    )
    assert few.count('class="dot') >= 4 * MOST_DOTS > many.count('class="dot') and many.count('class="box"') == 4


def test_scripts_in_names_stay_text_and_links_stay_links(make_results: Make, tmp_path: Path) -> None:
    group = [make_results("<script>alert(1)<", volumes(0)), make_results("javascript:alert(1)", volumes(0))]
    for results in group:
        results.page.write_text("page")
    html = group_page(tmp_path, group, broken=["<script>alert(2)</script>"])
    assert "<script>alert" not in html
    assert 'href="./javascript%3Aalert%281%29_report.html"' in html


def test_a_group_of_nothing_says_so(tmp_path: Path) -> None:
    html = write_group_page(tmp_path, [], broken=["a: it cannot be read"]).read_text()
    assert "<li>a: it cannot be read</li>" in html and "There are no outliers." in html
