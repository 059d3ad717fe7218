"""The example graphs, column by column from left to right, as `make workflows` lays them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Node:
    """One node of an example: its inputs, by name, are values or links such as ``"photo.IMAGE"``."""

    name: str
    kind: str
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    height: int | None = None
    """Pixels, where the height that goes with the kind of node does not fit."""


@dataclass(frozen=True)
class Column:
    """Nodes below each other, in a coloured box with a title."""

    title: str
    nodes: tuple[Node, ...]
    width: int = 340


def note(name: str, text: str, height: int) -> Node:
    """Return a note that explains."""
    return Node(name, "MarkdownNote", values={"": text.strip()}, height=height)


PHOTO = Node("photo", "LoadImage", "Portrait", {"image": "mggtalk_portrait.jpg"})
PORTRAIT = Node("portrait", "MGGLoadPortrait", links={"image": "photo.IMAGE"})
STILL = Node("rig", "MGGExpressionRig", "Expression", {"move_seconds": 0.0, "hold_seconds": 2.0, "mouthSmileLeft": 0.3})

SAMPLES = """
Portrait, clip and voice of the examples come with the pack: opening the example puts them into ComfyUI's input folder.
If a file is missing there, drag it from the pack's folder `web/samples` onto the node.
"""

VIDEO = (
    Column(
        "Read me",
        (
            note(
                "about",
                f"""
## A face copies another one

1. **Portrait**: one face, sharp, looking roughly into the camera.
2. **Actor**: a clip with a face. Its sound comes along.
3. Press **Run**.

*Talking Video* says in its text how many frames it makes and what that takes. A long clip needs no more memory
than a short one.

Too lively, or too stiff? **strength** in *Talking Video*. Start with an actor whose first frame looks relaxed:
with **reference = first**, movements count from there.

{SAMPLES}""",
                430,
            ),
        ),
    ),
    Column("1  Inputs", (PHOTO, Node("clip", "LoadVideo", "Actor", {"file": "mggtalk_actor.mp4"}))),
    Column(
        "2  Look at both",
        (PORTRAIT, Node("motion", "MGGMotionFromVideo", links={"video": "clip.VIDEO"})),
        380,
    ),
    Column(
        "3  Put together",
        (Node("talk", "MGGTalkingVideo", links={"portrait": "portrait.portrait", "motion": "motion.motion"}),),
        380,
    ),
    Column(
        "4  Keep",
        (Node("save", "SaveVideo", values={"filename_prefix": "video/mggtalk"}, links={"video": "talk.video"}),),
        420,
    ),
)

SPEECH = (
    Column(
        "Read me",
        (
            note(
                "about",
                f"""
## A picture speaks

1. **Portrait**: one face, sharp, looking roughly into the camera.
2. **Voice**: speech without music, any length.
3. Press **Run**.

**seed** in *Motion From Audio* gives other blinks, glances and nods. **head_motion** 0 keeps the head still.

To let a clip move the head and the voice the mouth: add *Motion From Video* and *Mix Motion*.

{SAMPLES}""",
                400,
            ),
        ),
    ),
    Column("1  Inputs", (PHOTO, Node("voice", "LoadAudio", "Voice", {"audio": "mggtalk_speech.ogg"}))),
    Column(
        "2  Look and listen",
        (PORTRAIT, Node("motion", "MGGMotionFromAudio", values={"seed": 7}, links={"audio": "voice.AUDIO"})),
        380,
    ),
    Column(
        "3  Put together",
        (Node("talk", "MGGTalkingVideo", links={"portrait": "portrait.portrait", "motion": "motion.motion"}),),
        380,
    ),
    Column(
        "4  Keep",
        (Node("save", "SaveVideo", values={"filename_prefix": "video/mggtalk"}, links={"video": "talk.video"}),),
        420,
    ),
)

SMILE = {"neutralise": 1.0, "move_seconds": 0.4, "hold_seconds": 0.4, "mouthSmileLeft": 0.1, "mouthSmileRight": 0.1}
WINK = {
    "move_seconds": 0.4,
    "hold_seconds": 0.5,
    "eyeBlinkLeft": 1.0,
    "mouthSmileLeft": 0.6,
    "mouthSmileRight": 0.3,
    "cheekSquintLeft": 0.6,
    "head_roll": 6.0,
}
WONDER = {
    "move_seconds": 0.5,
    "hold_seconds": 0.8,
    "browInnerUp": 0.8,
    "browOuterUpLeft": 0.8,
    "browOuterUpRight": 0.8,
    "eyeWideLeft": 0.7,
    "eyeWideRight": 0.7,
    "jawOpen": 0.35,
    "mouthFunnel": 0.3,
    "head_yaw": -8.0,
}

RIG = (
    Column(
        "Read me",
        (
            note(
                "about",
                """
