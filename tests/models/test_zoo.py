import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lodbrain.errors import OutputError, UsageError, WeightsError
from lodbrain.models import zoo
from lodbrain.models.consensus import Consensus
from lodbrain.models.lod_brain_2024 import LodBrain2024
from lodbrain.models.registry import REGISTRY
from lodbrain.models.zoo import Card
from lodbrain.system.http import Client, PermanentFailure, TemporaryFailure

PUBLISHED = zoo.card("lod-brain-2024")


@pytest.fixture
def card() -> Card:
    return dataclasses.replace(
        PUBLISHED, name="mine", file="mine.safetensors", sha256="", url="", dice={"a": {"b": 0.5}}
    )


@pytest.fixture
def saved(card: Card, lod_brain_2024: LodBrain2024, tmp_path: Path) -> Path:
    zoo.save(tmp_path / "mine.safetensors", card, lod_brain_2024.state_dict())
    return tmp_path / "mine.safetensors"


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*args: object, **kwargs: object) -> None:
        raise AssertionError("this must not be downloaded")

    monkeypatch.setattr(Client, "open", get)


def code_of(name_or_file: object) -> str:
    with pytest.raises(WeightsError) as caught:
        zoo.load(name_or_file)  # type: ignore[arg-type]
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_every_card_bears_its_file_name_and_a_sha256() -> None:
    for path in zoo.MODELS.glob("*.json"):
        card = zoo.cards()[path.stem]
        if shares := zoo.members(card):
            assert all(zoo.locate(zoo.card(member)) for member in shares)
            continue
        assert len(bytes.fromhex(card.sha256)) == 32
        assert card.architecture in REGISTRY
        assert card.url or (zoo.MODELS / card.file).is_file()


def test_published_model_is_in_the_package_and_says_which_file_it_was_converted_from() -> None:
    origin = PUBLISHED.training["converted_from"]
    assert origin["sha256"] == "0a88ff21d1f05643b31126ae9b736230cb4d4edd2478fe9bb26f4bd39975d623"
    assert "/b1f46e5e511ee6a5e85d6e0d0a79e0afe160f5cc/" in origin["url"]
    assert (PUBLISHED.labels, PUBLISHED.licence) == ("tissue", "MIT")
    assert zoo.locate(PUBLISHED) == zoo.MODELS / "lod-brain-2024.safetensors"


def test_card_survives_json(card: Card) -> None:
    assert Card.from_json(card.to_json(), Path("card.json")) == card


