from pathlib import Path

from lodbrain.system.hashing import sha256, sha256_of


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (sha256_of(b"abc"), sha256(tmp_path / "a.nii")) == (expected, expected)


def test_a_pair_is_hashed_header_first(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"a")
    (tmp_path / "a.img").write_bytes(b"bc")
    assert sha256(tmp_path / "a.hdr") == sha256(tmp_path / "a.img") == sha256_of(b"abc")
