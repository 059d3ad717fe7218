"""Symmetric decimation that keeps a subset of the vertices, so that every mode of the model stays exact on them.

Half-edge collapses in the order of their quadric error (Garland and Heckbert 1997), the error summed over several
poses of the face, always of an edge and its mirror image together.
"""

from __future__ import annotations

import heapq

import numpy as np


class SymmetricDecimator:
    """A triangle mesh in several poses that loses vertices in mirrored pairs."""

    def __init__(
        self, poses: np.ndarray, triangles: np.ndarray, mirror: np.ndarray, weight: np.ndarray, longest: np.ndarray
    ) -> None:
        """Take the mesh in all poses, and what may be done to it.

        ``poses`` [P, V, 3], ``triangles`` [F, 3], ``mirror`` [V], error ``weight`` [V] (infinite: keep) and ``longest``
        [V], the length up to which edges may grow.
        """
        self.points = np.ascontiguousarray(poses.transpose(1, 0, 2))  # [V, P, 3]
        self.mirror, self.weight, self.longest = mirror, weight, longest
        self.faces: list[tuple[int, int, int] | None] = [tuple(int(i) for i in face) for face in triangles]
        self.around: list[set[int]] = [set() for _ in range(len(mirror))]
        for index, face in enumerate(self.faces):
            for vertex in face:
                self.around[vertex].add(index)
        self.quadrics = self._quadrics(triangles)
        self.age = np.zeros(len(mirror), dtype=np.int64)

    def run(self, target: int) -> tuple[np.ndarray, np.ndarray]:
        """Collapse until ``target`` vertices are left; return their indices and the triangles (old indices)."""
        alive = sum(1 for faces in self.around if faces)
        heap: list[tuple[float, int, int, int]] = []
        for vertex in range(len(self.around)):
            self._push(heap, vertex)
        while alive > target and heap:
            _, vertex, onto, age = heapq.heappop(heap)
            if age != self.age[vertex] or not self.around[vertex]:
                continue
            alive -= self._collapse_pair(vertex, onto, heap)
        triangles = np.array([face for face in self.faces if face is not None])
        return np.unique(triangles), triangles

    def _quadrics(self, triangles: np.ndarray) -> np.ndarray:
        """Area-weighted plane quadrics per vertex and pose, with planes that hold open borders in place."""
        corners = self.points[triangles]  # [F, 3, P, 3]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normal, axis=-1, keepdims=True)
        unit = normal / np.maximum(area, 1e-12)
        plane = np.concatenate((unit, -(unit * corners[:, 0]).sum(-1, keepdims=True)), axis=-1)
        quadric = plane[..., :, None] * plane[..., None, :] * area[..., None] / 6
        total = np.zeros((len(self.points), *quadric.shape[1:]))
        for corner in range(3):
            np.add.at(total, triangles[:, corner], quadric)
        for (a, b), faces in self._edges(triangles).items():
            if len(faces) == 1:
                total[[a, b]] += self._border_quadric(a, b, unit[faces[0]])
        return total

    def _border_quadric(self, a: int, b: int, normal: np.ndarray) -> np.ndarray:
        along = self.points[b] - self.points[a]
        length = np.linalg.norm(along, axis=-1, keepdims=True)
        side = np.cross(along, normal) / np.maximum(length, 1e-12)
        plane = np.concatenate((side, -(side * self.points[a]).sum(-1, keepdims=True)), axis=-1)
        return plane[:, :, None] * plane[:, None, :] * (length**2)[..., None]

    @staticmethod
    def _edges(triangles: np.ndarray) -> dict[tuple[int, int], list[int]]:
        edges: dict[tuple[int, int], list[int]] = {}
        for index, (a, b, c) in enumerate(triangles.tolist()):
            for edge in ((a, b), (b, c), (c, a)):
                edges.setdefault((min(edge), max(edge)), []).append(index)
        return edges

    def _neighbours(self, vertex: int) -> set[int]:
        return {other for face in self.around[vertex] for other in self.faces[face] if other != vertex}

    def _push(self, heap: list, vertex: int) -> None:
        """Queue the cheapest allowed collapse of a vertex."""
        best = (np.inf, -1)
        if np.isfinite(self.weight[vertex]):
            for onto in sorted(self._neighbours(vertex)):
                cost = self._cost(vertex, onto)
                if cost < best[0]:
                    best = (cost, onto)
        if best[1] >= 0:
            heapq.heappush(heap, (best[0], vertex, best[1], int(self.age[vertex])))

    def _cost(self, vertex: int, onto: int) -> float:
        """Weighted quadric error of moving ``vertex`` onto ``onto``; infinite where that is not allowed."""
        on_plane, target_on_plane = self.mirror[vertex] == vertex, self.mirror[onto] == onto
        if (on_plane and not target_on_plane) or onto == self.mirror[vertex] or not self._allowed(vertex, onto):
            return np.inf
        point = np.append(self.points[onto], np.ones((self.points.shape[1], 1)), axis=1)
        quadric = self.quadrics[vertex]
        error = np.einsum("pi,pij,pj->", point, quadric, point)
        length = np.linalg.norm(self.points[onto, 0] - self.points[vertex, 0])
        return self.weight[vertex] * (abs(error) + 1e-6 * length**2)

    def _allowed(self, vertex: int, onto: int) -> bool:
        """Whether the surface stays a surface, keeps its borders, and no triangle flips or grows too long."""
        ring, other = self._neighbours(vertex), self._neighbours(onto)
        shared = self.around[vertex] & self.around[onto]
        border = len(ring) != len(self.around[vertex])
        if not shared or len(ring & other) != len(shared) or (border and len(shared) != 1) or len(ring) <= 3:
            return False
        if not border and len(shared) != 2:
            return False
        limit = self.longest[vertex]
        far = max(np.linalg.norm(self.points[i, 0] - self.points[onto, 0]) for i in ring)
        return far <= limit and not self._flips(vertex, onto, self.around[vertex] - shared)

    def _flips(self, vertex: int, onto: int, faces: set[int]) -> bool:
        corners = np.array([self.faces[face] for face in sorted(faces)])
        if len(corners) == 0:
            return True
        moved = np.where(corners == vertex, onto, corners)
        before, after = (self._normals(self.points[c]) for c in (corners, moved))
        lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
        return bool(((before * after).sum(axis=-1) < 0.3 * lengths).any())

    @staticmethod
    def _normals(corners: np.ndarray) -> np.ndarray:
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def _collapse_pair(self, vertex: int, onto: int, heap: list) -> int:
        """Collapse an edge and its mirror image, or neither; return how many vertices went."""
        if not self._allowed(vertex, onto):
            self.age[vertex] += 1
            self._push(heap, vertex)
            return 0
        twin, twin_onto = int(self.mirror[vertex]), int(self.mirror[onto])
        undo = self._collapse(vertex, onto)
        touched = self._neighbours(onto) | {onto}
        gone = 1
        if twin != vertex:
            if twin_onto == vertex or not self._allowed(twin, twin_onto):
                self._restore(vertex, onto, undo)
                self.age[[vertex, twin]] += 1
                return 0
            self._collapse(twin, twin_onto)
            touched |= self._neighbours(twin_onto) | {twin_onto}
            gone = 2
        for index in sorted(touched):
            if self.around[index]:
                self.age[index] += 1
                self._push(heap, index)
        return gone

    def _collapse(self, vertex: int, onto: int) -> list[tuple[int, tuple[int, int, int]]]:
        undo = [(face, self.faces[face]) for face in sorted(self.around[vertex])]
        for face, corners in undo:
            for corner in corners:
                self.around[corner].discard(face)
            moved = tuple(onto if corner == vertex else corner for corner in corners)
            self.faces[face] = moved if len(set(moved)) == 3 else None
            if self.faces[face]:
                for corner in moved:
                    self.around[corner].add(face)
        self.quadrics[onto] += self.quadrics[vertex]
        return undo

    def _restore(self, vertex: int, onto: int, undo: list[tuple[int, tuple[int, int, int]]]) -> None:
        for face, corners in undo:
            for corner in self.faces[face] or ():
                self.around[corner].discard(face)
            self.faces[face] = corners
            for corner in corners:
                self.around[corner].add(face)
        self.quadrics[onto] -= self.quadrics[vertex]