## Sliders for a face

Each *Expression Rig* is one key pose: it moves there in **move_seconds** and stays for **hold_seconds**. Chain as
many as you like through **previous**; the curves in the node show what all of them do together.

- **neutralise** takes the portrait's own smile away first.
- Left and right are the person's, not yours.
- For one pose as a picture: `move_seconds` 0, and take a frame of the video.

Rarely used sliders come out with the button *Show all sliders* (in Nodes 2.0: *Show advanced inputs*).
""",
                330,
            ),
            PHOTO,
            PORTRAIT,
        ),
        380,
    ),
    Column("1  Come to rest", (Node("rest", "MGGExpressionRig", "Nearly neutral", SMILE),)),
    Column("2  Wink", (Node("wink", "MGGExpressionRig", "Wink", WINK, {"previous": "rest.motion"}),)),
    Column("3  Wonder", (Node("wonder", "MGGExpressionRig", "Wonder", WONDER, {"previous": "wink.motion"}),)),
    Column(
        "4  Put together",
        (
            Node("talk", "MGGTalkingVideo", links={"portrait": "portrait.portrait", "motion": "wonder.motion"}),
            Node("save", "SaveVideo", values={"filename_prefix": "video/mggtalk"}, links={"video": "talk.video"}),
        ),
        420,
    ),
)

STAGES = (
    Column(
        "Inputs",
        (
            note(
                "about",
                f"""
## The seven stages, one by one

What *Talking Video* does inside, with every wire open. The frames are the same.

Wires that invite: your own depth or normals into **Depth + BINI**, a mask for moles and partings into
**Symmetric Geometry**, another camera in **Splat Render**, and pictures through any other node before they are put
together.

Pictures of all frames lie in memory here: for long clips use *Talking Video*.

{SAMPLES}""",
                400,
            ),
            PHOTO,
            Node("clip", "LoadVideo", "Actor", {"file": "mggtalk_actor.mp4"}),
        ),
    ),
    Column(
        "1  Portrait, and the motion",
        (PORTRAIT, Node("motion", "MGGMotionFromVideo", values={"max_frames": 50}, links={"video": "clip.VIDEO"})),
        380,
    ),
    Column(
        "2 and 3  Geometry",
        (
            Node("surface", "MGGDepthBINI", "2  Depth + BINI", links={"portrait": "portrait.portrait"}),
            Node("points", "MGGSymmetricGeometry", "3  Symmetric Geometry", links={"surface": "surface.surface"}),
        ),
        360,
    ),
    Column(
        "4 and 5  Points in motion, Gaussians",
        (
            Node("driven", "MGGDeform", "4  Deform", links={"points": "points.points", "motion": "motion.motion"}),
            Node(
                "gaussians",
                "MGGGaussianPredict",
                "5  Gaussian Predict",
                links={"portrait": "portrait.portrait", "driven": "driven.driven"},
            ),
        ),
        360,
    ),
    Column(
        "6 and 7  Pictures",
        (
            Node("splats", "MGGSplatRender", "6  Splat Render", links={"gaussians": "gaussians.gaussians"}),
            Node(
                "finished",
                "MGGInpaint",
                "7  Inpaint",
                links={
                    "portrait": "portrait.portrait",
                    "image": "splats.image",
                    "mask": "splats.mask",
                    "gaussians": "gaussians.gaussians",
                },
            ),
        ),
        360,
    ),
    Column(
        "Keep",
        (
            Node("video", "CreateVideo", values={"fps": 25.0}, links={"images": "finished.frames"}),
            Node("save", "SaveVideo", values={"filename_prefix": "video/mggtalk"}, links={"video": "video.VIDEO"}),
        ),
        420,
    ),
)

HEAD_IN_3D = (
    Column(
        "Inputs",
        (
            note(
                "about",
                """
## The head as a thing in space

**To Splat** hands the head to ComfyUI's own 3D nodes: look around it in *Preview Splat*, keep it with *Save Splat* or
as PLY for Blender, Unreal, SuperSplat. With **count** above 1 it is a whole animation, one splat per frame.

The video comes from *Splat Render*, which is far faster than rendering the splat with other nodes: its camera
travels from **orbit_yaw** by **orbit_turn** degrees.

