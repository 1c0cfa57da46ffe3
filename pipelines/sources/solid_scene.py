"""A scene of one solid: its ten latents to pixels, by Embree's rays on a CPU, without a display.

As in 3DIdent (arXiv 2102.08850): an object over a floor, under a spotlight that turns around it and
follows it. Its teapot is a solid of our own here, made of primitives: a body, a spout, a handle, a
light knob on top and a dark foot on one side, so that no rotation but a full turn gives the same
picture. All angles span half a turn and all hues half a circle, as in the variant of the set
without periods, so that every latent is an interval.
"""

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.sources.three_d_ident import LATENTS

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]

RAYS_PER_SIDE = 3
"""Of a pixel: so many rows and columns of rays, whose mean it is."""
POSITION = np.array([1.25, 1.25, 0.75])
"""The object is so far from the middle at a latent of 1, along x (right), y (back), z (up)."""
MIDDLE = np.array([0.0, 0.0, 2.1])
"""Its place at latents of 0, over a floor at height 0."""
CAMERA, LOOKED_AT = np.array([0.0, -9.0, 7.0]), np.array([0.0, 0.0, 1.6])
FIELD_OF_VIEW = np.deg2rad(32)
LIGHT_RADIUS, LIGHT_HEIGHT = 3.0, 6.5
"""Of the half circle on which the spotlight stands, before and above the middle."""
CONE = np.cos(np.deg2rad([13.0, 18.0]))
"""Cosines between which the spotlight fades out, from its axis."""
AMBIENT, DIFFUSE, SPECULAR, SHININESS = 0.42, 0.75, 0.5, 40.0
GAMMA = 1 / 2.2


class RendererMissingError(UserError, ImportError):
    """The ray tracer is not installed."""


