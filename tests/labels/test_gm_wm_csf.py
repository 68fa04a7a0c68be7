from lodbrain.labels import STRUCTURES
from lodbrain.labels.gm_wm_csf import GM_WM_CSF, GM_WM_CSF_OF_CLASS

#: FreeSurfer's numbers by tissue, as sMRIPrep 0.19.5 has them (`_aseg_to_three`), of the structures that we have.
SMRIPREP = {
    "GM": {3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58},
    "WM": {2, 41, 7, 46, 16, 28, 60},
    "CSF": {4, 43, 5, 44, 14, 15, 24},
}


def test_structures_belong_to_the_tissues_that_smriprep_puts_them_in() -> None:
    found: dict[str, set[int]] = {"Background": set(), **{name: set() for name in SMRIPREP}}
    for label, tissue in zip(STRUCTURES, GM_WM_CSF_OF_CLASS.tolist(), strict=True):
        found[GM_WM_CSF[tissue].name].add(label.index)
    assert found == {"Background": {0}, **SMRIPREP}


def test_numbers_are_those_of_bids() -> None:
    assert [(label.index, label.name) for label in GM_WM_CSF] == [(0, "Background"), (1, "GM"), (2, "WM"), (3, "CSF")]
