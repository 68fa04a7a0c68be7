"""Contrast of an MR series, told from its name and its timing."""

from __future__ import annotations

import re

from lodbrain.images.dicom_headers import DicomHeader

#: Words in names of series, protocols and sequences, the first that fits: what the series is instead of T1w.
_NAMED = [
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"dwi|dti|diff|tensor|(?<![a-z])adc|trace(?!r)|(?<![a-z])fa(?![a-z])", "diffusion"),
        (r"bold|fmri|rest(?![a-z])|ep2d|(?<![a-z])epi(?![a-z])", "functional or echo-planar"),
        (r"(?<![a-z])asl|perf|(?<![a-z])dsc|(?<![a-z])dce", "perfusion"),
        (r"field_?-?map|b0_?map|b1_?map|shim", "a field map"),
        (r"(?<![a-z])tof|angio|venogr|(?<![a-z])mra(?![a-z])|(?<![a-z])pca?_?mr", "angiography"),
        (r"swi(?![a-z])|suscept|qsm|t2[_ -]?(\*|star)", "susceptibility-weighted"),
        (r"t[12][_ -]?map|t1[_ -]images|r1[_ -]?map|r2[_ -]?map|ratio", "a map"),
        (r"(?<![a-z])inv[_ -]?[12](?![0-9])", "one inversion of an MP2RAGE, not its combination"),
        (r"(?<!t1)(?<!t1[_ -])(?<!t1w[_ -])(flair|dark[_ -]?fluid)", "FLAIR"),
        (r"t2(?![0-9])", "T2-weighted"),
        (r"(?<![a-z])pd(?![a-z])|pdw|proton", "proton density-weighted"),
        (r"(?<![a-z])(svs|csi|spectro)", "spectroscopy"),
    )
]
_NAMED_T1W = re.compile(r"t1(?![0-9])|mp-?_?2?rage|spgr|bravo|(?<![a-z])tfl|fl3d|vibe|3d[_ -]?tfe", re.IGNORECASE)

#: Values of AcquisitionContrast in enhanced objects, for all but T1, UNKNOWN and MIXED.
_STATED = {
    "DIFFUSION": "diffusion",
    "FLOW_ENCODED": "flow",
    "FLUID_ATTENUATED": "FLAIR",
    "PERFUSION": "perfusion",
    "PROTON_DENSITY": "proton density-weighted",
    "STIR": "STIR",
    "TAGGING": "tagging",
    "T2": "T2-weighted",
    "T2_STAR": "T2*-weighted",
    "TIME_OF_FLIGHT": "angiography",
}

#: ms: of echo times above, contrast is of T2 or T2*. MPRAGE and spoiled gradient echoes have 2 to 5, T1 spin echoes
#: 8 to 20.
_LONGEST_ECHO_MS = 30.0
#: ms: FLAIR inverts 1,650 and more before it reads, MPRAGE 300 to 1,400.
_LONGEST_INVERSION_MS = 1500.0
#: ms and degrees: spoiled gradient echoes without inversion are T1w if they repeat this fast at such a flip angle.
_LONGEST_REPETITION_MS, _LEAST_FLIP_DEG = 60.0, 8.0
#: ms: spin echoes are T1w if they repeat this fast.
_LONGEST_SPIN_ECHO_REPETITION_MS = 1000.0


def not_t1w(header: DicomHeader) -> str | None:
    """Return why a series, by the header of its first image, is not T1-weighted, or None if it is.

    What the header states outright comes first, then the name, then echo, inversion and repetition times: a name that
    says T1 is believed unless the times exclude it.
    """
    stated = header.text("AcquisitionContrast")
    if stated in _STATED:
        return _STATED[stated]
    if header.text("AngioFlag") == "Y" or header.text("TimeOfFlightContrast") == "YES":
        return "angiography"
    name = header.text("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    for pattern, reason in _NAMED:
        if pattern.search(name):
            return reason
    echo, inversion = header.number("EchoTime"), header.number("InversionTime")
    if echo is not None and echo > _LONGEST_ECHO_MS:
        return f"an echo time of {echo:.0f} ms, T2- or T2*-weighted"
    if inversion is not None and inversion > _LONGEST_INVERSION_MS:
        return f"an inversion time of {inversion:.0f} ms, fluid-attenuated"
    if stated == "T1" or _NAMED_T1W.search(name):
        return None
    repetition, flip = header.number("RepetitionTime"), header.number("FlipAngle")
    if echo is None or repetition is None:
        return "a contrast that neither its name nor its header tells"
    if inversion:
        return None
    if repetition <= _LONGEST_REPETITION_MS and flip is not None and flip >= _LEAST_FLIP_DEG:
        return None
    if _LONGEST_REPETITION_MS < repetition <= _LONGEST_SPIN_ECHO_REPETITION_MS and flip is not None and flip >= 60:
        return None
    return f"a contrast that is not T1 by its times (repetition {repetition:.0f} ms, echo {echo:.0f} ms)"
