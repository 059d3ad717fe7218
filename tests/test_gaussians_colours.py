"""Colours: what the picture shows, what it hides, and what has to be guessed."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians import skin
from mggtalk_core.gaussians.colours import FADE, point_colours
from mggtalk_core.gaussians.inner import (
    CAVITY,
    EXTINCTION,
    INSIDE_LIPS,
    IRIS_ANGLE,
    PROFILE_BINS,
    PROFILE_STEP,
    eyeball_angle,
    eyeball_profile,
    flesh,
    inner_colours,
    part_of,
    profile_colours,
)
from mggtalk_core.gaussians.levels import behind_hair, below_hair_level
from mggtalk_core.geometry.interior import vertex_normals
from mggtalk_core.head.model import gaze_rotations, load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.head.zbuffer import rasterize_mesh
from mggtalk_core.portrait.parsing import Label
from tests.head_samples import model_head

LIT = torch.tensor([0.8, 0.6, 0.5])


@pytest.fixture(scope="module")
def turned():
    return model_head(yaw=35.0)


def is_skin(model):
    return (model.parts == int(Part.FACE)) | (model.parts == int(Part.SCALP))


def skin_under(head, crop, **more):
    portrait = replace(head.portrait, crop=crop, **more)
    return skin.skin_of(portrait, head.model, head.points.fit, head.binding.rest)


def painted(head, crop):
    return skin_under(head, crop).colours


def gradient():
    """A picture whose colour says the pixel it lies in."""
    y, x = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
    return torch.stack((x / 512, y / 512, torch.full_like(x, 0.25)))


def test_pictures_are_read_at_continuous_pixels():
    pixels = torch.tensor([[0.5, 0.5], [10.25, 300.0], [511.5, 7.75]])
    assert torch.allclose(skin.sample_picture(gradient(), pixels)[:, :2], pixels / 512, atol=1e-6)
    beyond = skin.sample_picture(gradient(), torch.tensor([[-50.0, 100.0]]))
    assert torch.allclose(beyond[0, :2], torch.tensor([0.5, 100.0]) / 512, atol=1e-6)


def test_a_picture_of_one_colour_makes_skin_of_that_colour(turned):
    colour = torch.tensor([0.7, 0.4, 0.3])
    found = painted(turned, colour[:, None, None].expand(3, 512, 512).contiguous())
    assert torch.allclose(found[is_skin(turned.model)], colour, atol=1e-5)


def test_seen_skin_has_the_colour_of_its_pixel_and_hidden_skin_that_of_its_twin_in_its_own_light(turned):
    found = skin_under(turned, gradient())
    projected = turned.points.fit.camera.project(turned.binding.rest)[:, :2] / 512
    lent = projected[turned.model.mirror] * found.light[:, :2]
    own = (found.colours[:, :2] - projected).norm(dim=1) < 1e-5
    twin = (found.colours[:, :2] - lent.clamp(max=1.0)).norm(dim=1) < 1e-5
    face = turned.model.parts == int(Part.FACE)
    left = turned.binding.rest[:, 0] > 0.3
    # The head is turned to the subject's left: the left cheek is hidden, the right one seen.
    right = turned.binding.rest[:, 0] < -0.3
    assert own[face & right].float().mean() > 0.7
    assert twin[face & left].float().mean() > 0.5


def shaded(head, share):
    """A picture in which the subject's left has ``share`` of the light."""
    picture = LIT[:, None, None].expand(3, 512, 512).clone()
    column, row = head.points.pixel.long().unbind(-1)
    left = head.points.positions[: head.points.visible_count, 0] > 0.0
    picture[:, row[left], column[left]] *= share
    return picture


def test_the_rim_of_a_face_takes_the_colour_of_what_is_around_it(turned):
    """A picture that is red where the skin is seen at a grazing angle, and grey elsewhere, makes grey skin."""
    normals = vertex_normals(turned.binding.rest, turned.model.triangles)
    camera = turned.points.fit.camera
    sight = torch.nn.functional.normalize(camera.place - turned.binding.rest, dim=-1)
    grazed = ((normals * sight).sum(dim=-1) < skin.FACING) & (turned.model.mean[:, 2] < skin.SIDES)
    projected = camera.project(turned.binding.rest)
    _, triangle, _ = rasterize_mesh(projected, turned.model.triangles, 512, 512)
    rim = (triangle >= 0) & grazed[turned.model.triangles[triangle.clamp(min=0).long()]].all(dim=-1)
    crop = torch.full((3, 512, 512), 0.5)
    crop[:, rim] = torch.tensor([1.0, 0.0, 0.0])[:, None]
    colours = painted(turned, crop)[is_skin(turned.model)]
    assert float((colours - 0.5).abs().amax(dim=1).quantile(0.98)) < 0.1


