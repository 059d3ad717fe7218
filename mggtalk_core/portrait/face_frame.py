"""The face as a ruler: directions and lengths in the picture relative to the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .face_mesh import CHIN, FACE_OVAL, FOREHEAD, LEFT_EYE_OUTER, RIGHT_EYE_OUTER

_EAR_TO_EAR = FACE_OVAL[8:29]
"""The lower half of the outline: from the subject's left ear along the jaw to the right ear."""


@dataclass(frozen=True)
class FaceFrame:
    """Coordinates (u, v) of the face: u along the eyes, v down the face, in face heights, from between the eyes."""

    origin: np.ndarray
    axes: np.ndarray
    """[2,2]: rows are the unit vectors u and v in the picture."""
    height: float
    """Forehead to chin in pixels, foreshortening undone with the landmarks' z."""
    landmarks: np.ndarray
    """[478,2]: the landmarks in (u, v)."""

    @classmethod
    def from_landmarks(cls, landmarks: np.ndarray) -> FaceFrame:
        """Measure the face given by landmarks [478,3] in pixels."""
        eyes = landmarks[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER], :2]
        u = (eyes[1] - eyes[0]) / max(float(np.linalg.norm(eyes[1] - eyes[0])), 1e-6)
        axes = np.array([u, [-u[1], u[0]]])
        height = float(np.linalg.norm(landmarks[CHIN] - landmarks[FOREHEAD]))
        origin = eyes.mean(axis=0)
        return cls(origin, axes, height, (landmarks[:, :2] - origin) @ axes.T / height)

    def coordinates(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return u and v [size,size] of the pixels' centres."""
        ticks = np.arange(size, dtype=np.float32) + 0.5
        x, y = ticks[None, :] - self.origin[0], ticks[:, None] - self.origin[1]
        grid = [(axis[0] * x + axis[1] * y).astype(np.float32) / np.float32(self.height) for axis in self.axes]
        return grid[0], grid[1]

    def to_pixels(self, uv: np.ndarray) -> np.ndarray:
        """Map (u, v) [N,2] to pixels."""
        return uv @ self.axes * self.height + self.origin

    def from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Map pixels [N,2] to (u, v)."""
        return (pixels - self.origin) @ self.axes.T / self.height

    @property
    def chin(self) -> float:
        """Lowest v of the jaw."""
        return float(self.landmarks[list(_EAR_TO_EAR), 1].max())

    @property
    def center(self) -> float:
        """Middle of the face's outline in u."""
        outline = self.landmarks[list(FACE_OVAL), 0]
        return float(outline.min() + outline.max()) / 2

    @property
    def half_width(self) -> float:
        """Half the width of the face's outline."""
        outline = self.landmarks[list(FACE_OVAL), 0]
        return float(outline.max() - outline.min()) / 2

    def jaw(self, u: np.ndarray) -> np.ndarray:
        """Return v of the jaw at ``u``; beyond the face, v of the ears."""
        points = self.landmarks[list(_EAR_TO_EAR)]
        # A turned head's far jaw overlaps itself: take the lowest point at each u.
        ticks = np.linspace(points[:, 0].min(), points[:, 0].max(), 65)
        lowest = np.full(65, -np.inf)
        for (u0, v0), (u1, v1) in zip(points[:-1], points[1:], strict=True):
            low, high = min(u0, u1), max(u0, u1)
            inside = (ticks >= low - 1e-9) & (ticks <= high + 1e-9)
            share = (ticks - u0) / (u1 - u0) if abs(u1 - u0) > 1e-9 else np.zeros(65)
            lowest = np.where(inside, np.maximum(lowest, v0 + share * (v1 - v0)), lowest)
        return np.interp(u, ticks, lowest).astype(np.float32)

    def hull(self, size: int) -> np.ndarray:
        """Return the inside of the face's outline as a mask uint8 [size,size] of 0 and 1."""
        import cv2

        outline = self.to_pixels(self.landmarks[list(FACE_OVAL)])
        mask = np.zeros((size, size), np.uint8)
        # Sixteenths of a pixel; OpenCV's polygons count from pixel centres.
        points = np.round((outline - 0.5) * 16).astype(np.int32)
        return cv2.fillPoly(mask, [cv2.convexHull(points)], 1, shift=4)
