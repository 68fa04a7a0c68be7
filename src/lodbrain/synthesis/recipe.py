"""Plans as JSON, to be stored with an image and rendered again."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from lodbrain.synthesis.generator import ScanPlan

_ADAPTER = TypeAdapter(ScanPlan)


def to_json(plan: ScanPlan) -> dict[str, Any]:
    """Return a plan as a tree of dictionaries, lists, numbers and strings; floats keep all bits."""
    tree: dict[str, Any] = _ADAPTER.dump_python(plan, mode="json")
    return tree


def from_json(tree: Any) -> ScanPlan:
    """Return the plan that `to_json` wrote.

    Raises
    ------
    ValueError
        If the tree is not a plan, or holds fields unknown to this version, which would not give the same scan.
    """
    try:
        plan = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'plan'}: {first['msg']}") from None
    strange = _difference(tree, to_json(plan), "plan")
    if strange is not None:
        raise ValueError(f"{strange} is not understood")
    return plan


def _difference(given: Any, understood: Any, where: str) -> str | None:
    """Return where two trees differ, or None; a missing default counts as equal."""
    if isinstance(given, dict) and isinstance(understood, dict):
        places = (_difference(value, understood.get(key, ...), f"{where}.{key}") for key, value in given.items())
        return next((place for place in places if place is not None), None)
    if isinstance(given, (list, tuple)) and isinstance(understood, list) and len(given) == len(understood):
        places = (_difference(a, b, f"{where}[{n}]") for n, (a, b) in enumerate(zip(given, understood, strict=True)))
        return next((place for place in places if place is not None), None)
    return None if given == understood else where
