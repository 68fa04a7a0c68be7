from hypothesis import given
from hypothesis import strategies as st

from lodbrain.inference.tiling import Box, Tile, grow, offset, shape_of, slices, tiles


def _sorted(a: int, b: int) -> tuple[int, int]:
    return min(a, b), max(a, b) + 1


_SPANS = st.tuples(*[st.builds(_sorted, st.integers(0, 8), st.integers(0, 8))] * 3)


def _voxels(box: Box) -> int:
    x, y, z = shape_of(box)
    return x * y * z


@given(spans=_SPANS, align=st.sampled_from([1, 2, 4]), steps=st.integers(0, 2), most=st.integers(1, 5000))
def test_cores_cover_the_box_exactly_once(spans: Box, align: int, steps: int, most: int) -> None:
    box: Box = tuple((a * align, b * align) for a, b in spans)  # type: ignore[assignment]
    found = list(tiles(box, halo=steps * align, align=align, most_voxels=most))
    assert sum(_voxels(tile.core) for tile in found) == _voxels(box)
    seen = {(x, y, z) for tile in found for x, y, z in _places(tile.core)}
    assert seen == set(_places(box))


def _places(box: Box) -> list[tuple[int, int, int]]:
    x, y, z = (range(a, b) for a, b in box)
    return [(i, j, k) for i in x for j in y for k in z]


@given(spans=_SPANS, align=st.sampled_from([1, 2, 4]), steps=st.integers(0, 2), most=st.integers(1, 5000))
def test_reads_hold_the_halo_or_end_at_the_box(spans: Box, align: int, steps: int, most: int) -> None:
    box: Box = tuple((a * align, b * align) for a, b in spans)  # type: ignore[assignment]
    halo = steps * align
    found = list(tiles(box, halo=halo, align=align, most_voxels=most))
    for tile in found:
        for (core, core_stop), (read, read_stop), (least, most_) in zip(tile.core, tile.read, box, strict=True):
            assert read == max(least, core - halo)
            assert read_stop == min(most_, core_stop + halo)
            assert read % align == read_stop % align == core % align == 0
    one_cube = all(stop - start <= align for tile in found for start, stop in tile.core)
    assert one_cube or max(_voxels(tile.read) for tile in found) <= most


def test_what_fits_is_one_tile() -> None:
    box = ((8, 40), (0, 32), (4, 36))
    assert list(tiles(box, halo=4, align=4, most_voxels=32**3)) == [Tile(box, box)]


def test_longest_axis_is_cut_first() -> None:
    found = list(tiles(((0, 64), (0, 16), (0, 16)), halo=4, align=4, most_voxels=40 * 16 * 16))
    assert [tile.core for tile in found] == [((0, 32), (0, 16), (0, 16)), ((32, 64), (0, 16), (0, 16))]


def test_limit_that_nothing_fits_in_gives_single_cubes() -> None:
    found = list(tiles(((0, 8), (0, 4), (0, 4)), halo=4, align=4, most_voxels=1))
    assert [tile.core for tile in found] == [((0, 4), (0, 4), (0, 4)), ((4, 8), (0, 4), (0, 4))]


def test_offset_is_a_box_seen_from_another() -> None:
    tile = Tile(((8, 12), (0, 4), (4, 6)), ((4, 16), (0, 8), (2, 8)))
    assert offset(tile.core, tile.read) == ((4, 8), (0, 4), (2, 4))
    assert slices(tile.core) == (slice(8, 12), slice(0, 4), slice(4, 6))


def test_grow_widens_to_the_alignment_and_stays_in_the_volume() -> None:
    box = ((5, 9), (-7, 3), (14, 30))
    assert grow(box, (0, 0, 0), (16, 16, 16), 4) == ((4, 12), (0, 4), (12, 16))
    assert grow(box, (2, 0, 3), (16, 16, 16), 4) == ((0, 12), (0, 4), (8, 16))