The back of the head was never seen. Up to 45 degrees look good.
""",
                390,
            ),
            PHOTO,
        ),
    ),
    Column("Portrait and expression", (PORTRAIT, STILL), 380),
    Column(
        "Geometry",
        (
            Node("surface", "MGGDepthBINI", links={"portrait": "portrait.portrait"}),
            Node("points", "MGGSymmetricGeometry", links={"surface": "surface.surface"}),
        ),
        360,
    ),
    Column(
        "Gaussians",
        (
            Node("driven", "MGGDeform", links={"points": "points.points", "motion": "rig.motion"}),
            Node(
                "gaussians",
                "MGGGaussianPredict",
                links={"portrait": "portrait.portrait", "driven": "driven.driven"},
            ),
            Node("splat", "MGGToSplat", links={"gaussians": "gaussians.gaussians"}),
            Node(
                "larger",
                "TransformSplat",
                "Larger, for the preview",
                {"scale_x": 4.0, "scale_y": 4.0, "scale_z": 4.0},
                {"splat": "splat.splat"},
            ),
            Node("file", "SplatToFile3D", values={"format": "ply"}, links={"splat": "larger.splat"}),
        ),
        360,
    ),
    Column(
        "Look around, and keep",
        (
            Node("preview", "PreviewGaussianSplat", links={"model_3d": "file.model_3d"}),
            Node("save3d", "SaveGLB", "Save PLY", {"filename_prefix": "3d/mggtalk"}, links={"mesh": "file.model_3d"}),
        ),
        460,
    ),
    Column(
        "Sweep",
        (
            Node(
                "sweep",
                "MGGSplatRender",
                values={"orbit_yaw": -35.0, "orbit_turn": 70.0, "easing": "ease-in-out"},
                links={"gaussians": "gaussians.gaussians"},
            ),
            Node("video", "CreateVideo", values={"fps": 25.0}, links={"images": "sweep.image"}),
            Node("save", "SaveVideo", values={"filename_prefix": "video/mggtalk"}, links={"video": "video.VIDEO"}),
        ),
        420,
    ),
)

MAPS = (
    Column(
        "Inputs",
        (
            note(
                "about",
                """
## Depth and normals of the head, for other nodes

*Depth + BINI* gives a depth map and a normal map of the head on the 512 px crop. Here they do two things with
nodes of ComfyUI alone:

- **light from the side**: the red of the normal map says how much a pixel faces right;
- **shallow focus**: the depth map keeps near things sharp.

They also fit a depth or normal **ControlNet**. And the other way round: depth or normals of better models go *into*
the node, through **depth**, **normals**, **moge_geometry** and **da3_geometry**.
""",
                400,
            ),
            PHOTO,
        ),
    ),
    Column(
        "Depth and normals",
        (PORTRAIT, Node("surface", "MGGDepthBINI", links={"portrait": "portrait.portrait"})),
        380,
    ),
    Column(
        "Light from the side",
        (
            Node("right", "ImageToMask", values={"channel": "red"}, links={"image": "surface.normal_map"}),
            Node("light", "MaskToImage", links={"mask": "right.MASK"}),
            Node("soft", "ImageBlur", values={"blur_radius": 5, "sigma": 2.5}, links={"image": "light.IMAGE"}),
            Node(
                "lit",
                "ImageBlend",
                values={"blend_factor": 0.8, "blend_mode": "soft_light"},
                links={"image1": "portrait.crop", "image2": "soft.IMAGE"},
            ),
            Node("show_lit", "SaveImage", values={"filename_prefix": "mggtalk/lit"}, links={"images": "lit.IMAGE"}),
        ),
    ),
    Column(
        "Shallow focus",
        (
            Node("near", "ImageToMask", values={"channel": "red"}, links={"image": "surface.depth_map"}),
            Node("blurred", "ImageBlur", values={"blur_radius": 9, "sigma": 4.0}, links={"image": "portrait.crop"}),
            Node(
                "focused",
                "ImageCompositeMasked",
                links={"destination": "blurred.IMAGE", "source": "portrait.crop", "mask": "near.MASK"},
            ),
            Node(
                "show_focus",
                "SaveImage",
                values={"filename_prefix": "mggtalk/focus"},
                links={"images": "focused.IMAGE"},
            ),
        ),
    ),
)

GRAPHS: dict[str, tuple[Column, ...]] = {
    "1_portrait_and_video": VIDEO,
    "2_portrait_and_speech": SPEECH,
    "3_expression_rig": RIG,
    "4_the_seven_stages": STAGES,
    "5_head_in_3d": HEAD_IN_3D,
    "6_depth_and_normals": MAPS,
}
"""Name of the file in ``workflows`` to its graph."""
