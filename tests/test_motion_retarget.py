from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.head.model import load_head_model
from mggtalk_core.motion.channels import BLINKS, MOUTH_OPENING, indices
from mggtalk_core.motion.motion import Rest
from mggtalk_core.motion.retarget import (
    HEAD_CENTER,
    LID_CLOSING,
    LIP_OPENING,
    OVERSHOOT,
    limit_expression,
    limit_gaze,
    retarget,
)
from mggtalk_core.motion.rig import motion_from_rig
from mggtalk_core.motion.rotations import FACING, head_degrees, log_rotation
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from tests.motion_samples import EyesOnly, source_fit, wandering

MODEL = EyesOnly()
JAW, CLOSE = BLENDSHAPE_INDEX["jawOpen"], BLENDSHAPE_INDEX["mouthClose"]


def assert_is_source(motion, frame, fit):
    assert torch.equal(motion.beta[frame], fit.beta_s)
    assert torch.equal(motion.gaze[frame], fit.gaze)
    assert torch.equal(motion.rotation[frame], fit.camera.rotation)
    assert torch.equal(motion.translation[frame], fit.camera.translation)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 30), st.floats(0.0, 2.0))
def test_the_first_frame_is_the_source_exactly(frames, seed, strength):
    fit = source_fit(seed)
    assert_is_source(retarget(wandering(frames, seed), fit, MODEL, strength=strength), 0, fit)


@pytest.mark.parametrize("reference", ["first", "neutral", "absolute"])
def test_strength_zero_is_still(reference):
    fit = source_fit()
    driven = retarget(wandering(9), fit, MODEL, reference=reference, strength=0.0)
    for frame in range(9):
        assert_is_source(driven, frame, fit)


def test_neutral_measures_from_the_rest():
    driver, fit = wandering(5), source_fit()
    rest = driver.rest
    at_rest = replace(driver, beta=rest.beta.expand(5, 52), gaze=rest.gaze.expand(5, 4),
                      rotation=rest.rotation.expand(5, 3, 3), translation=rest.translation.expand(5, 3))  # fmt: skip
    assert_is_source(retarget(at_rest, fit, MODEL, reference="neutral"), 3, fit)


def test_equations_of_the_relative_motion():
    driver, fit = wandering(6), source_fit()
    driven = retarget(driver, fit, MODEL)
    brow = BLENDSHAPE_INDEX["browInnerUp"]
    change = driver.beta[4, brow] - driver.beta[0, brow]
    expected = limit_expression((fit.beta_s + torch.nn.functional.one_hot(torch.tensor(brow), 52) * change)[None],
                                fit.beta_s)[0, brow]  # fmt: skip
    assert float(driven.beta[4, brow]) == pytest.approx(float(expected), abs=1e-6)
    turn = driver.rotation[4].double() @ driver.rotation[0].double().T @ fit.camera.rotation.double()
    torch.testing.assert_close(driven.rotation[4].double(), turn, atol=2e-6, rtol=0.0)
    moved = (driver.translation[4] - driver.translation[0]) * (0.66 / 0.6) + fit.camera.translation
    torch.testing.assert_close(driven.translation[4], moved)


def test_absolute_takes_expression_and_rotation_as_they_are():
    driver, fit = wandering(6), source_fit()
    driven = retarget(driver, fit, MODEL, reference="absolute")
    torch.testing.assert_close(driven.rotation, driver.rotation, atol=2e-6, rtol=0.0)
    brow = BLENDSHAPE_INDEX["browDownLeft"]
    torch.testing.assert_close(driven.beta[:, brow], driver.beta[:, brow])


def test_half_strength_is_half_the_turn():
    driver, fit = wandering(4), source_fit()
    turns = [
        log_rotation(retarget(driver, fit, MODEL, strength=s).rotation[3].double() @ fit.camera.rotation.double().T)
        for s in (0.5, 1.0)
    ]
    torch.testing.assert_close(2.0 * turns[0], turns[1], atol=1e-5, rtol=0.0)


@pytest.mark.parametrize(("source", "start"), [(0.0, 0.4), (0.5, 0.1), (0.3, 0.3)])
def test_lids_close_where_the_drivers_close(source, start):
    fit = source_fit()
    beta_s = torch.zeros(52)
    beta_s[list(BLINKS)] = source
    driver = motion_from_rig({"eyeBlinkLeft": [start, 1.0], "eyeBlinkRight": [start, 1.0]})
    driven = retarget(replace(driver, start=None), replace(fit, beta_s=beta_s), MODEL)
    torch.testing.assert_close(driven.beta[1, list(BLINKS)], torch.ones(2))


def test_speech_closes_an_open_portrait_and_does_not_add_to_it():
    fit = replace(source_fit(), beta_s=torch.full((52,), 0.3))
    driver = replace(motion_from_rig({"jawOpen": [0.0, 0.4]}), speech=1.0, kind="audio")
    driven = retarget(driver, fit, MODEL)
    torch.testing.assert_close(driven.beta[0, indices(MOUTH_OPENING)], torch.zeros(len(MOUTH_OPENING)))
    assert float(driven.beta[1, JAW]) == pytest.approx(0.4)
    smile = BLENDSHAPE_INDEX["mouthSmileLeft"]
    assert float(driven.beta[0, smile]) == pytest.approx(0.3), "the smile stays"


def test_sliders_act_from_their_rest_not_from_their_first_frame():
    fit = replace(source_fit(), beta_s=torch.zeros(52))
    driven = retarget(motion_from_rig({"browInnerUp": 0.5}, yaw=10.0), fit, MODEL)
    assert float(driven.beta[0, BLENDSHAPE_INDEX["browInnerUp"]]) == pytest.approx(0.5)
    turn = driven.rotation[0].double() @ fit.camera.rotation.double().T
    assert float(log_rotation(turn).norm().rad2deg()) == pytest.approx(10.0, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 8.0))
