"""Depth + BINI and Symmetric Geometry: the surface that is seen, and the whole head."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..mggtalk_core.geometry.surface import Surface
from ..mggtalk_core.geometry.symmetry import symmetric_geometry
from ..mggtalk_core.head.model import load_head_model
from ..mggtalk_core.pipeline import surface_of
from ..mggtalk_core.portrait.on_crop import on_crop
from ..mggtalk_core.portrait.portrait import Portrait
from .convert import mask_planes, to_image
from .depth_networks import network_inputs, network_options
from .estimate import say
from .maps import depth_picture, given_maps, normal_picture
from .models import weights_policy
from .packages import needs_packages
from .preview import points_sheet, show, side_by_side
from .progress import Steps
from .sockets import DA3_GEOMETRY, MOGE_GEOMETRY, POINTS, PORTRAIT, SURFACE, advanced, schema


def map_inputs() -> list[io.Input]:
    """Return the inputs for depth and normals from elsewhere."""
    return [
        io.Image.Input(
            "depth",
            optional=True,
            tooltip="A depth map of the crop or of the whole picture, near = white or near = black. Only its "
            "shape counts: it is scaled onto the fitted head. A map that does not resemble the face stops "
            "the node.",
        ),
        io.Image.Input(
            "normals",
            optional=True,
            tooltip="A normal map of the crop or of the whole picture, blue towards the viewer. Finer than "
            "depth, so it decides wrinkles and folds of the hair.",
        ),
        advanced(
            io.Combo.Input(
                "normal_style",
                options=["opengl", "directx", "auto"],
                default="opengl",
                optional=True,
                tooltip="opengl: green points up (Blender, MoGe's default). directx: green points down. The wrong one "
                "turns bumps into dents, and the node says so. auto: whichever follows the fitted head.",
            )
        ),
        MOGE_GEOMETRY.Input(
            "moge_geometry",
            optional=True,
            tooltip="From MoGe run on the crop or on the whole picture: its depth and, if it has them, its "
            "normals are used.",
        ),
        DA3_GEOMETRY.Input(
            "da3_geometry",
            optional=True,
            tooltip="From Depth Anything 3 run on the crop or on the whole picture: its depth is used.",
        ),
    ]


class MGGDepthBINI(io.ComfyNode):
    """Depth and normals of the head, fused (paper eq. 1)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGDepthBINI",
            display_name="Depth + BINI (MGGTalk)",
            category="MGGTalk/stages",
            description="Reconstructs the visible surface of the head: a head model is fitted to the face, and its "
            "depth and normals - or those you connect - are fused by bilateral normal integration.",
            search_aliases=["depth", "normals", "head reconstruction", "BINI"],
            inputs=[
                PORTRAIT.Input("portrait", tooltip="From Load Portrait."),
                io.Combo.Input(
                    "provider",
                    options=["mesh", "given", "geowizard", "marigold"],
                    default="mesh",
                    tooltip="mesh: the fitted head model, inflated under the hair; needs nothing else. given: the maps "
                    "connected below, scaled onto the fitted head. A connected map counts as given anyway. geowizard "
                    "(the paper's), marigold: diffusion networks of 5 GB, best on a GPU.",
                ),
                *map_inputs(),
                *network_inputs(),
            ],
            outputs=[
                SURFACE.Output(
                    "surface", tooltip="The visible surface with the fitted head. Goes into Symmetric Geometry."
                ),
                io.Image.Output(
                    "depth_map", tooltip="Depth of the head, near = white, 0 outside it; fit for a depth ControlNet."
                ),
                io.Image.Output(
                    "normal_map", tooltip="Normals of the head, OpenGL style; fit for a normal ControlNet."
                ),
            ],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        portrait: Portrait,
        provider: str,
        depth: Any = None,
        normals: Any = None,
        normal_style: str = "opengl",
        moge_geometry: Any = None,
        da3_geometry: Any = None,
        prior_weight: float = 1.0,
        download: bool = True,
        **network: Any,
    ) -> io.NodeOutput:
        """Reconstruct the surface."""
        maps = given_maps(portrait, depth, normals, normal_style, moge_geometry, da3_geometry)
        with weights_policy(download):
            surface = surface_of(
                portrait, provider, **maps._asdict(), networks=network_options(provider, **network),
                prior_weight=prior_weight, on_step=Steps(),
            )  # fmt: skip
        if surface.remarks:
            say(" ".join(surface.remarks), cls)
        near, towards = to_image(depth_picture(surface)), to_image(normal_picture(surface))
        return io.NodeOutput(surface, near, towards, ui=show(side_by_side(near, towards), cls))


class MGGSymmetricGeometry(io.ComfyNode):
    """The whole head from the part that is seen (paper 3.1)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGSymmetricGeometry",
            display_name="Symmetric Geometry (MGGTalk)",
            category="MGGTalk/stages",
            description="Completes the head: what is seen is mirrored to the hidden side, and teeth, tongue, "
            "eyeballs and the skin behind lids and lips are added from the head model.",
            search_aliases=["mirror", "point cloud", "symmetry"],
            inputs=[
                SURFACE.Input("surface", tooltip="From Depth + BINI."),
                io.Mask.Input(
                    "do_not_mirror",
                    optional=True,
                    tooltip="White on the crop, or on the whole picture, where the other side must not copy this "
                    "one: moles, partings, earrings.",
                ),
                advanced(
                    io.Float.Input(
                        "voxel",
                        default=0.03,
                        min=0.005,
                        max=0.2,
                        step=0.005,
                        tooltip="Edge of the filter's cells, in units of 10 cm. Larger drops more mirrored points "
                        "near seen ones: fewer doubles, more holes.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "radius",
                        default=0,
                        min=0,
                        max=1,
                        tooltip="1: a mirrored point also goes where the neighbouring cell holds a seen one. 0: only "
                        "in the same cell.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "occlusion",
                        options=["front", "behind"],
                        default="front",
                        tooltip="Which mirrored points go: front those that would hide a seen point, behind those "
                        "hidden by one.",
                    )
                ),
            ],
            outputs=[POINTS.Output("points", tooltip="The point cloud of the whole head. Goes into Deform.")],
        )

    @classmethod
    @needs_packages
    def execute(
        cls, surface: Surface, voxel: float, radius: int, occlusion: str, do_not_mirror: Any = None
    ) -> io.NodeOutput:
        """Build the point cloud."""
        forbidden = None if do_not_mirror is None else on_crop(mask_planes(do_not_mirror)[0], surface.portrait)[0] > 0.5
        points = symmetric_geometry(
            surface, load_head_model(), voxel=voxel, radius=radius, occlusion=occlusion, do_not_mirror=forbidden
        )
        return io.NodeOutput(points, ui=show(points_sheet(points), cls))
