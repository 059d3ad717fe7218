"""Gaussian Predict and To Splat: the head as 3D Gaussians, for us and for others."""

from __future__ import annotations

from comfy_api.latest import io

from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.motion.driven import DrivenPoints
from ..mggtalk_core.pipeline import Settings, predict
from ..mggtalk_core.portrait.portrait import Portrait
from .devices import render_device
from .frames import frame_range, range_inputs
from .packages import needs_packages
from .progress import Steps
from .sockets import DRIVEN, GAUSSIANS, PORTRAIT, SPLAT, advanced, schema
from .splats import to_splat

BACKENDS = ["auto", "gsplat", "warp", "numba", "reference"]


def backend_input() -> io.Input:
    """Return the input that chooses the rasteriser."""
    return advanced(
        io.Combo.Input(
            "backend",
            options=BACKENDS,
            default="auto",
            tooltip="auto takes the fastest that runs here: gsplat or warp on an NVIDIA GPU, numba on the CPU. "
            "reference is exact and minutes slow. One that cannot run here stops the node.",
        )
    )


class MGGGaussianPredict(io.ComfyNode):
    """Gaussians of a driven head (paper 3.2)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGGaussianPredict",
            display_name="Gaussian Predict (MGGTalk)",
            category="MGGTalk/stages",
            description="Turns every point into a 3D Gaussian: colour, size, direction and opacity, seen and mirrored. "
            "Calibrated so that the first look meets the picture.",
            search_aliases=["gaussian splatting", "3DGS", "avatar"],
            inputs=[
                PORTRAIT.Input(
                    "portrait", tooltip="From Load Portrait, the same that the points come from: it gives the colours."
                ),
                DRIVEN.Input("driven", tooltip="From Deform."),
                backend_input(),
            ],
            outputs=[
                GAUSSIANS.Output("gaussians", tooltip="The head as Gaussians, one set per frame, computed on demand.")
            ],
        )

    @classmethod
    @needs_packages
    def execute(cls, portrait: Portrait, driven: DrivenPoints, backend: str = "auto") -> io.NodeOutput:
        """Predict the Gaussians."""
        sequence = predict(portrait, driven, Settings(backend=backend), on_step=Steps())
        return io.NodeOutput(sequence.to(render_device(backend)))


class MGGToSplat(io.ComfyNode):
    """Gaussians for ComfyUI's own splat nodes and for files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGToSplat",
            display_name="To Splat (MGGTalk)",
            category="MGGTalk",
            description="Hands frames of the head to ComfyUI's splat nodes: preview in 3D, save as PLY, KSPLAT or SPZ, "
            "merge with other splats.",
            search_aliases=["ply", "spz", "ksplat", "3d export"],
            inputs=[
                GAUSSIANS.Input("gaussians", tooltip="From Gaussian Predict."),
                *range_inputs(1, "A frame takes about 30 MB; saving writes one file per frame."),
                io.Boolean.Input(
                    "bake_pose",
                    default=True,
                    label_on="moves",
                    label_off="stays put",
                    tooltip="moves: turning and nodding of the head are in the splats, as viewers expect. stays put: "
                    "the head only makes faces, always looking ahead.",
                ),
            ],
            outputs=[SPLAT.Output("splat", tooltip="A batch with one splat per frame, y down and z forward.")],
        )

    @classmethod
    @needs_packages
    def execute(cls, gaussians: AnalyticSequence, start: int, count: int, step: int, bake_pose: bool) -> io.NodeOutput:
        """Convert the frames."""
        indices = frame_range(len(gaussians), start, count, step)
        return io.NodeOutput(to_splat(gaussians, indices, bake_pose, Steps()))
