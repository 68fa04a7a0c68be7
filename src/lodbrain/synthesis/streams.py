"""Random numbers by name: each step of a scan draws its own, whatever the others draw."""

from __future__ import annotations

from hashlib import blake2b

import torch


def seed_of(*words: int | str) -> int:
    """A seed of 62 bits that is the same for the same words in every process, on every machine.

    Torch's generator on the CPU keeps the last 32 of them: that two steps of a scan draw the same numbers has a chance
    of 1 in 10^7; among a million scans, some pair of different ones will.

    Examples
    --------
    >>> seed_of(1, "blur") == seed_of(1, "blur"), seed_of(1, "blur") == seed_of(1, "bias")
    (True, False)
    """
    digest = blake2b("\x1f".join(map(repr, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2


class Stream:
    """Random numbers of one step of one scan.

    Parameters
    ----------
    *words : int or str
        The scan's seed and the step's name.
    """

    def __init__(self, *words: int | str) -> None:
        self.generator = torch.Generator().manual_seed(seed_of(*words))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def normal(self, sd: float = 1.0) -> float:
        """A normal number of mean 0."""
        return sd * float(torch.randn((), generator=self.generator))

    def chance(self, share: float) -> bool:
        """True in a share of all draws."""
        return self.uniform() < share

    def integer(self, n: int) -> int:
        """One of 0 to n - 1."""
        return int(torch.randint(n, (), generator=self.generator))

    def seed(self) -> int:
        """A seed for something larger, of 53 bits: what every reader of JSON takes without rounding."""
        return self.integer(2**53)