class SolidScene:
    """The solid and the camera; made once a process."""

    def __init__(self, image_size: int) -> None:
        """Build the solid.

        Args:
            image_size: side of the pictures in pixels.

        Raises:
            RendererMissingError: if Embree's binding is not installed.
        """
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError:
            raise RendererMissingError(
                "the solids need the ray tracer embreex: pip install 'adassl[solids]'"
            ) from None
        points, self._normals, self._faces, self._tint = solid()
        self._scene: Any = EmbreeScene()
        TriangleMesh(self._scene, points, self._faces)
        self._size = image_size
        self._rays = _camera_rays(image_size * RAYS_PER_SIDE)

    def render(self, latents: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """The picture of a scene.

        Args:
            latents: ten numbers in [-1, 1], named by `three_d_ident.LATENTS`.

        Returns:
            uint8 [image_size, image_size, 3].
        """
        of = dict(zip(LATENTS, np.asarray(latents, np.float64).tolist(), strict=True))
        place = MIDDLE + POSITION * [of["position_x"], of["position_y"], of["position_z"]]
        turn = rotation(*(np.pi / 2 * of[f"rotation_{name}"] for name in ("phi", "theta", "psi")))
        angle = np.pi / 2 * of["rotation_spotlight"]
        light = np.array(
            [LIGHT_RADIUS * np.sin(angle), -LIGHT_RADIUS * np.cos(angle), LIGHT_HEIGHT]
        )
        paint = _colour(of["hue_object"], saturation=0.9)
        floor = _colour(of["hue_background"], saturation=0.6)
        shine = _colour(of["hue_spotlight"], saturation=0.7)

        origins = np.broadcast_to(CAMERA, self._rays.shape)
        found = self._meet(origins, self._rays, place, turn)
        hit = found["primID"] >= 0
        away = np.where(hit, found["tfar"], -CAMERA[2] / self._rays[:, 2]).astype(np.float64)
        points = CAMERA + away[:, None] * self._rays
        normals = np.broadcast_to([0.0, 0.0, 1.0], points.shape).copy()
        normals[hit] = self._smooth_normals(found, hit) @ turn.T
        to_light = light - points
        to_light /= np.linalg.norm(to_light, axis=1, keepdims=True)
        lit = self._reached(points + 2e-3 * normals, to_light, place, turn)
        facing = np.maximum(0, (normals * to_light).sum(1))
        axis = (place - light) / np.linalg.norm(place - light)
        spot = _smoothstep(-to_light @ axis, CONE[1], CONE[0]) * lit * (facing > 0)
        half = to_light - self._rays
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        gloss = SPECULAR * np.maximum(0, (normals * half).sum(1)) ** SHININESS * hit
        # from the camera, else what the spotlight does not reach would be flat
        ambient = AMBIENT * np.where(hit, 0.5 - 0.5 * (normals * self._rays).sum(1), 0.8)
        colours = np.broadcast_to(floor, points.shape).copy()
        tint = self._tint[found["primID"][hit], None]
        colours[hit] = np.where(tint > 0, paint + tint * (1 - paint), paint * (1 + tint))
        seen = colours * (ambient[:, None] + DIFFUSE * (facing * spot)[:, None] * shine)
        seen += (gloss * spot)[:, None] * shine
        side, part = self._size, RAYS_PER_SIDE
        pixels = seen.reshape(side, part, side, part, 3).mean(axis=(1, 3))
        rounded: NDArray[np.uint8] = np.round(255 * np.clip(pixels, 0, 1) ** GAMMA).astype(np.uint8)
        return rounded

    def _meet(
        self, origins: Matrix, directions: Matrix, place: Matrix, turn: Matrix
    ) -> dict[str, Any]:
        """Where rays meet the solid, which stays where it was built: the rays are moved instead."""
        found: dict[str, Any] = self._scene.run(
            np.ascontiguousarray((origins - place) @ turn, np.float32),
            np.ascontiguousarray(directions @ turn, np.float32),
            output=True,
        )
        return found

    def _reached(self, points: Matrix, to_light: Matrix, place: Matrix, turn: Matrix) -> Any:
        """Whether light reaches each point."""
        return self._meet(points, to_light, place, turn)["primID"] < 0

    def _smooth_normals(self, found: dict[str, Any], hit: NDArray[np.bool_]) -> Matrix:
        corners = self._normals[self._faces[found["primID"][hit]]].astype(np.float64)
        u, v = (found[name][hit, None].astype(np.float64) for name in ("u", "v"))
        normals = (1 - u - v) * corners[:, 0] + u * corners[:, 1] + v * corners[:, 2]
        smooth: Matrix = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        return smooth


def rotation(phi: float, theta: float, psi: float) -> Matrix:
    """About x, then y, then z, in radians."""
    cos, sin = np.cos([phi, theta, psi]), np.sin([phi, theta, psi])
    about_x = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    about_y = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    about_z = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    turn: Matrix = about_z @ about_y @ about_x
    return turn


def solid() -> tuple[Floats, Floats, NDArray[np.int32], Matrix]:
    """Points, their normals, triangles and the tint of each triangle; it is about 2.8 long.

    A tint of 1 is white, of -1 black, of 0 the paint.
    """
    tilted = rotation(0, -0.6, 0)
    parts = (
        (_ellipsoid([0, 0, 0], [0.9, 0.72, 0.66]), 0.0),  # the body
        (_ellipsoid([1.0, 0, 0.2], [0.65, 0.22, 0.22], tilted), 0.0),  # the spout
        (_ellipsoid([0, 0, 0.7], [0.34, 0.34, 0.3]), 0.7),  # the knob
        (_ellipsoid([0.1, 0.66, 0.05], [0.34, 0.34, 0.34]), -0.8),  # the foot
        (_torus([-0.9, 0, 0.08], 0.4, 0.12), 0.0),  # the handle
    )
    sizes = np.cumsum([0, *(len(part[0]) for part, _ in parts)])
    points, normals = (np.concatenate([part[which] for part, _ in parts]) for which in (0, 1))
    faces = np.concatenate([part[2] + at for (part, _), at in zip(parts, sizes, strict=False)])
    tint = np.concatenate([np.full(len(part[2]), tint) for part, tint in parts])
    return points.astype(np.float32), normals.astype(np.float32), faces.astype(np.int32), tint


Part = tuple[Matrix, Matrix, NDArray[np.int64]]


def _ellipsoid(centre: list[float], radii: list[float], turn: Matrix | None = None) -> Part:
    down, around = _grid(np.linspace(0, np.pi, 33), 64)
    sphere = np.stack(
        [np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], -1
    ).reshape(-1, 3)
    turn = np.eye(3) if turn is None else turn
    normals = sphere / radii
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return (sphere * radii) @ turn.T + centre, normals @ turn.T, _faces(*down.shape)


def _torus(centre: list[float], radius: float, thickness: float) -> Part:
    """A ring in the plane of x and z."""
    across, around = _grid(np.linspace(0, 2 * np.pi, 25), 48)
    normals = np.stack(
        [np.cos(across) * np.cos(around), np.sin(across), np.cos(across) * np.sin(around)], -1
    ).reshape(-1, 3)
    ring = np.stack([np.cos(around), np.zeros_like(around), np.sin(around)], -1).reshape(-1, 3)
    return radius * ring + thickness * normals + centre, normals, _faces(*across.shape)


def _grid(first: Matrix, second: int) -> tuple[Matrix, Matrix]:
    one, other = np.meshgrid(first, np.linspace(0, 2 * np.pi, second + 1), indexing="ij")
    return one, other


def _faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Two triangles for each square of a grid of points."""
    at = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    squares = np.stack([at, at + 1, at + columns, at + columns + 1], -1)
    return np.concatenate([squares[:, [0, 1, 2]], squares[:, [1, 3, 2]]])


def _camera_rays(side: int) -> Matrix:
    """Directions of length 1, row by row."""
    forward = (LOOKED_AT - CAMERA) / np.linalg.norm(LOOKED_AT - CAMERA)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    at = np.tan(FIELD_OF_VIEW / 2) * (2 * (np.arange(side) + 0.5) / side - 1)
    rays = forward + at[None, :, None] * right - at[:, None, None] * up
    rays = rays.reshape(-1, 3)
    unit: Matrix = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return unit


def _colour(latent: float, *, saturation: float) -> Matrix:
    return np.array(colorsys.hsv_to_rgb((latent / 4) % 1, saturation, 1.0))


def _smoothstep(values: Matrix, low: float, high: float) -> Matrix:
    at = np.clip((values - low) / (high - low), 0, 1)
    smooth: Matrix = at * at * (3 - 2 * at)
    return smooth
