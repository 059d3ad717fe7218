"""What a picture shows between the lips, and what carries it."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch

from mggtalk_core.geometry.mouth_view import CORNERS, INNER_LIPS, LIPS, SKIN, Inside, seen_inside
from mggtalk_core.geometry.reconstruct import reconstruct_surface
from mggtalk_core.geometry.teeth import CLEARANCE, behind_seen_mouth, upper_jaw, with_seen_mouth
from mggtalk_core.head.parts import MOUTH, Part
from mggtalk_core.motion.deform import model_vertices
from mggtalk_core.portrait.portrait import Portrait
from tests.head_samples import expression, model_head

CENTER, HALF = np.array([256.0, 300.0]), 50.0
SKIN_COLOUR = 0.6 * SKIN
LIP, TOOTH, DARK, TONGUE = (0.65, 0.3, 0.32), (0.85, 0.8, 0.72), (0.12, 0.06, 0.06), (0.6, 0.3, 0.3)


@dataclass
class Mouth:
    """A painted mouth: a lens ``height`` pixels high and 100 wide, turned by ``roll`` degrees."""

    height: float
    roll: float = 0.0

    def __post_init__(self):
        angle = np.radians(self.roll)
        self.turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rows, columns = np.mgrid[:512, :512] + 0.5
        self.x, self.y = np.moveaxis((np.stack((columns, rows), axis=-1) - CENTER) @ self.turn, -1, 0)
        self.rim = self.height / 2 * (1 - (self.x / HALF) ** 2).clip(min=0.0)
        self.opening = np.abs(self.y) < self.rim
        self.inner = np.abs(self.y) < self.rim - 1.0
        self.crop = np.empty((512, 512, 3), np.float32)
        self.crop[:] = SKIN_COLOUR
        self.crop[np.abs(self.y) < self.rim + 12] = LIP
        self.crop[self.opening] = DARK

    def portrait(self, light=(1.0, 1.0, 1.0)):
        """The portrait of it; only crop and landmarks matter."""
        landmarks = np.random.default_rng(0).uniform(100, 400, (478, 2)).astype(np.float64)
        landmarks[:, 1] = landmarks[:, 1] * 0.3 + 60  # skin, far from the mouth
        across = np.concatenate((np.linspace(-HALF, HALF, 11), np.linspace(HALF, -HALF, 11)[1:-1]))
        side = np.where(np.arange(20) < 11, -1.0, 1.0)
        lens = np.stack((across, side * self.height / 2 * (1 - (across / HALF) ** 2)), axis=1)
        for index, place in zip(INNER_LIPS, lens, strict=True):
            landmarks[index] = place @ self.turn.T + CENTER
        for index, place in zip(CORNERS, ((-HALF, 0.0), (HALF, 0.0)), strict=True):
            landmarks[index] = np.array(place) @ self.turn.T + CENTER
        for number, (outer, inner) in enumerate(LIPS):
            sign = -1.0 if number < 3 else 1.0
            x = (0.0, -20.0, 20.0)[number % 3]
            rim = self.height / 2 * (1 - (x / HALF) ** 2)
            for index, y in ((outer, rim + 12), (inner, rim)):
                landmarks[index] = np.array((x, sign * y)) @ self.turn.T + CENTER
        crop = torch.from_numpy(self.crop * np.array(light, np.float32)).permute(2, 0, 1)
        blank = torch.zeros(3, 512, 512)
        points = torch.cat((torch.from_numpy(landmarks).float(), torch.zeros(478, 1)), dim=1)
        matte, labels = torch.ones(1, 512, 512), torch.ones(512, 512, dtype=torch.uint8)
        return Portrait(blank, crop, torch.eye(3)[:2], matte, blank, labels, points, torch.zeros(52), 1.0)

    def seen(self, **more):
        """What is found in it."""
        return seen_inside(self.portrait(**more)).numpy()


def share(found, kind, where):
    return float((found[where] == int(kind)).mean())


def smile(**more):
    """A row of teeth with dark gaps down to 3 pixels below the middle, and shade below it."""
    mouth = Mouth(22.0, **more)
    mouth.row = mouth.opening & (mouth.y < 3.0) & (np.abs(mouth.x) < 36.0)
    mouth.crop[mouth.row & (np.abs(mouth.x) % 9.0 > 1.5)] = TOOTH
    return mouth


@pytest.mark.parametrize("roll", [0.0, 30.0, -30.0])
def test_a_smile_shows_the_upper_row_with_its_gaps_to_a_smooth_edge(roll):
    mouth = smile(roll=roll)
    found = mouth.seen()
    inner = mouth.row & mouth.inner & (np.abs(mouth.x) < 34.0) & (mouth.y < 1.5)
    assert share(found, Inside.UPPER_ROW, inner) == 1.0
    assert share(found, Inside.SLIT, mouth.inner & (mouth.y > 5.0)) == 1.0
    assert not found[np.abs(mouth.y) > mouth.rim + 2.0].any()


@pytest.mark.parametrize("light", [(1.0, 0.8, 0.35), (0.6, 0.7, 1.0), (0.4, 0.4, 0.4)])
def test_the_light_does_not_matter(light):
    assert (smile().seen(light=light) != smile().seen()).mean() < 1e-4


def test_teeth_far_below_the_upper_lip_are_the_lower_row():
    mouth = Mouth(44.0)
    row = mouth.inner & (mouth.y > 8.0) & (np.abs(mouth.x) < 24.0)
    mouth.crop[row] = TOOTH
    found = mouth.seen()
    assert share(found, Inside.LOWER_ROW, row) == 1.0
    assert share(found, Inside.CAVITY, mouth.inner & (mouth.y < 6.0)) == 1.0


def test_both_rows_are_told_apart():
    mouth = Mouth(50.0)
    above = mouth.inner & (mouth.y < -10.0) & (np.abs(mouth.x) < 28.0)
    below = mouth.inner & (mouth.y > 12.0) & (np.abs(mouth.x) < 24.0)
    mouth.crop[above | below] = TOOTH
    found = mouth.seen()
    assert share(found, Inside.UPPER_ROW, above) == 1.0
    assert share(found, Inside.LOWER_ROW, below) == 1.0
    assert share(found, Inside.CAVITY, mouth.inner & (np.abs(mouth.y) < 7.0)) == 1.0


def test_a_tongue_a_gleam_and_a_speck_are_no_teeth():
    mouth = Mouth(24.0)
    mouth.crop[mouth.opening & (mouth.y > 0.0)] = TONGUE
    mouth.crop[308:310, 250:252] = 1.0  # spittle
    mouth.crop[(np.abs(mouth.y) > mouth.rim + 4) & (np.abs(mouth.y) < mouth.rim + 7)] = TOOTH  # gloss on the lips
    assert set(np.unique(mouth.seen())) == {int(Inside.NOTHING), int(Inside.SLIT)}


def test_teeth_just_beside_the_landmarks_are_teeth_and_lips_there_are_lips():
    mouth = smile()
    left = (np.abs(mouth.y + mouth.rim) < 1.0) & (np.abs(mouth.x) < 30.0) & (mouth.x < 0.0)
    mouth.crop[left] = TOOTH
    found = mouth.seen()
    assert share(found, Inside.UPPER_ROW, left) == 1.0
    assert not found[(np.abs(mouth.y) > mouth.rim + 1.5) & (mouth.x > 0.0)].any()


def test_a_shut_mouth_and_one_outside_the_picture_show_nothing():
    assert not Mouth(1.5).seen().any()
    portrait = smile().portrait()
    away = replace(portrait, landmarks=portrait.landmarks + torch.tensor([600.0, 0.0, 0.0]))
    assert not seen_inside(away).any()


@pytest.fixture(scope="module")
def talking():
    """The model's head with its mouth open, its inside painted: an upper row, a cavity, a lower row."""
    head = model_head(yaw=10.0, jawOpen=0.45)
    crop = torch.tensor(SKIN_COLOUR, dtype=torch.float32)[:, None, None].repeat(1, 512, 512)
    contour = head.portrait.landmarks[list(INNER_LIPS), :2].numpy()
    mask = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(mask, [np.round(16 * contour - 8).astype(np.int32)], 1, shift=4)
    opening = torch.from_numpy(mask > 0)
    rows = torch.nonzero(opening)[:, 0].double()
    low, high = (torch.quantile(rows, share) for share in (0.3, 0.75))
    y = torch.arange(512)[:, None]
    crop[:, opening] = torch.tensor(DARK)[:, None]
    crop[:, opening & ((y < low) | (y > high))] = torch.tensor(TOOTH)[:, None]
    portrait = replace(head.portrait, crop=crop)
    surface = reconstruct_surface(portrait, head.points.fit, head.model)
    return with_seen_mouth(surface, head.model), seen_inside(portrait), head


