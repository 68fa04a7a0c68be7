"""Archives that mean harm, or are damaged."""

import zipfile
from pathlib import Path

import pytest

from lodbrain.errors import InputError
from lodbrain.images.dicom_source import archive_source, folder_source


def test_names_in_an_archive_are_no_paths(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../evil", "/etc/evil", "good"):
            archive.writestr(name, name)
    source = archive_source(tmp_path / "a.zip")
    (tmp_path / "out").mkdir()
    with source.opened() as files:
        staged = files.stage(source.names, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in staged] == [
        "000001.dcm", "000002.dcm", "000003.dcm",
    ]  # fmt: skip
    assert [path.read_text() for path in staged] == ["../evil", "/etc/evil", "good"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_links_in_an_archive_are_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("file", "x")
    assert archive_source(tmp_path / "a.zip").names == ("file",)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(80 * 2**20))
    with pytest.raises(InputError, match="claims to hold 1 files of 83886080 bytes") as caught:
        archive_source(tmp_path / "a.zip")
    assert caught.value.code == "zip-bomb"


@pytest.mark.parametrize("cut", [10, 60])
def test_a_damaged_archive_is_refused(cut: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", bytes(1000))
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[:-cut])
    with pytest.raises(InputError, match=r"a\.zip: this zip archive is damaged"):
        archive_source(tmp_path / "a.zip")


def test_a_flipped_bit_in_an_archive_is_seen(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", bytes(1000))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[500] ^= 4
    (tmp_path / "a.zip").write_bytes(content)
    source = archive_source(tmp_path / "a.zip")
    with pytest.raises(InputError, match="this zip archive is damaged"), source.opened() as files:
        files.stage(source.names, tmp_path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", b"x")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="this archive is encrypted"):
        archive_source(tmp_path / "a.zip")


def test_files_of_a_folder_are_linked_not_copied(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "out").mkdir()
    with folder_source(tmp_path / "in", [tmp_path / "in" / "a"]).opened() as files:
        (staged,) = files.stage([str(tmp_path / "in" / "a")], tmp_path / "out")
    assert staged.is_symlink() and staged.read_text() == "a"