def test_light_is_the_ratio_of_both_sides_and_dies_out_behind(turned):
    """What no picture tells lies between the ratio at the rim of what it does, and none."""
    front = model_head()
    sides = skin_under(front, shaded(front, 0.5), labels=torch.full_like(front.portrait.labels, 3))
    cheeks = (front.model.parts == int(Part.FACE)) & (front.model.mean[:, 2] > 0.2)
    for side, light in ((1.0, 0.5), (-1.0, 2.0)):
        rows = cheeks & (side * front.binding.rest[:, 0] > 0.2)
        assert ((sides.light[rows] / light - 1.0).abs() < 0.01).float().mean() > 0.8
    hidden = skin_under(turned, shaded(turned, 0.5), labels=torch.full_like(turned.portrait.labels, 3)).light
    left = is_skin(turned.model) & (turned.binding.rest[:, 0] > 0.5)
    assert (hidden[left] > 0.5 - 1e-4).all() and (hidden[left] < 1.0).all()
    near = left & (turned.binding.rest[:, 2] > 0.0)
    assert hidden[near].median() < 0.62


def test_light_is_hardly_tinted(turned):
    """Skin whose blue is lost on one side does not make the hair of that side yellow, and of the other cyan."""
    picture = shaded(turned, 0.5)
    left = picture[0] < 0.5
    picture[2, left] = 0.0
    light = skin_under(turned, picture, labels=torch.full_like(turned.portrait.labels, 3)).light
    spread = light.amax(dim=1) / light.amin(dim=1)
    assert 1.1 < spread.max() < 1.36  # no more than twice the largest tint, exp(0.3)


def test_light_is_even_where_both_sides_are(turned):
    even = skin_under(turned, LIT[:, None, None].expand(3, 512, 512).contiguous()).light
    assert torch.allclose(even, torch.ones_like(even), atol=1e-5)


def test_mirrored_points_lie_in_the_light_of_their_own_side():
    head = model_head()
    for share in (1.0, 0.5):
        portrait = replace(head.portrait, crop=shaded(head, share), labels=torch.full_like(head.portrait.labels, 3))
        part = part_of(head.model, head.points.triangle)
        colours, _ = point_colours(portrait, head.points, head.binding, part)
        first = head.points.visible_count
        mirrored = colours[first : first + head.points.mirrored_count]
        place = head.points.positions[first : first + head.points.mirrored_count]
        left = place[:, 0] > 0.3  # made of points of the lit right half
        assert left.sum() > 300
        assert ((mirrored[left] - share * LIT).abs().amax(dim=1) < 0.05).float().mean() > 0.9


def test_where_no_skin_shows_on_both_sides_no_light_is_told(turned):
    portrait = replace(turned.portrait, labels=torch.ones_like(turned.portrait.labels))
    found = skin.skin_of(portrait, turned.model, turned.points.fit, turned.binding.rest)
    assert torch.equal(found.light, torch.ones_like(found.light))


def test_hidden_scalp_takes_the_colour_of_the_hair_alone(turned):
    """Hair red, all else green: no green runs into the scalp that hair covers, and none is red on a bald head."""
    labels = turned.portrait.labels.clone()
    labels[:200] = 1
    picture = torch.where(labels == 1, 1.0, 0.0)
    crop = torch.stack((picture, 1.0 - picture, torch.zeros(512, 512)))
    for hair in (True, False):
        portrait = replace(turned.portrait, crop=crop, labels=labels if hair else torch.full_like(labels, 3))
        colours = skin.skin_of(portrait, turned.model, turned.points.fit, turned.binding.rest).colours
        crown = skin._under_hair(turned.model)
        back = crown & (turned.model.mean[:, 2] < -1.0)
        assert int(back.sum()) > 200
        assert (colours[back, 0] > 0.98).all() if hair else (colours[back, 0] < 0.9).float().mean() > 0.5
    chin = (turned.model.parts == int(Part.FACE)) & (turned.model.mean[:, 1] < -0.8)
    assert (colours[chin, 1] > 0.9).float().mean() > 0.9