def of_kind(talking, kind):
    surface, inside, _ = talking
    return torch.nonzero((inside == int(kind)) & surface.mask).unbind(-1)


@pytest.mark.parametrize(
    ("kind", "part", "stays"),
    [(Inside.UPPER_ROW, Part.TEETH, True), (Inside.LOWER_ROW, Part.TEETH, False), (Inside.CAVITY, Part.GUMS, False)],
)
def test_rows_are_carried_by_their_jaw_as_one(talking, kind, part, stays):
    surface, _, head = talking
    rows, columns = of_kind(talking, kind)
    assert len(rows) > 100
    triangle = surface.triangle[rows, columns].long()
    model, fit = head.model, head.points.fit
    assert (model.parts[model.triangles[triangle, 0]] == int(part)).all()
    assert (upper_jaw(model)[triangle] == stays).all()
    wide = model_vertices(model, fit, expression(jawOpen=0.9), fit.gaze)
    moved = (wide - head.binding.rest)[model.triangles[triangle]].mean(dim=1)
    if stays:
        assert moved.norm(dim=1).max() < 2e-3
        return
    grid = torch.full((512, 512, 3), torch.nan)
    grid[rows, columns] = moved
    step = torch.stack(((grid[1:, 1:] - grid[1:, :-1]).norm(dim=-1), (grid[1:, 1:] - grid[:-1, 1:]).norm(dim=-1)))
    assert moved.norm(dim=1).min() > 0.05
    assert step[step.isfinite()].max() < 0.25 * moved.norm(dim=1).mean()  # nothing tears
    assert step[step.isfinite()].median() < 1e-3