def test_card_of_a_later_version_is_read_without_its_new_fields(card: Card) -> None:
    assert Card.from_json(card.to_json().replace('"name"', '"later": 1, "name"', 1), Path("card.json")) == card


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"name": "x"}', "lacks a str named 'architecture'"),
        (PUBLISHED.to_json().replace("337719", '"many"'), "lacks a int named 'parameters'"),
        (PUBLISHED.to_json().replace('"tissue"', '"lobes"'), "labels 'lobes'"),
    ],
)
def test_wrong_card_is_refused_and_says_why(text: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        Card.from_json(text, Path("card.json"))


def test_saved_model_loads_with_its_card_and_its_weights(
    card: Card, lod_brain_2024: LodBrain2024, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    size, digest = zoo.save(path, card, lod_brain_2024.state_dict())
    assert path.stat().st_size == size
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    loaded, network = zoo.load(path)
    assert loaded == dataclasses.replace(card, sha256=digest)
    assert not network.training
    x = torch.randn(1, 1, 8, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(x), lod_brain_2024(x))
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]


def test_saving_twice_gives_the_same_bytes(card: Card, lod_brain_2024: LodBrain2024, tmp_path: Path) -> None:
    first = zoo.save(tmp_path / "a.safetensors", card, lod_brain_2024.state_dict())
    assert zoo.save(tmp_path / "b.safetensors", card, lod_brain_2024.state_dict()) == first


def test_old_model_stays_whole_when_saving_fails(card: Card, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        zoo.save(saved, card, {"a": torch.ones(1)})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_into_a_missing_folder_is_an_output_error(card: Card, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        zoo.save(tmp_path / "none" / "a.safetensors", card, {})
    assert caught.value.exit_code == 6


def test_weights_are_found_in_the_package_before_the_cache(
    saved: Path, card: Card, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_cache / "mine").mkdir()
    cached = own_cache / "mine" / "mine.safetensors"
    cached.write_bytes(saved.read_bytes())
    assert zoo.locate(card) == cached
    monkeypatch.setattr(zoo, "MODELS", saved.parent)
    assert zoo.locate(card) == saved


def test_named_model_with_the_right_sha256_loads(saved: Path, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    named = dataclasses.replace(card, sha256=hashlib.sha256(saved.read_bytes()).hexdigest())
    (saved.parent / "mine.json").write_text(named.to_json())
    monkeypatch.setattr(zoo, "MODELS", saved.parent)
    assert zoo.load("mine")[0] == named


@pytest.mark.usefixtures("no_download", "elsewhere")
def test_wrong_sha256_is_refused_without_fallback_or_parsing(own_cache: Path) -> None:
    path = own_cache / "elsewhere" / "elsewhere.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"other weights")
    assert code_of("elsewhere") == "sha256"
    assert path.read_bytes() == b"other weights"


@pytest.fixture
def server(elsewhere: Card, monkeypatch: pytest.MonkeyPatch) -> list[bytes | Exception]:
    """What the publisher's server answers, one after the other; what is left was not asked for."""
    answers: list[bytes | Exception] = []

    @contextmanager
    def get(self: object, url: str) -> Iterator[SimpleNamespace]:
        assert url == elsewhere.url
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield SimpleNamespace(headers={}, iter_content=lambda size: [answer])

    monkeypatch.setattr(Client, "open", get)
    monkeypatch.setattr(Client, "pause", lambda self, failures, wait_s: None)
    return answers


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ([TemporaryFailure("no connection")] * 3, "no connection"),
        ([TemporaryFailure("HTTP 503")] * 3, "HTTP 503"),
        ([PermanentFailure("HTTP 404")], "HTTP 404"),
        ([b"another file"], "is not the published file"),
    ],
)
def test_weights_that_cannot_be_downloaded_are_named_with_where_to_put_them(
    own_cache: Path, elsewhere: Card, server: list[bytes | Exception], answers: list[bytes | Exception], word: str
) -> None:
    server += answers
    with pytest.raises(WeightsError, match=word) as caught:
        zoo.load("elsewhere")
    assert caught.value.code == "missing"
    assert str(own_cache / "elsewhere" / "elsewhere.safetensors") in str(caught.value)
    assert f"Put elsewhere.safetensors there; it comes from {elsewhere.url}" in str(caught.value)
    assert server == []  # tried as often as it may help, and no more
    assert list((own_cache / "elsewhere").iterdir()) == []


def test_download_is_tried_again_and_its_hash_is_checked_before_it_enters_the_cache(
    own_cache: Path, elsewhere: Card, server: list[bytes | Exception]
) -> None:
    published = dataclasses.replace(elsewhere, sha256=hashlib.sha256(b"weights").hexdigest())
    server += [TemporaryFailure("HTTP 502"), TemporaryFailure("the connection broke off"), b"weights"]
    path = zoo.fetch(published)
    assert path == own_cache / "elsewhere" / "elsewhere.safetensors"
    assert path.read_bytes() == b"weights"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_under_the_cache_is_an_output_error(elsewhere: Card, server: list[bytes | Exception]) -> None:
    server.append(OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="the disk is full"):
        zoo.fetch(elsewhere)


@pytest.mark.usefixtures("no_download")
def test_weights_that_are_published_nowhere_are_not_looked_for(card: Card) -> None:
    with pytest.raises(WeightsError, match="the weights of mine are not here"):
        zoo.fetch(card)


def test_unknown_name_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"no model named 'lod-brian'.*lod-brain-2024") as caught:
        zoo.load("lod-brian")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [("m.pt", "pickle"), ("m.pth", "pickle"), ("m.ckpt", "pickle"), ("m.pkl", "pickle"), ("m.h5", "format")],
)
def test_pickled_and_foreign_model_files_are_refused(tmp_path: Path, name: str, code: str) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / name) if code == "pickle" else (tmp_path / name).write_bytes(b"\x89HDF")
    assert code_of(tmp_path / name) == code