def test_mirrored_hair_and_what_hair_hides_end_where_the_torso_begins():
    """Below the level of the layer's own hair; what is seen fades by the matte alone, and skin not at all."""
    head = model_head()
    lower = replace(head.points, positions=head.points.positions - torch.tensor([0.0, 1.0, 0.0]))
    count, seen = lower.visible_count, lower.visible_count + lower.mirrored_count
    left = {}
    for label in (Label.HAIR, Label.BODY):
        portrait = replace(head.portrait, labels=torch.full_like(head.portrait.labels, int(label)))
        _, left[label] = point_colours(portrait, lower, head.binding, part_of(head.model, lower.triangle))
    assert torch.equal(left[Label.HAIR][:count], left[Label.BODY][:count])
    assert torch.equal(left[Label.BODY][count:seen], left[Label.BODY][lower.mirror_of])
    below = below_hair_level(head.portrait, lower)
    kept, gone = (below < FADE[0]) & (left[Label.BODY] > 0.0), below > FADE[1]
    for rows in (slice(count, seen), slice(seen, None)):
        assert kept[rows].sum() > 100 and torch.equal(
            left[Label.HAIR][rows][kept[rows]], left[Label.BODY][rows][kept[rows]]
        )
        assert gone[rows].sum() > 100 and not left[Label.HAIR][rows][gone[rows]].any()


def test_only_what_hair_covers_is_behind_hair():
    head = model_head()
    labels = torch.zeros_like(head.portrait.labels)
    labels[:, :256] = int(Label.HAIR)
    hidden = behind_hair(replace(head.portrait, labels=labels), head.points)
    assert torch.equal(hidden, head.points.fit.camera.project(head.points.positions)[:, 0] < 256.0)


def test_diffusion_never_leaves_the_range_of_what_is_known(turned):
    colours = painted(turned, gradient())[is_skin(turned.model)]
    inside = (turned.portrait.matte[0] > 0.5).nonzero()
    low, high = (inside.amin(dim=0) / 512).flip(0), ((inside.amax(dim=0) + 1) / 512).flip(0)
    assert (colours[:, :2] >= low - 1e-4).all() and (colours[:, :2] <= high + 1e-4).all()
    # The gradient is taken for light of another colour, which tints what twins lend by at most so much.
    assert (colours[:, 2] / 0.25).log().abs().max() < 2 * skin.LARGEST_TINT


def diffused(share=0.1):
    model = load_head_model()
    random = torch.Generator().manual_seed(3)
    known = is_skin(model) & (torch.rand(len(model.mean), generator=random) < share)
    colours = torch.rand(len(model.mean), 3, generator=random)
    return model, known, colours, skin._diffuse(colours * known[:, None], known, model)


def test_diffusion_keeps_what_is_known():
    _, known, colours, result = diffused()
    assert torch.allclose(result[known], colours[known], atol=1e-6)


def test_diffusion_is_harmonic():
    """A free vertex is the mean of its neighbours, an inner edge counting for both of its triangles."""
    model, known, _, result = diffused()
    skin_vertex = is_skin(model)
    faces = model.triangles[skin_vertex[model.triangles].all(dim=1)]
    pairs = torch.cat([faces[:, [a, b]] for a in range(3) for b in range(3) if a != b])
    total = torch.zeros(len(result), 3, dtype=torch.float64).index_add_(0, pairs[:, 0], result[pairs[:, 1]].double())
    degree = torch.bincount(pairs[:, 0], minlength=len(result))
    free = skin_vertex & ~known & (degree > 0)
    assert free.sum() > 1000
    assert torch.allclose(total[free] / degree[free, None], result[free].double(), atol=1e-5)


