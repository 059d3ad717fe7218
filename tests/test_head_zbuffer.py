"""The mesh rasteriser against a plain one, and its rules for edges and perspective."""

import numpy as np
import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.zbuffer import interpolate, rasterize_mesh


def plain_rasterizer(vertices, triangles, width, height):
    """Every pixel against every triangle, in numpy: nothing clever."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    depth, index = np.full((height, width), np.inf), np.full((height, width), -1)
    weights = np.zeros((3, height, width))
    for number, corners in enumerate(vertices[triangles]):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or min(az, bz, cz) <= 0:
            continue
        wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        screen = np.stack((1 - wb - wc, wb, wc))
        inverse = screen / np.array([az, bz, cz])[:, None, None]
        z = 1 / inverse.sum(axis=0)
        nearer = (screen > 0).all(axis=0) & (z < depth)
        depth[nearer], index[nearer] = z[nearer], number
        weights[:, nearer] = (inverse * z)[:, nearer]
    return np.where(index < 0, 0, depth), index, weights


def random_mesh(seed, count=60):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform((-10, -10, 1), (58, 42, 9), (count, 3))
    return torch.from_numpy(vertices), torch.from_numpy(rng.integers(0, count, (40, 3)))


def test_agrees_with_the_plain_twin():
    for seed in range(4):
        vertices, triangles = random_mesh(seed)
        depth, index, weights = rasterize_mesh(vertices, triangles, 48, 32)
        expected = plain_rasterizer(vertices.numpy(), triangles.numpy(), 48, 32)
        # random corners: no pixel centre lies on an edge; float32 results against float64
        assert np.array_equal(index.numpy(), expected[1])
        np.testing.assert_allclose(depth.numpy(), expected[0], rtol=1e-5)
        np.testing.assert_allclose(weights.numpy(), expected[2], atol=1e-6)


def test_shared_edges_have_no_hole_and_no_double():
    # a fan whose spokes run exactly through pixel centres
    rim = [(0.5, 0.5), (8.5, 0.5), (16.5, 0.5), (16.5, 8.5), (16.5, 16.5), (8.5, 16.5), (0.5, 16.5), (0.5, 8.5)]
    vertices = torch.tensor([(8.5, 8.5, 2.0), *((x, y, 2.0) for x, y in rim)], dtype=torch.float64)
    spokes = [(0, 1 + i, 1 + (i + 1) % 8) for i in range(8)]
    hits = torch.zeros(20, 20)
    for spoke in spokes:
        hits += rasterize_mesh(vertices, torch.tensor([spoke]), 20, 20)[1] >= 0
    # the left and upper borders belong to the square, the right and lower ones to its neighbours
    expected = torch.zeros(20, 20)
    expected[:16, :16] = 1
    assert torch.equal(hits, expected)


def test_winding_does_not_matter_for_coverage():
    vertices, triangles = random_mesh(7)
    one = rasterize_mesh(vertices, triangles, 48, 32)
    two = rasterize_mesh(vertices, triangles[:, [0, 2, 1]], 48, 32)
    torch.testing.assert_close(one[0], two[0])
    assert torch.equal(one[1], two[1])
    torch.testing.assert_close(one[2], two[2][[0, 2, 1]])


def test_interpolation_is_perspective_correct():
    camera = Camera.for_crop(64).posed(torch.eye(3), torch.tensor([0.0, 0.0, 6.0]))
    corners = torch.tensor([[-1.0, -1.0, -2.0], [1.2, -1.0, 1.0], [0.0, 1.3, 4.0]])
    triangles = torch.tensor([[0, 1, 2]])
    depth, index, weights = rasterize_mesh(camera.project(corners), triangles, 64, 64)
    points = interpolate(corners, triangles, index, weights)
    ys, xs = torch.nonzero(index >= 0, as_tuple=True)
    assert len(ys) > 100
    lifted = camera.unproject(torch.stack((xs + 0.5, ys + 0.5), dim=1), depth[ys, xs])
    torch.testing.assert_close(points[:, ys, xs].T, lifted, atol=2e-5, rtol=1e-5)


def test_empty_and_hidden_meshes():
    empty = torch.zeros(0, 3, dtype=torch.int64)
    depth, index, _ = rasterize_mesh(torch.rand(4, 3), empty, 5, 7)
    assert depth.shape == (7, 5) and depth.abs().max() == 0 and (index == -1).all()
    behind = torch.tensor([[0.0, 0.0, -1.0], [9.0, 0.0, 2.0], [0.0, 9.0, 2.0]])
    assert (rasterize_mesh(behind, torch.tensor([[0, 1, 2]]), 5, 7)[1] == -1).all()


def test_the_head_is_closed_seen_from_the_front():
    model = load_head_model()
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    camera = Camera.for_crop(256).posed(turn, torch.tensor([0.0, 0.0, 12.0]))
    _, index, _ = rasterize_mesh(camera.project(model.mean), model.triangles, 256, 256)
    filled = index >= 0
    rows = filled.nonzero()
    inner = filled[75:190, 110:146]  # the middle of the face: no pixel may fall through
    assert inner.all()
    assert rows[:, 0].min() > 0  # the crown is in the picture
