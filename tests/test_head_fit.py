"""The fit of the head to landmarks: derivatives, recovery of known heads, bounds, real pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.head.camera import Camera
from mggtalk_core.head.fit import fit_head, make_problem
from mggtalk_core.head.gauss_newton import IDENTITY_START, State, jacobian, residuals, solve
from mggtalk_core.head.landmark_model import LandmarkModel
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.observation import LIPS, eye_openness, with_closed_lids
from mggtalk_core.head.offsets import spread
from mggtalk_core.head.parts import Part
from mggtalk_core.head.pose import guess_pose, rotation_matrix
from mggtalk_core.head.solver import bounded_step
from mggtalk_core.head.track import track_head
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX

MODEL = load_head_model()
REDUCED = LandmarkModel.of(MODEL)
CAMERA = Camera.for_crop()
FRONT = np.diag([1.0, -1.0, -1.0])
BLINKS = [BLENDSHAPE_INDEX["eyeBlinkLeft"], BLENDSHAPE_INDEX["eyeBlinkRight"]]
JAW = BLENDSHAPE_INDEX["jawOpen"]


def expression(**values: float) -> np.ndarray:
    beta = np.zeros(52)
    for name, value in values.items():
        beta[BLENDSHAPE_INDEX[name]] = value
    return beta


def head(seed=0, turn=(0.1, 0.2, -0.05), beta=None, gaze=(0.1, -0.05, 0.1, -0.05), spread=0.7) -> State:
    identity = np.random.default_rng(seed).normal(0, spread, MODEL.modes)
    rotation = rotation_matrix(np.array(turn)) @ FRONT
    beta = expression() if beta is None else beta
    return State(rotation, np.array([0.02, 0.03, 9.0]), np.array(gaze), beta, identity)


def seen(state: State, features: np.ndarray | float = 0.0) -> np.ndarray:
    """Landmarks [478, 3] of a head as the landmark network would give them: pixels, depth at the same scale."""
    canonical = REDUCED.points(state.identity, state.beta, state.gaze) + features
    points = canonical @ state.rotation.T + state.translation
    scale = CAMERA.focal / state.translation[2]
    pixels = CAMERA.focal * points[:, :2] / points[:, 2:] + np.array(CAMERA.center)
    return np.concatenate((pixels, (points[:, 2:] - points[:, 2:].mean()) * scale), axis=1)


def tensor(values):
    return torch.from_numpy(np.asarray(values))


def test_landmark_model_agrees_with_the_whole_head():
    state = head(1, beta=np.random.default_rng(2).uniform(0, 1, 52))
    vertices = MODEL.vertices(*(tensor(x).float() for x in (state.identity, state.beta, state.gaze)))
    expected = REDUCED.points(state.identity, state.beta, state.gaze)
    np.testing.assert_allclose(MODEL.landmarks(vertices).numpy(), expected, atol=2e-5)  # float32 against float64


def test_jacobian_agrees_with_finite_differences():
    state = head(3, beta=np.random.default_rng(4).uniform(0.1, 0.9, 52))
    problem = make_problem(REDUCED, seen(head(5)), np.zeros(52), CAMERA)
    slope = jacobian(problem, state, with_identity=True)
    step = 1e-5
    for index in range(len(slope)):
        move = np.eye(len(slope))[index] * step
        numeric = (residuals(problem, state.moved(move)) - residuals(problem, state.moved(-move))) / (2 * step)
        # central differences: error of order step squared times the third derivative (about 1e3 px)
        np.testing.assert_allclose(slope[index], numeric, atol=2e-4 + 1e-6 * abs(numeric).max())


def test_bounded_step_meets_the_optimality_conditions():
    rng = np.random.default_rng(0)
    for _ in range(20):
        root = rng.normal(size=(30, 30))
        hessian, gradient = root @ root.T + 0.1 * np.eye(30), rng.normal(0, 10, 30)
        lower, upper = -rng.uniform(0, 1, 30), rng.uniform(0, 1, 30)
        step = bounded_step(hessian, gradient, lower, upper)
        slope = hessian @ step + gradient
        assert (step >= lower).all() and (step <= upper).all()
        inside = (step > lower) & (step < upper)
        np.testing.assert_allclose(slope[inside], 0, atol=1e-8)
        assert (slope[step == lower] >= -1e-8).all() and (slope[step == upper] <= 1e-8).all()


def test_guessed_pose_is_close():
    state = head(0, turn=(0.3, -0.6, 0.2))
    points = REDUCED.points(state.identity, state.beta, state.gaze)
    rotation, translation = guess_pose(points, seen(state), CAMERA.focal, CAMERA.center)
    angle = np.arccos(np.clip((np.trace(rotation @ state.rotation.T) - 1) / 2, -1, 1))
    assert np.degrees(angle) < 4  # weak perspective against perspective
    np.testing.assert_allclose(translation[2], state.translation[2], rtol=0.05)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.15, 0.4, -0.1), (-0.2, -0.5, 0.3)])
def test_a_known_head_is_recovered(turn):
    beta = expression(jawOpen=0.4, mouthSmileLeft=0.5, mouthSmileRight=0.4, browInnerUp=0.4, eyeBlinkLeft=0.3)
    state = head(6, turn, beta)
    fit = fit_head(MODEL, tensor(seen(state)), tensor(beta))
    assert fit.residual < 0.35  # the priors leave a third of a pixel
    np.testing.assert_allclose(fit.beta_s.numpy(), beta, atol=0.12)
    np.testing.assert_allclose(fit.gaze.numpy(), state.gaze, atol=0.03)
    turned = fit.camera.rotation.double().numpy() @ state.rotation.T
    assert np.degrees(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))) < 2


def test_a_wink_survives_a_prior_that_says_otherwise():
    state = head(2, beta=expression(eyeBlinkLeft=0.95))
    fit = fit_head(MODEL, tensor(seen(state)), tensor(expression(eyeBlinkLeft=0.35, eyeBlinkRight=0.3)))
    left, right = fit.beta_s[BLINKS]
    assert left > 0.7 and right < 0.25


def test_shut_eyes_and_open_mouths_are_exact():
    state = head(4, beta=expression(eyeBlinkLeft=1, eyeBlinkRight=1, jawOpen=0.8))
    landmarks = seen(state)
    guess = expression(eyeBlinkLeft=0.7, eyeBlinkRight=0.7, jawOpen=0.5)
    fit = fit_head(MODEL, tensor(landmarks), tensor(guess))
    found = seen(replace(state, **_numpy_state(fit)))
    assert eye_openness(found).max() < 0.03
    assert lip_gap(found) == pytest.approx(lip_gap(landmarks), rel=0.03)


def lip_gap(landmarks: np.ndarray) -> float:
    """Pixels between the inner lips, in the mean over the middle of the mouth."""
    upper, lower = (landmarks[[pair[side] for pair in LIPS[2:5]], :2] for side in (0, 1))
    return float(np.linalg.norm(upper - lower, axis=1).mean())


def _numpy_state(fit) -> dict:
    values = {"rotation": fit.camera.rotation, "translation": fit.camera.translation, "gaze": fit.gaze}
    values |= {"beta": fit.beta_s, "identity": fit.identity}
    return {name: value.double().numpy() for name, value in values.items()}


def test_fit_stays_in_bounds_on_landmarks_of_no_head():
    noise = np.random.default_rng(1).normal(0, 12, (478, 3))
    fit = fit_head(MODEL, tensor(seen(head(0)) + noise), tensor(np.full(52, 2.0)))
    assert (fit.beta_s >= 0).all() and (fit.beta_s <= 1).all()
    assert fit.gaze.abs().max() <= 0.8 + 1e-6
    assert torch.isfinite(fit.offsets).all() and fit.camera.translation[2] > 0


def test_fit_does_not_depend_on_the_size_of_the_face():
    state = head(3, beta=expression(jawOpen=0.3))
    near = fit_head(MODEL, tensor(seen(state)), tensor(state.beta))
    far = fit_head(MODEL, tensor(seen(replace(state, translation=np.array([0.0, 0.0, 18.0])))), tensor(state.beta))
    # not quite the same picture: perspective flattens with distance
    np.testing.assert_allclose(near.beta_s.numpy(), far.beta_s.numpy(), atol=0.08)


def test_fit_is_deterministic():
    landmarks, guess = tensor(seen(head(7))), torch.zeros(52)
    one, two = fit_head(MODEL, landmarks, guess), fit_head(MODEL, landmarks, guess)
    assert torch.equal(one.identity, two.identity) and torch.equal(one.offsets, two.offsets)


def test_offsets_meet_the_landmarks_and_keep_rigid_parts_rigid():
    rng = np.random.default_rng(0)
    landmarks = seen(head(5))
    bend = 3.0 * np.sin(landmarks[:, :2] / 60 + rng.uniform(0, 6, 2))  # smooth, outside the model
    landmarks[:, :2] += bend
    fit = fit_head(MODEL, tensor(landmarks), torch.zeros(52))
    vertices = MODEL.vertices(fit.identity, fit.beta_s, fit.gaze)

    def miss(points):
        found = fit.camera.project(MODEL.landmarks(points))[:468, :2]
        return float((found.double() - tensor(landmarks[:468, :2])).norm(dim=1).mean())

    assert miss(vertices) == pytest.approx(fit.residual, rel=0.1)
    assert miss(vertices + fit.offsets) < 0.4 * miss(vertices)
    for part in (Part.EYE_LEFT, Part.EYE_RIGHT, Part.TEETH):
        piece = fit.offsets[MODEL.parts == part]
        torch.testing.assert_close(piece, piece[:1].expand_as(piece), atol=1e-6, rtol=0)
    back = MODEL.mean[:, 2] < -1.2  # more than 6 cm behind the landmarks in front of the ears
    assert fit.offsets[back].abs().max() == 0


def test_spread_is_exact_for_slopes_and_fades():
    rng = np.random.default_rng(3)
    anchors, slope = rng.uniform(-0.4, 0.4, (80, 3)), rng.normal(0, 0.1, (3, 3))
    at_anchors = spread(anchors, anchors @ slope, anchors)
    np.testing.assert_allclose(at_anchors, anchors @ slope, atol=1e-5)  # float32 inside
    assert abs(spread(anchors, anchors @ slope, np.array([[0.0, 0.0, 2.0]]))).max() == 0


def test_lids_of_shut_eyes_are_brought_together():
    landmarks = seen(head(0, beta=expression(eyeBlinkLeft=0.9)))
    shut = with_closed_lids(landmarks)
    left, right = eye_openness(shut)
    assert left < eye_openness(landmarks)[0] < 0.11
    assert right == eye_openness(landmarks)[1] > 0.2
    assert np.array_equal(np.delete(shut, _lid_rows(), axis=0), np.delete(landmarks, _lid_rows(), axis=0))


def _lid_rows() -> list[int]:
    return [466, 388, 387, 386, 385, 384, 398, 249, 390, 373, 374, 380, 381, 382]


def clip(frames=24):
    """A head that turns, talks and blinks once."""
    betas, states = [], []
    for frame in range(frames):
        blink = max(0.0, 1 - abs(frame - 12) / 3)
        beta = expression(jawOpen=0.25 + 0.25 * np.sin(frame / 2), eyeBlinkLeft=blink, eyeBlinkRight=blink)
        betas.append(beta)
        states.append(head(8, (0.0, 0.3 * np.sin(frame / 8), 0.0), beta))
    return states, np.stack(betas)


def test_track_follows_blinks_and_lips():
    states, betas = clip()
    landmarks = np.stack([seen(state) for state in states])
    steps = []
    track = track_head(
        MODEL, tensor(landmarks), tensor(betas * 0.7), CAMERA, 25.0, on_step=lambda *step: steps.append(step)
    )
    assert steps[0] == (0, 24) and steps[-1] == (24, 24)
    assert track.residual.max() < 1.0
    found = track.beta.numpy()
    assert np.corrcoef(found[:, JAW], betas[:, JAW])[0, 1] > 0.99
    assert np.corrcoef(found[:, BLINKS[0]], betas[:, BLINKS[0]])[0, 1] > 0.97
    assert abs(int(found[:, BLINKS[0]].argmax()) - 12) <= 0  # the temporal term delays nothing


def test_track_agrees_with_a_single_fit_given_its_identity():
    state = head(9, beta=expression(jawOpen=0.3))
    landmarks = tensor(seen(state))
    fit = fit_head(MODEL, landmarks, tensor(state.beta))
    track = track_head(MODEL, landmarks[None], tensor(state.beta)[None], CAMERA, 25.0, identity=fit.identity)
    np.testing.assert_allclose(track.beta[0].numpy(), fit.beta_s.numpy(), atol=0.01)
    np.testing.assert_allclose(track.rotation[0].numpy(), fit.camera.rotation.numpy(), atol=1e-3)


def test_a_turn_is_told_better_with_what_is_known_of_the_depth():
    """A flat middle of the face looks like a smaller turn, unless the track knows of it; the first frame is frontal."""
    relief = np.zeros((478, 3))
    relief[:468, 2] = -0.15 * np.exp(-((np.linalg.norm(REDUCED.mean[:468] - REDUCED.mean[4], axis=1) / 0.4) ** 2))
    turns = np.linspace(0.0, 0.45, 8)
    states = [head(3, (0.0, turn, 0.0)) for turn in turns]
    landmarks = tensor(np.stack([seen(state, relief) for state in states]))
    known = tensor(states[0].identity)

    def error(given):
        track = track_head(MODEL, landmarks, torch.zeros(8, 52), CAMERA, 25.0, identity=known, relief=given)
        wanted = torch.from_numpy(np.stack([state.rotation for state in states])).float()
        return float((track.rotation - wanted).flatten(1).norm(dim=1)[4:].mean())

    assert error(tensor(relief)) < 0.4 * error(None)


def test_track_survives_a_cut_and_refuses_nothing_at_all():
    one, two = seen(head(1)), seen(replace(head(1, (0.0, -0.4, 0.0)), translation=np.array([0.6, 0.4, 12.0])))
    track = track_head(MODEL, tensor(np.stack((one, one, two, two))), torch.zeros(4, 52), CAMERA, 25.0)
    assert track.residual.max() < 1.5
    with pytest.raises(InputError, match="no frame"):
        track_head(MODEL, torch.zeros(0, 478, 3), torch.zeros(0, 52), CAMERA, 25.0)


def test_solution_is_a_minimum():
    problem = make_problem(REDUCED, seen(head(5, beta=expression(jawOpen=0.5))), np.zeros(52), CAMERA)
    state = solve(problem, head(0), with_identity=True, steps=40, tolerance=1e-9)
    again = solve(problem, state, with_identity=True, steps=1)
    assert abs(again.beta - state.beta).max() < 1e-5
    assert abs(again.identity - state.identity).max() < 1e-4
    assert len(jacobian(problem, state, with_identity=False)) == IDENTITY_START


def test_what_the_model_misses_of_a_person_turns_the_head_less():
    """A face with features that no identity has, turned by 23 degrees: compared with fits frame by frame."""
    random = np.random.default_rng(6).normal(size=(12, 3))
    features = 0.03 * spread(REDUCED.mean[::40], random, REDUCED.mean, smoothing=0.0)
    states = [head(10, (0.0, turn, 0.0)) for turn in np.linspace(0.0, 0.4, 6)]
    frames = [seen(state, features) for state in states]
    turns = [state.rotation @ states[0].rotation.T for state in states]

    def turned(frames):
        identity = tensor(states[0].identity).float()
        track = track_head(
            MODEL, tensor(np.stack(frames)), torch.zeros(len(frames), 52), CAMERA, 25.0, identity=identity
        )
        return track.rotation.double().numpy()

    def misses(rotations):
        apart = [np.linalg.norm(found @ rotations[0].T - turn) for found, turn in zip(rotations, turns, strict=True)]
        return np.degrees(apart[1:]) / 2**0.5

    together, alone = misses(turned(frames)), misses([turned([frame])[0] for frame in frames])
    assert alone[-1] > 2.0
    assert (together < 0.65 * alone).all()
