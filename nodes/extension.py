"""The list of nodes, and what ComfyUI must know before it runs one."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..mggtalk_core.placement import set_placer
from .deform import MGGDeform
from .gaussians import MGGGaussianPredict, MGGToSplat
from .geometry import MGGDepthBINI, MGGSymmetricGeometry
from .inpaint import MGGInpaint
from .mix import MGGMixMotion
from .models import register_model_folder
from .motion import MGGMotionFromVideo
from .motion_audio import MGGMotionFromAudio
from .motion_file import MGGMotionFromFile
from .patchers import place_by_comfyui
from .portrait import MGGLoadPortrait
from .render import MGGSplatRender
from .rig import MGGExpressionRig
from .talking_video import MGGTalkingVideo

NODES: tuple[type[io.ComfyNode], ...] = (
    MGGLoadPortrait,
    MGGDepthBINI,
    MGGSymmetricGeometry,
    MGGMotionFromVideo,
    MGGMotionFromAudio,
    MGGMotionFromFile,
    MGGExpressionRig,
    MGGMixMotion,
    MGGDeform,
    MGGGaussianPredict,
    MGGSplatRender,
    MGGInpaint,
    MGGToSplat,
    MGGTalkingVideo,
)


class MGGTalkExtension(ComfyExtension):
    """The node pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Add ``models/mggtalk`` to the folders of weights, give networks to ComfyUI, and return every node."""
        # Not in on_load, which older ComfyUI never calls.
        register_model_folder()
        set_placer(place_by_comfyui)
        return list(NODES)