def test_diffusion_without_anything_known_is_grey():
    model = load_head_model()
    nothing = torch.zeros(len(model.mean), dtype=torch.bool)
    result = skin._diffuse(torch.zeros(len(model.mean), 3), nothing, model)
    assert torch.allclose(result, torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("gaze", [(0.0, 0.0), (0.4, 0.0), (0.0, -0.3), (-0.25, 0.2)])
def test_eyeball_angle_is_measured_from_the_line_of_sight(gaze):
    """The same sense of rotation as the head model's own eyeballs."""
    gaze = torch.tensor(gaze)
    turn = gaze_rotations(gaze.repeat(2))[0]
    wanted = torch.tensor([0.0, 0.3, 1.0, 2.5])
    directions = torch.stack((wanted.sin(), torch.zeros(4), wanted.cos()), dim=1) @ turn.T
    center = torch.tensor([0.3, 0.0, -0.1])
    found = eyeball_angle(center + 0.12 * directions, center, gaze)
    # The arc cosine loses half of float32's digits near 0.
    assert torch.allclose(found, wanted, atol=1e-3)


def test_eyeball_profile_reads_the_picture_where_it_is_trusted():
    angle = torch.linspace(0.0, 1.0, 4000)
    red = torch.stack((angle, 1.0 - angle, torch.full_like(angle, 0.5)), dim=1)
    red[::10] = 1.0  # glints, which the median leaves out
    profile = eyeball_profile(angle, red, LIT)
    centers = (torch.arange(PROFILE_BINS) + 0.5) * PROFILE_STEP
    iris = centers < 1.3 * IRIS_ANGLE
    assert (profile[iris, 0] - centers[iris]).abs().max() < 0.3 * PROFILE_STEP
    # Beyond the iris all is one white: lids and lashes would darken it.
    assert (profile[~iris] == profile[-1]).all()
    assert profile[-1, 0] > 1.2 * IRIS_ANGLE


def test_eyeball_profile_of_shut_eyes_is_a_guess_from_the_light():
    nothing = torch.zeros(0)
    profile = eyeball_profile(nothing, torch.zeros(0, 3), LIT)
    pupil, iris, white = profile[1].mean(), profile[8].mean(), profile[-1].mean()
    assert 0.0 < pupil < iris < white < LIT.mean() * 1.01
    dim = eyeball_profile(nothing, torch.zeros(0, 3), 0.5 * LIT)
    assert torch.allclose(dim, 0.5 * profile)


def test_profile_is_read_linearly_between_bins_and_held_beyond():
    profile = torch.arange(PROFILE_BINS, dtype=torch.float32)[:, None].expand(-1, 3)
    angle = torch.tensor([0.0, 0.5 * PROFILE_STEP, 4.0 * PROFILE_STEP, 3.0])
    wanted = torch.tensor([0.0, 0.0, 3.5, PROFILE_BINS - 1.0])
    assert torch.allclose(profile_colours(profile, angle), wanted[:, None].expand(-1, 3), atol=2e-3)


def test_the_mouth_grows_darker_inwards_and_follows_the_light():
    model = load_head_model()
    colours = inner_colours(model, model.mean, LIT)
    socket = model.parts == int(Part.MOUTH_SOCKET)
    depth = model.mean[socket, 2]
    front, back = (
        colours[socket][depth >= torch.quantile(depth, 0.95)],
        colours[socket][depth <= torch.quantile(depth, 0.5)],
    )
    assert front.mean() > 2.0 * back.mean() > 0.0
    teeth, tongue = (colours[model.parts == int(part)].mean(dim=0) for part in (Part.TEETH, Part.TONGUE))
    assert teeth.mean() > tongue.mean()
    assert tongue[0] > 1.3 * tongue[2]
    # Half the light, half the colour, the same tint.
    assert torch.allclose(inner_colours(model, model.mean, 0.5 * LIT), 0.5 * colours, atol=1e-6)
    outside = is_skin(model)
    assert not colours[outside].any()


def test_a_grey_face_has_a_grey_mouth():
    model, plaster = load_head_model(), torch.full((3,), 0.6)
    grey = inner_colours(model, model.mean, plaster)
    assert grey.any() and torch.allclose(grey, grey[:, :1].expand(-1, 3), atol=1e-6)
    for values in (CAVITY, INSIDE_LIPS):
        assert torch.allclose(flesh(values, plaster), torch.tensor(values).mean().expand(3))
        assert torch.equal(flesh(values, LIT), torch.tensor(values))
        between = flesh(values, torch.tensor([0.8, 0.75, 0.7]))  # half of the saturation that counts in full
        assert torch.allclose(between, 0.5 * (torch.tensor(values) + torch.tensor(values).mean()), atol=1e-6)


def test_light_falls_by_the_same_share_for_every_step_behind_the_lips_and_grows_redder():
    model = load_head_model()
    colours, lips = inner_colours(model, model.mean, LIT), model.mean[model.inner_lip, 2].amax()
    for part in (Part.MOUTH_SOCKET, Part.GUMS, Part.TONGUE):
        rows = model.parts == int(part)
        behind, each = (lips - model.mean[rows, 2]).clamp(min=0.0), colours[rows]
        front = each[behind.argmin()] * torch.exp(behind.min() * torch.tensor(EXTINCTION))
        assert torch.allclose(each, front * torch.exp(-behind[:, None] * torch.tensor(EXTINCTION)), atol=1e-5)
        assert behind.max() > behind.min() + 0.1
    assert EXTINCTION[0] < EXTINCTION[1] < EXTINCTION[2]
