"""The stencil solvers against their plain twin on a sparse matrix."""

import numpy as np
import pytest
import torch

from mggtalk_core.geometry import bini, bini_cpu
from mggtalk_core.geometry.bini import BiniOptions, integrate_normals
from mggtalk_core.geometry.bini_reference import integrate_reference
from mggtalk_core.geometry.bini_stencil import Stencil
from mggtalk_core.geometry.bini_torch import TensorSolver

SIZE = 48
K = (90.0, 90.0, 23.0, 25.5)
TIGHT = BiniOptions(tolerance=1e-8, cg_tolerance=1e-10, max_rounds=40)


def broken_bumps(seed=0):
    """A bumpy relief with a block that stands before it, and a mask of two pieces with a hole: depth, normals, mask."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    relief = sum(
        amplitude * np.sin(a * x + b * y + c)
        for amplitude, a, b, c in random.uniform((0.2, -0.4, -0.4, 0), (0.8, 0.4, 0.4, 6), (5, 4))
    )
    relief_y, relief_x = np.gradient(relief)
    block = (abs(x - 18) < 8) & (abs(y - 26) < 9)
    normals = np.stack((relief_x, relief_y, -np.ones_like(x))) / np.sqrt(relief_x**2 + relief_y**2 + 1)
    mask = (x - 22) ** 2 / 18**2 + (y - 24) ** 2 / 22**2 < 1
    mask |= (x > 42) & (y < 20)
    mask[20:23, 30:33] = False
    return torch.from_numpy(relief - 12.0 * block + 60.0), torch.from_numpy(normals), torch.from_numpy(mask)


def settings(name, depth):
    """Arguments of one way to integrate."""
    known = depth.clone()
    known[:30, 20:] = torch.nan
    weights = torch.linspace(1e-6, 1e-2, SIZE, dtype=torch.float64).expand(SIZE, SIZE)
    return {
        "orthographic": {},
        "perspective": {"intrinsics": K},
        "weak prior": {"prior": depth, "prior_weight": 1e-5},
        "map of weights": {"intrinsics": K, "prior": known, "prior_weight": weights},
        "start": {"intrinsics": K, "prior": depth, "prior_weight": 1e-3, "start": depth},
    }[name]


WAYS = ("orthographic", "perspective", "weak prior", "map of weights", "start")


def relative(found, wanted, mask):
    spread = wanted[mask].max() - wanted[mask].min()
    return float((found - wanted)[mask].abs().max() / spread)


@pytest.mark.parametrize("way", WAYS)
def test_float64_is_the_twin(way):
    depth, normals, mask = broken_bumps()
    twin = integrate_reference(normals, mask, **settings(way, depth))
    fast = integrate_normals(normals, mask, options=BiniOptions(agreement=0.0), **settings(way, depth))
    # The same rounds and iterations at the usual tolerances: only the order of sums differs.
    assert (len(fast.energy), fast.iterations) == (len(twin.energy), twin.iterations)
    assert np.allclose(fast.energy, twin.energy, rtol=1e-8)
    assert torch.equal(fast.mask, twin.mask) and relative(fast.depth, twin.depth, mask) < 1e-6


@pytest.mark.parametrize("seed", range(1, 5))
def test_float64_is_the_twin_on_other_surfaces(seed):
    depth, normals, mask = broken_bumps(seed)
    arguments = {"intrinsics": K, "prior": depth, "prior_weight": 1e-6}
    twin = integrate_reference(normals, mask, **arguments)
    fast = integrate_normals(normals, mask, options=BiniOptions(agreement=0.0), **arguments)
    assert relative(fast.depth, twin.depth, mask) < 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_float32_stays_close_to_the_twin(way):
    depth, normals, mask = broken_bumps()
    twin = integrate_reference(normals, mask, **settings(way, depth))
    options = BiniOptions(precision="float32", agreement=0.0)
    fast = integrate_normals(normals, mask, options=options, **settings(way, depth))
    # A round is solved to a thousandth of its right side, where float32 keeps seven digits; over the rounds the twin
    # itself moves by more than this when its tolerance is halved.
    assert relative(fast.depth, twin.depth, mask) < 1e-3
    assert abs(fast.energy[-1] / twin.energy[-1] - 1) < 1e-3


def test_float32_is_refined_every_round():
    """Depth is float64 throughout: float32 gets to the same surface far beyond its own seven digits of the offset."""
    _, normals, mask = broken_bumps()
    far = torch.full((SIZE, SIZE), 1e6, dtype=torch.float64)
    options = {"agreement": 0.0, "max_rounds": 8, "tolerance": 0.0}
    arguments = {"prior": far, "prior_weight": 1e-6}
    double = integrate_normals(normals, mask, options=BiniOptions(**options), **arguments)
    single = integrate_normals(normals, mask, options=BiniOptions(precision="float32", **options), **arguments)
    # float32 resolves 0.06 at a million.
    assert float((single.depth - double.depth)[mask].abs().max()) < 0.01


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("way", ["perspective", "map of weights"])
def test_tensor_operations_find_the_same_surface(monkeypatch, way, precision):
    depth, normals, mask = broken_bumps()
    tight = precision == "float64"
    options = BiniOptions(
        tolerance=1e-8 if tight else 1e-4, cg_tolerance=1e-10 if tight else 1e-4, precision=precision, agreement=0.0,
        max_rounds=40,
    )  # fmt: skip
    twin = integrate_reference(normals, mask, options=options, **settings(way, depth))
    monkeypatch.setattr(bini, "_solver", TensorSolver)
    result = integrate_normals(normals, mask, options=options, **settings(way, depth))
    assert relative(result.depth, twin.depth, mask) < (1e-6 if tight else 1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_tensor_operations_stop_where_the_twin_stops(monkeypatch, way):
    """They ask every eighth iteration whether the goal is reached, but nothing may move beyond it."""
    depth, normals, mask = broken_bumps()
    twin = integrate_reference(normals, mask, **settings(way, depth))
    monkeypatch.setattr(bini, "_solver", TensorSolver)
    result = integrate_normals(normals, mask, options=BiniOptions(agreement=0.0), **settings(way, depth))
    assert (len(result.energy), result.iterations) == (len(twin.energy), twin.iterations)
    assert relative(result.depth, twin.depth, mask) < 1e-6


@pytest.mark.parametrize("solver", ["compiled", "tensors"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_same_bits_twice(monkeypatch, solver, precision):
    if solver == "tensors":
        monkeypatch.setattr(bini, "_solver", TensorSolver)
    _, normals, mask = broken_bumps()
    options = BiniOptions(precision=precision)
    one, two = (integrate_normals(normals, mask, intrinsics=K, options=options) for _ in range(2))
    assert torch.equal(one.depth[mask], two.depth[mask]) and one.energy == two.energy


def test_tensors_can_be_cancelled(monkeypatch):
    monkeypatch.setattr(bini, "_solver", TensorSolver)
    _, normals, mask = broken_bumps()

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrate_normals(normals, mask, on_step=cancel)


def test_every_weight_of_a_jump_is_the_sigmoid():
    """The compiled series against the exact weights of eq. 22, from no difference to far beyond saturation."""
    _, normals, mask = broken_bumps()
    stencil = Stencil.build(normals, mask, None, None, 0.0)
    solver, exact = (kind(stencil, BiniOptions()) for kind in (bini_cpu.CompiledSolver, TensorSolver))
    random = torch.Generator().manual_seed(0)
    z = torch.randn(stencil.prior.shape, generator=random, dtype=torch.float64) * stencil.inside.flatten()
    for scale in (0.0, 1e-3, 0.3, 30.0):
        assert solver.reweigh(scale * z) == pytest.approx(exact.reweigh(scale * z), rel=1e-12)
        for found, wanted in zip(solver.weights, exact.weights, strict=True):
            difference = solver.blocks.unpacked(found, len(z)) - wanted.numpy()
            assert np.abs(difference)[stencil.inside.flatten().numpy()].max() < 1e-13


def smooth_bowl():
    y, x = torch.meshgrid(torch.arange(40.0).double(), torch.arange(40.0).double(), indexing="ij")
    depth = 200.0 + 0.004 * ((x - 20) ** 2 + (y - 20) ** 2)
    normals = torch.stack((0.008 * (x - 20), 0.008 * (y - 20), -torch.ones_like(x)))
    return depth, normals / normals.norm(dim=0), torch.ones(40, 40, dtype=torch.bool)


def test_agreement_is_said_and_needs_no_round():
    depth, normals, mask = smooth_bowl()
    result = integrate_normals(normals, mask, prior=depth)
    assert result.agreed and result.iterations == 0 and result.energy == []
    assert torch.equal(result.depth, depth)
    # Integration would have changed next to nothing.
    full = integrate_normals(normals, mask, prior=depth, options=BiniOptions(agreement=0.0))
    assert not full.agreed and relative(full.depth, depth, mask) < 0.02


def test_a_jump_of_the_prior_is_no_disagreement():
    depth, normals, mask = smooth_bowl()
    depth[:, 25:] += 30.0
    assert integrate_normals(normals, mask, prior=depth).agreed


def test_disagreement_and_gaps_are_integrated():
    depth, normals, mask = smooth_bowl()
    flat = torch.full_like(depth, 200.0)
    result = integrate_normals(normals, mask, prior=flat, prior_weight=1e-6)
    assert not result.agreed and result.iterations > 0
    known = depth.clone()
    known[3, 4] = torch.nan
    result = integrate_normals(normals, mask, prior=known)
    assert not result.agreed and torch.isfinite(result.depth).all()


def test_masks_of_one_pixel_row_and_column():
    normals = torch.zeros(3, 9, 9)
    normals[0], normals[2] = -0.6, -0.8
    for rows, columns in ((slice(0, 1), slice(0, 1)), (slice(8, 9), slice(0, 9)), (slice(0, 9), slice(8, 9))):
        mask = torch.zeros(9, 9, dtype=torch.bool)
        mask[rows, columns] = True
        result = integrate_normals(normals, mask, options=TIGHT)
        x = torch.arange(9.0).double().expand(9, 9)[mask]
        assert torch.allclose(result.depth[mask], -0.75 * (x - x.mean()), atol=1e-5)


def test_float32_normals_and_a_view_of_them_give_the_same():
    _, normals, mask = broken_bumps()
    plain = integrate_normals(normals.float(), mask, intrinsics=K)
    turned = normals.float().permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(plain.depth[mask], integrate_normals(turned, mask, intrinsics=K).depth[mask])