def test_rows_lie_where_the_model_has_them_the_upper_before_the_lower(talking):
    surface, inside, head = talking
    rows, columns = torch.nonzero((inside > 0) & surface.mask, as_tuple=True)
    pixels = surface.fit.camera.project(surface.position_map[:, rows, columns].T)
    wanted = torch.stack((columns + 0.5, rows + 0.5, surface.depth[rows, columns]), dim=1)
    assert torch.allclose(pixels, wanted, atol=2e-3)
    middle = (surface.position_map[0].abs() < 0.05) & surface.mask
    upper, lower = (
        surface.position_map[2][middle & (inside == int(kind))].median()
        for kind in (Inside.UPPER_ROW, Inside.LOWER_ROW)
    )
    lips = head.binding.rest[head.model.inner_lip.long(), 2].amax()
    assert lips > upper > lower + 0.01


def test_lips_and_the_rest_of_the_face_stay_as_they_were(talking):
    surface, inside, head = talking
    before = reconstruct_surface(surface.portrait, head.points.fit, head.model)
    part = head.model.parts[head.model.triangles[before.triangle.clamp(min=0).long(), 0]]
    outside = (inside == 0) & (before.triangle >= 0) & (part <= int(Part.SCALP))
    assert int(outside.sum()) > 10_000
    assert torch.equal(surface.triangle[outside], before.triangle[outside])
    assert torch.equal(surface.depth[outside], before.depth[outside])


def test_lips_that_the_model_takes_for_its_mouth_are_skin(talking):
    """Of the model's mouth that the picture covers with lips, what is near the model's skin becomes skin."""
    _, _, head = talking
    shut = replace(head.portrait, crop=torch.full((3, 512, 512), 0.5), landmarks=head.portrait.landmarks.clone())
    middle = 0.5 * (shut.landmarks[13] + shut.landmarks[14])
    shut.landmarks[list(INNER_LIPS)] = middle
    before = reconstruct_surface(shut, head.points.fit, head.model)
    after = with_seen_mouth(before, head.model)
    kinds = [head.model.parts[head.model.triangles[each.triangle.clamp(min=0).long(), 0]] for each in (before, after)]
    mouth = (before.triangle >= 0) & torch.isin(kinds[0], torch.tensor([int(part) for part in MOUTH]))
    lips = mouth & (kinds[1] == int(Part.FACE))
    assert 0.1 < float(lips.sum() / mouth.sum()) < 1.0
    skin = cv2.distanceTransform(
        (~((kinds[0] == int(Part.FACE)) & (before.triangle >= 0))).numpy().astype(np.uint8), 2, 5
    )
    width = float((shut.landmarks[CORNERS[0], :2] - shut.landmarks[CORNERS[1], :2]).norm())
    assert skin[lips.numpy()].max() <= 0.06 * width + 0.5
    assert skin[(mouth & ~lips).numpy()].min() >= 0.06 * width - 0.5


def test_the_models_mouth_lies_behind_what_the_picture_shows(talking):
    surface, inside, head = talking
    camera = surface.fit.camera
    rows, columns = (each[::7] for each in torch.nonzero((inside > 0) & surface.mask, as_tuple=True))
    pixels, depth = torch.stack((columns, rows), dim=1) + 0.5, surface.depth[rows, columns]
    before = camera.unproject(pixels, depth - 0.05)
    beside = surface.position_map[:, 200:210, 250].T
    after = behind_seen_mouth(torch.cat((before, beside)), surface, head.model)
    wanted = torch.cat((pixels, (depth + CLEARANCE)[:, None]), dim=1)
    assert torch.allclose(camera.project(after[: len(before)]), wanted, atol=2e-3)
    assert torch.equal(after[len(before) :], beside)
    deep = before - torch.tensor([0.0, 0.0, 0.5])
    assert torch.equal(behind_seen_mouth(deep, surface, head.model), deep)
