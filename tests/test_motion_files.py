import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.motion.files import read_motion, write_motion
from mggtalk_core.motion.live_link import LOOK_PITCH, LOOK_YAW
from mggtalk_core.motion.rotations import FACING, head_degrees
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from tests.motion_samples import rest_state, wandering

EXTRA = ["HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll",
         "RightEyeYaw", "RightEyePitch", "RightEyeRoll"]  # fmt: skip
NAMES = [name[0].upper() + name[1:] for name in BLENDSHAPES]
HEADER = ["Timecode", "BlendShapeCount", *NAMES, *EXTRA]


def timecode(frame, rate=60):
    seconds, rest = divmod(frame, rate)
    return f"11:{seconds // 60:02d}:{seconds % 60:02d}:{rest:02d}.3{frame % 7}9"


def rows(frames, rate=60, count=61):
    values = wandering(frames, 9).beta
    return [[timecode(frame, rate), str(count), *(f"{value:.6f}" for value in values[index].tolist()), *["0.1"] * 9]
            for index, frame in enumerate(range(frames))]  # fmt: skip


def write_csv(path, table, header=HEADER):
    path.write_text("\n".join(",".join(row) for row in [header, *table]) + "\n", encoding="utf-8")
    return path


# Live Link Face


def test_a_take_is_read_by_column_name(tmp_path):
    motion = read_motion(write_csv(tmp_path / "Täke 1.csv", rows(130)))
    assert (len(motion), motion.fps, motion.kind, motion.held) == (130, 60.0, "file", ())
    torch.testing.assert_close(motion.beta, wandering(130, 9).beta, atol=1e-6, rtol=0.0)
    degrees = head_degrees(FACING.T @ motion.rotation[5].double())
    torch.testing.assert_close(degrees.deg2rad(), torch.full((3,), 0.1, dtype=torch.float64), atol=1e-6, rtol=0.0)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(len(HEADER))))
