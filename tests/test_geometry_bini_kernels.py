"""The memory layout and the compiled loops of the stencil solver against plain NumPy."""

import numba
import numpy as np
import pytest

from mggtalk_core.geometry import bini_lanes as lanes
from mggtalk_core.geometry.bini_blocks import Blocks
from mggtalk_core.geometry.bini_kernels import edges_along, gather, iterate

KINDS = ("float64", "float32")


def scattered(seed, largest=70, share=None):
    """A mask with an empty border: a few cells, some, or all."""
    random = np.random.default_rng(seed)
    inside = np.zeros(random.integers(largest // 2 if share else 1, largest, 2) + 2, bool)
    inside[1:-1, 1:-1] = random.random(inside[1:-1, 1:-1].shape) < (share or random.choice([0.01, 0.3, 1.0]))
    inside[1, 1] = True
    return inside


def lines_of(kind, seed=0):
    return np.random.default_rng(seed).normal(size=(3, lanes.LINE // np.dtype(kind).itemsize)).astype(kind)


@numba.njit
def _combined(a, b, c, out, most):
    first, second, third = lanes.load(a, np.uint64(0)), lanes.load(b, np.uint64(0)), lanes.load(c, np.uint64(0))
    lanes.store(out[0], np.uint64(0), first + second * third)
    lanes.store(out[1], np.uint64(0), (first - second) / third)
    lanes.store(out[2], np.uint64(0), lanes.before(first, second))
    lanes.store(out[3], np.uint64(0), lanes.after(first, second))
    lanes.store(out[4], np.uint64(0), lanes.limited(first, lanes.spread(most)))
    return lanes.total(first)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_combined_number_by_number(kind):
    a, b, c = lines_of(kind)
    out = np.zeros((5, a.size), kind)
    sum_of_a = _combined(a, b, c, out, a.dtype.type(0.5))
    near = 4 * np.finfo(kind).eps
    assert np.allclose(out[0], a + b * c, rtol=near, atol=near) and np.allclose(out[1], (a - b) / c, rtol=near)
    assert np.array_equal(out[2], np.append(a[-1], b[:-1])) and np.array_equal(out[3], np.append(a[1:], b[0]))
    assert np.array_equal(out[4], np.clip(a, -0.5, 0.5).astype(kind))
    assert sum_of_a == sum(float(each) for each in a)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_blocks_hold_the_mask_and_know_their_neighbours(seed, kind):
    inside = scattered(seed)
    blocks = Blocks.build(inside, np.dtype(kind))
    number = np.arange(inside.size, dtype=float) * inside.ravel()
    packed = blocks.packed(number)
    assert np.array_equal(blocks.unpacked(packed, inside.size), number)
    assert np.count_nonzero(packed) == np.count_nonzero(number)
    assert not packed[: blocks.lanes].any() and not packed[-blocks.lanes :].any()
    for far, behind, ahead in zip((1, inside.shape[1]), *zip(*blocks.lines()[1:], strict=True), strict=True):
        for i, back, on in zip(blocks.lines()[0], behind, ahead, strict=True):
            for cell in range(8):
                here, there, before = packed[[int(i) + cell, int(on) + cell, int(back) + cell]].astype(int)
                assert not here or not inside.ravel()[here + far] or there == here + far
                assert not here or not inside.ravel()[here - far] or before == here - far


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_turned_before_they_are_read(seed, kind):
    blocks = Blocks.build(scattered(seed), np.dtype(kind))
    below = blocks.down.astype(int) // blocks.lanes - np.arange(len(blocks.down))
    assert blocks.lead >= below.max() and blocks.lead >= 1


def problem(seed, kind):
    """A random system on a mask, packed and as a dense matrix: blocks, packed arrays, matrix, right side."""
    random, inside = np.random.default_rng(seed), scattered(seed, 20, share=0.8)
    blocks, count, width = Blocks.build(inside, np.dtype(kind)), inside.size, inside.shape[1]
    flat, matrix = inside.ravel(), np.zeros((count, count))
    conductances = []
    for far in (1, width):
        c = random.random(count) * (flat & np.roll(flat, -far))
        for i in np.flatnonzero(c):
            matrix[[i, i + far], [i, i + far]] += c[i]
            matrix[[i, i + far], [i + far, i]] -= c[i]
        conductances.append(c)
    pull = 0.01 * random.random(count) * flat
    matrix[np.diag_indices(count)] += pull
    scale = 1 / np.maximum(np.diag(matrix), 1e-5)
    right = random.normal(size=count) * flat
    packed = [blocks.zeros(kind) for _ in range(5)]
    for into, values in zip(packed, (*conductances, scale * flat, pull, right), strict=True):
        into[:] = blocks.packed(values)
    return blocks, packed, matrix, right, scale


def plain_gradients(matrix, right, scale, most):
    """Textbook conjugate gradients, preconditioned by the diagonal."""
    x, r = np.zeros_like(right), right.copy()
    p = scale * r
    for _ in range(most):
        image, power = matrix @ p, r @ (scale * r)
        step = power / (p @ image)
        x, r = x + step * p, r - step * image
        p = scale * r + (r @ (scale * r)) / power * p
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2, 6))
def test_iterations_are_those_of_the_textbook(seed, kind):
    blocks, (c, d, scale, pull, right), matrix, plain, preconditioner = problem(seed, kind)
    most, state = 6, np.zeros(2)
    vectors = tuple(right.copy() if n == 1 else blocks.zeros(kind) for n in range(4))
    places = blocks.up, blocks.down, np.uint64(blocks.lead), np.uint64(blocks.lanes)
    # In two calls, as when progress is told in between.
    used = sum(iterate(vectors, (c, d, scale, pull), True, *places, state, 0.0, part) for part in (4, 2))
    found = blocks.unpacked(vectors[0] + vectors[0].dtype.type(state[0]) * vectors[2], plain.size)
    wanted = plain_gradients(matrix, plain, preconditioner, used)
    assert used == most
    assert np.abs(found - wanted).max() < (1e-10 if kind == "float64" else 1e-4) * np.abs(wanted).max()


@pytest.mark.parametrize("kind", KINDS)
def test_it_stops_at_the_goal_with_every_step_taken(kind):
    blocks, (c, d, scale, pull, right), matrix, plain, _ = problem(2, kind)
    state, goal = np.zeros(2), 1e-6 * float(plain @ plain)
    vectors = tuple(right.copy() if n == 1 else blocks.zeros(kind) for n in range(4))
    places = blocks.up, blocks.down, np.uint64(blocks.lead), np.uint64(blocks.lanes)
    used = iterate(vectors, (c, d, scale, pull), True, *places, state, goal, 500)
    rest = plain - matrix @ blocks.unpacked(vectors[0], plain.size)
    assert 0 < used < 500 and state[0] == 0.0 and rest @ rest <= 1.01 * goal


@pytest.mark.parametrize("kind", KINDS)
def test_edges_add_up_to_the_gradient_of_the_energy(kind):
    """What the loops set up against the sums over the pairs of cells, written out."""
    inside, random = scattered(4, 20, share=0.7), np.random.default_rng(1)
    blocks, flat = Blocks.build(inside, np.dtype(kind)), inside.ravel()
    (first, *neighbours), found, wanted = blocks.lines(), [], np.zeros((3, inside.size))
    z = random.normal(size=inside.size) * flat
    for far, (_, ahead) in zip((1, inside.shape[1]), neighbours, strict=True):
        slope, target, w = random.normal(size=(3, inside.size)) * flat
        link = (flat & np.roll(flat, -far)).astype(float)
        found.append([blocks.zeros() for _ in range(3)])
        maps = (blocks.packed(each) for each in (z, slope, target, link))
        edges_along(*maps, first, ahead, blocks.packed(w), *found[-1])
        for i in np.flatnonzero(link):
            for share, cell in ((w[i], i), (1 - w[i + far], i + far)):
                square, flow = share * slope[cell] ** 2, share * slope[cell] * target[cell]
                wanted[0, [i, i + far]] += square
                wanted[1, [i, i + far]] += -flow, flow
                wanted[2, [i, i + far]] += np.array([-1, 1]) * (flow - square * (z[i + far] - z[i]))
    behind, into = [each[0] for each in neighbours], blocks.zeros()
    for along_x, along_y, sign, other in zip(*found, (1.0, -1.0, -1.0), wanted, strict=True):
        gather(along_x, along_y, first, *behind, sign, into)
        assert np.allclose(blocks.unpacked(into, inside.size), other, rtol=1e-12, atol=1e-12)