def test_model_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert code_of(tmp_path / "none.safetensors") == "missing"
    assert code_of(tmp_path) == "missing"


def test_safetensors_without_a_card_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "bare.safetensors")
    assert code_of(tmp_path / "bare.safetensors") == "card"


@pytest.mark.parametrize("change", [{"name": "../../x"}, {"file": "/etc/x"}, {"name": ".."}, {"file": "a\\b"}])
def test_card_whose_names_lead_elsewhere_is_refused(
    card: Card, lod_brain_2024: LodBrain2024, tmp_path: Path, change: dict[str, str]
) -> None:
    path = tmp_path / "mine.safetensors"
    zoo.save(path, dataclasses.replace(card, **change), lod_brain_2024.state_dict())
    assert code_of(path) == "card"


@pytest.mark.parametrize(
    "change",
    [{"parameters": 337_718}, {"architecture": "u-net"}, {"config": {"channels": 3}}, {"config": {"dropout": 7.0}}],
)
def test_card_that_does_not_describe_its_network_is_refused(
    card: Card, lod_brain_2024: LodBrain2024, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "mine.safetensors"
    zoo.save(path, dataclasses.replace(card, **change), lod_brain_2024.state_dict())
    assert code_of(path) == "card"


@pytest.mark.parametrize("told", [1, 2])
def test_card_that_asks_for_more_memory_than_its_file_can_fill_is_refused_before_it_is_taken(
    card: Card, tmp_path: Path, told: int
) -> None:
    greedy = {"levels": [{"exponent": 2, "channels": [200_000, 400_000]}]}
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in REGISTRY["lod"].build(greedy).parameters())
    assert size > 10**12
    path = tmp_path / "mine.safetensors"
    parameters = size if told > 1 else told
    bad = dataclasses.replace(card, architecture="lod", labels="structures", config=greedy, parameters=parameters)
    zoo.save(path, bad, {"a": torch.ones(1)})
    assert code_of(path) == "card"


def test_weights_of_another_architecture_are_refused(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    zoo.save(path, card, {"a": torch.ones(400_000)})
    assert code_of(path) == "tensors"


def test_published_weights_load_without_a_download() -> None:
    card, network = zoo.load("lod-brain-2024")
    assert card == PUBLISHED
    assert not network.training
    assert sum(parameter.numel() for parameter in network.parameters()) == 337_719


def test_a_consensus_loads_its_members_and_is_known_by_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    card, network = zoo.load("accurate")
    assert isinstance(network, Consensus)
    assert network.weight == zoo.members(card)["lod-brain-2024"]
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    other = dataclasses.replace(
        zoo.card("accurate"), config={"members": list(zoo.members(card)), "weights": [0.9, 0.1]}
    )
    known = {**zoo.cards(), "accurate": other}
    monkeypatch.setattr(zoo, "cards", lambda: known)
    assert zoo.load("accurate")[0].sha256 != card.sha256


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "names no members"),
        ({"members": ["default", "default"], "weights": [0.5, 0.5]}, "members must be two"),
        ({"members": ["default", "lod-brain-2024"], "weights": [1.5, -0.5]}, "weights above 0"),
        ({"members": ["lod-brain-2024", "default"], "weights": [0.5, 0.5]}, "must be a ladder and LOD-Brain's network"),
    ],
)
def test_a_consensus_of_the_wrong_members_is_refused(
    config: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**zoo.cards(), "accurate": dataclasses.replace(zoo.card("accurate"), config=config)}
    monkeypatch.setattr(zoo, "cards", lambda: known)
    with pytest.raises(WeightsError, match=said) as caught:
        zoo.load("accurate")
    assert caught.value.code == "card"