def test_order_and_case_of_columns_do_not_matter(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("csv")
    table = rows(3)
    plain = read_motion(write_csv(folder / "plain.csv", table))
    shuffled = [[row[column] for column in order] for row in table]
    header = [HEADER[column].upper() for column in order]
    other = read_motion(write_csv(folder / "shuffled.CSV", shuffled, header))
    assert torch.equal(other.beta, plain.beta)
    assert torch.equal(other.rotation, plain.rotation)


def test_52_columns_are_enough(tmp_path):
    table = [row[:54] for row in rows(4, count=52)]
    motion = read_motion(write_csv(tmp_path / "take.csv", table, HEADER[:54]))
    assert torch.equal(motion.rotation, FACING.float().expand(4, 3, 3))


def test_gaze_follows_the_look_coefficients(tmp_path):
    table = [[timecode(0), "61", *["0"] * 61]]
    for name in ("EyeLookOutLeft", "EyeLookInRight"):  # both to the subject's left
        table[0][HEADER.index(name)] = "0.5"
    table[0][HEADER.index("EyeLookUpRight")] = "1"
    gaze = read_motion(write_csv(tmp_path / "take.csv", table)).gaze[0]
    torch.testing.assert_close(gaze, torch.tensor([LOOK_YAW / 2, 0.0, LOOK_YAW / 2, LOOK_PITCH]))


def test_missing_columns_are_named(tmp_path):
    table = [[cell for column, cell in enumerate(row) if column not in (4, 19)] for row in rows(2)]
    header = [name for column, name in enumerate(HEADER) if column not in (4, 19)]
    with pytest.raises(InputError, match=f"{BLENDSHAPES[2]}, {BLENDSHAPES[17]}"):
        read_motion(write_csv(tmp_path / "take.csv", table, header))


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
def test_the_timecode_tells_the_rate(tmp_path, rate):
    assert read_motion(write_csv(tmp_path / "take.csv", rows(3 * rate, rate))).fps == rate


def test_every_second_frame_of_a_60_timecode_is_30_fps(tmp_path):
    motion = read_motion(write_csv(tmp_path / "take.csv", rows(180)[::2]))
    assert (len(motion), motion.fps) == (90, 30.0)


def test_a_take_over_midnight_goes_on(tmp_path):
    table = rows(120)
    for index, row in enumerate(table):
        row[0] = f"23:59:59:{index:02d}.0" if index < 60 else f"00:00:00:{index - 60:02d}.0"
    motion = read_motion(write_csv(tmp_path / "take.csv", table))
    assert (len(motion), motion.held) == (120, ())


def test_dropped_frames_are_interpolated(tmp_path):
    table = rows(130)
    whole = read_motion(write_csv(tmp_path / "whole.csv", table))
    del table[40:42]
    motion = read_motion(write_csv(tmp_path / "dropped.csv", table))
    assert (len(motion), motion.held) == (130, (40, 41))
    third = whole.beta[39] + (whole.beta[42] - whole.beta[39]) / 3
    torch.testing.assert_close(motion.beta[40], third)
    assert torch.equal(motion.beta[42:], whole.beta[42:])


def test_rows_without_a_face_are_held(tmp_path):
    table = rows(5)
    table[0] = [table[0][0], "0", *[""] * 61]
    table[4] = [table[4][0], "0"]
    motion = read_motion(write_csv(tmp_path / "take.csv", table))
    assert motion.held == (0, 4)
    assert torch.equal(motion.beta[0], motion.beta[1])
    assert torch.equal(motion.beta[4], motion.beta[3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (b"\xff\xfe\x00\x01", "not a CSV"),
        (",".join(HEADER).encode(), "no row"),
        ((",".join(HEADER) + "\n" + ",".join(["0:0:0:0", "61", *["x"] * 61])).encode(), "line 2"),
        ((",".join(HEADER) + "\n" + ",".join(["0:0:0:0", "61", *["nan"] * 61])).encode(), "line 2"),
        ((",".join(HEADER) + "\n" + ",".join(["0:0:0:0", "61", *["0.5"] * 20])).encode(), "line 2"),
    ],
)
def test_damaged_takes_are_refused(tmp_path, content, message):
    (tmp_path / "take.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_motion(tmp_path / "take.csv")


# JSON


def assert_same(one, two):
    for name in ("beta", "gaze", "rotation", "translation"):
        assert torch.equal(getattr(one, name), getattr(two, name))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(0, 100), st.booleans())
def test_json_comes_back_bit_for_bit(tmp_path_factory, frames, seed, started):
    path = tmp_path_factory.mktemp("json") / "motion ü.json"
    motion = replace(
        wandering(frames, seed, fps=29.97), held=(0,), speech=0.3, start=rest_state(4) if started else None
    )
    write_motion(path, motion)
    again = read_motion(path)
    assert_same(again, motion)
    assert_same(again.rest, motion.rest)
    assert (again.start is None) == (motion.start is None)
    if motion.start is not None:
        assert_same(again.start, motion.start)
    for name in ("fps", "kind", "eye_distance", "held", "speech"):
        assert getattr(again, name) == getattr(motion, name)
    assert list(path.parent.iterdir()) == [path]


def broken(content, **changes):
    return json.dumps({**content, **changes})


def test_damaged_json_is_refused(tmp_path):
    path = tmp_path / "motion.json"
    write_motion(path, wandering(3))
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    short = {**content["frames"], "gaze": content["frames"]["gaze"][:2]}
    infinite = {**content["frames"], "gaze": [[float("nan")] * 4] * 3}
    shuffled = content["blendshapes"][::-1]
    for bad, message in [
        ("", "not a motion file"), (text[:200], "not a motion file"), ("[1, 2]", "'format'"),
        (broken(content, version=2), "version 2"), (broken(content, blendshapes=shuffled), "52 blendshapes"),
        (broken(content, frames=short), "damaged"), (broken(content, frames=infinite), "damaged"),
        (broken(content, rest=None), "damaged"), (broken(content, fps=0), "fps"),
        (broken(content, fps="fast"), "damaged"),
    ]:  # fmt: skip
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_motion(path)


def test_missing_files_and_unwritable_places_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="No motion file"):
        read_motion(tmp_path / "none.csv")
    with pytest.raises(InputError, match="Cannot write"):
        write_motion(tmp_path / "no folder" / "motion.json", wandering(1))


def test_names_are_live_links_own():
    assert NAMES[0] == "EyeBlinkLeft"
    assert NAMES[-1] == "TongueOut"
    assert BLENDSHAPE_INDEX["tongueOut"] == 51