def test_limits_hold_and_leave_the_source_alone(seed, spread):
    generator = torch.Generator().manual_seed(seed)
    beta_s = torch.rand(52, generator=generator)
    beta = beta_s + spread * torch.randn(30, 52, generator=generator)
    beta[0] = beta_s
    limited = limit_expression(beta, beta_s)
    assert torch.equal(limited[0], beta_s)
    assert float(limited.max()) <= 1.0 + OVERSHOOT + 1e-6
    free = [column for column in range(52) if column not in (*BLINKS, CLOSE)]
    assert float(limited[:, free].min()) >= -OVERSHOOT - 1e-6
    assert float(limited[:, JAW].min()) >= 0.0
    lips = opening(limited, beta_s, LIP_OPENING) - limited[:, CLOSE]
    assert float(lips.min()) >= -1e-5, "lips never cross"
    for side, lid in zip(("Left", "Right"), BLINKS, strict=True):
        closing = {f"{name}{side}": -weight for name, weight in LID_CLOSING.items()}
        lids = 1.0 + opening(limited, beta_s, closing, most=1.0) - limited[:, lid]
        assert float(lids.min()) >= -1e-5, "lids never cross"


def opening(beta, beta_s, table, most=0.0):
    """What other shapes leave open, or where the source closes more than that, what the source leaves."""
    weights = torch.zeros(52)
    weights[[BLENDSHAPE_INDEX[name] for name in table]] = torch.tensor(list(table.values()))
    closer = CLOSE if "jawOpen" in table else BLENDSHAPE_INDEX[f"eyeBlink{list(table)[0].removeprefix('eyeLookDown')}"]
    return beta @ weights + (beta_s[closer] - most - beta_s @ weights).clamp_min(0.0)


def test_shapes_close_lids_and_lips_in_the_head_model_as_the_limits_say():
    model = load_head_model()
    wide = {**{f"{name}Left": weight for name, weight in LID_CLOSING.items()}, "eyeBlinkLeft": 1.0}
    lids = gap(model, model.eyelid_left)
    for name, share in wide.items():
        closed = 1.0 - gap(model, model.eyelid_left, name) / lids
        assert closed == pytest.approx(share, abs=0.03), name
    unit = -gap(model, model.inner_lip, "mouthClose")
    for name, share in LIP_OPENING.items():
        assert gap(model, model.inner_lip, name) / unit == pytest.approx(share, abs=0.04), name


def gap(model, loop, name=None):
    """Mean height between the upper and the lower half of a contour, over its middle."""
    beta = torch.zeros(52)
    if name is not None:
        beta[BLENDSHAPE_INDEX[name]] = 1.0
    rest = model.mean[loop]
    contour = model.vertices(torch.zeros(model.modes), beta, torch.zeros(4))[loop]
    center, half = (rest[:, 0].max() + rest[:, 0].min()) / 2, (rest[:, 0].max() - rest[:, 0].min()) / 2
    middle = (rest[:, 0] - center).abs() < 0.12 * half
    upper = torch.arange(len(loop)) <= len(loop) // 2
    return float(contour[middle & upper, 1].mean() - contour[middle & ~upper, 1].mean())


def test_limits_touch_nothing_between_0_and_1_where_nothing_closes():
    beta = torch.linspace(0.0, 1.0, 11)[:, None].expand(11, 52).clone()
    beta[:, [*BLINKS, CLOSE]] = 0.0  # all other shapes at once would close more than there is
    others = [column for column in range(52) if column not in BLINKS]
    assert torch.equal(limit_expression(beta, torch.zeros(52))[:, others], beta[:, others])


def test_gaze_bends_only_far_out():
    gaze = torch.tensor([[0.2, -0.4, 0.5, -0.5], [3.0, -3.0, 0.6, 0.0]])
    limited = limit_gaze(gaze, torch.zeros(4))
    assert torch.equal(limited[0], gaze[0])
    assert float(limited.abs().max()) <= 0.7 + 1e-6


@pytest.mark.parametrize(("yaw", "pitch"), [(30.0, 0.0), (-30.0, 0.0), (0.0, 15.0)])
def test_fixed_views_turn_the_head_about_its_centre(yaw, pitch):
    fit = source_fit()
    level = replace(fit, camera=fit.camera.posed(FACING.float(), torch.tensor([0.1, -0.2, 7.3])))
    driver = wandering(3)
    plain, turned = (retarget(driver, level, MODEL, yaw=y, pitch=p) for y, p in ((0.0, 0.0), (yaw, pitch)))
    center = torch.tensor(HEAD_CENTER)
    for frame in range(3):
        before = plain.rotation[frame] @ center + plain.translation[frame]
        after = turned.rotation[frame] @ center + turned.translation[frame]
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0.0)
    seen = head_degrees(FACING.T @ turned.rotation[0].double())
    torch.testing.assert_close(seen, torch.tensor([yaw, pitch, 0.0], dtype=torch.float64), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(
    "wrong", [{"reference": "second"}, {"strength": float("nan")}, {"yaw": float("inf")}, {"pitch": float("nan")}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        retarget(wandering(2), source_fit(), MODEL, **wrong)


def test_result_is_in_the_portraits_terms():
    driven = retarget(wandering(3), source_fit(), MODEL)
    assert driven.eye_distance == pytest.approx(0.66)
    assert isinstance(driven.rest, Rest)
    assert torch.equal(driven.rest.beta, source_fit().beta_s)
