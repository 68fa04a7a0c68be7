import base64
import gzip
import hashlib
import json
import re
from importlib import resources

import pytest

from lodbrain.report.pages import number, render


def page(name: str = "a", data: object = None) -> str:
    return render(
        "group.html", scripts=("group.js",), data=data, title=name, subtitle="", facts=[], broken=[name], outliers=[],
        more_outliers=0, rule="", spreads=[], hidden_dots=False, reference="", columns=[], scans=[],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ alert(1) }}"])
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    html = page(name)
    assert "<script>alert" not in html and "<img" not in html
    assert html.count("alert(1)") == 3  # in the title, the heading, and the list of what could not be shown


def test_data_for_scripts_cannot_end_their_element_and_come_back_as_they_were() -> None:
    data = {"a": "</script><script>alert(1)</script><!--", "b": "\u2028&<>", "c": [1.5, None]}
    html = page(data=data)
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert text is not None and "<" not in text[1]
    assert json.loads(text[1]) == data


def test_the_policy_lets_the_page_s_own_scripts_run_and_reach_nothing() -> None:
    html = page()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].replace("&#39;", "'").split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert len(scripts) == 1 and rules["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)
    assert (rules["default-src"], rules["connect-src"]) == ("'none'", "data:")


def test_the_viewer_is_the_published_one() -> None:
    folder = resources.files("lodbrain").joinpath("resources", "viewer")
    wanted = json.loads(folder.joinpath("niivue.json").read_text(encoding="utf-8"))
    code = folder.joinpath("niivue.umd.js").read_bytes()
    assert hashlib.sha256(code).hexdigest() == wanted["sha256"]
    assert b"</script" not in code
    html = render(
        "group.html", scripts=(), viewer=True, title="", subtitle="", facts=[], broken=[], outliers=[],
        more_outliers=0, rule="", spreads=[], hidden_dots=False, reference="", columns=[], scans=[],
    )  # fmt: skip
    packed = re.search(r'<script type="text/plain" id="niivue">(.*?)</script>', html, re.DOTALL)
    assert packed is not None and gzip.decompress(base64.b64decode(packed[1])) == code
    assert len(packed[1]) < 1_100_000


def test_numbers_are_set_with_thin_spaces_and_a_true_minus() -> None:
    assert [number(1234567.891, 2), number(-0.5)] == ["1\u202f234\u202f567.89", "\u22120.5"]
