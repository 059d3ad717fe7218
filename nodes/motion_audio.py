"""Motion From Audio: a voice, heard."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..mggtalk_core.motion.blinks import RATE
from ..mggtalk_core.motion.sadtalker_map import MODELS, motion_from_speech
from .convert import to_sound
from .curves import curve_sheet
from .models import weights_policy
from .motion import fps_input, motion_output
from .packages import needs_packages
from .preview import show
from .progress import Steps
from .sockets import advanced, schema

RULES = "rules"
"""The mouth without any network."""


def mouth_inputs() -> list[io.Input]:
    """Return the inputs that choose what moves the mouth, and where the eyes look."""
    return [
        advanced(
            io.Boolean.Input(
                "phonemes",
                default=True,
                label_on="when installed",
                label_off="never",
                tooltip="Recognise sounds where pocketsphinx is installed (pip install pocketsphinx), so that lips "
                "meet on P, B and M. It takes most of the time.",
            )
        ),
        advanced(
            io.Float.Input(
                "look",
                default=0.0,
                min=0.0,
                max=1.0,
                step=0.05,
                optional=True,
                tooltip="1 locks the eyes on the camera, however the head moves; 0 lets them wander.",
            )
        ),
        advanced(
            io.Combo.Input(
                "mouth",
                options=[*MODELS, RULES],
                default="auto",
                optional=True,
                tooltip="embedded: the net that comes with the pack (research use only). sadtalker: SadTalker's, if "
                "its file lies in models/mggtalk. auto: SadTalker's if it is there, else embedded. rules: no "
                "network; loudness and phonemes, plainer, but free for commercial use.",
            )
        ),
    ]


class MGGMotionFromAudio(io.ComfyNode):
    """A voice, heard."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGMotionFromAudio",
            display_name="Motion From Audio (MGGTalk)",
            category="MGGTalk/motion",
            description="Lets a voice move the mouth, with blinks, glances and small movements of the head.",
            search_aliases=["lip sync", "speech", "talking"],
            inputs=[
                io.Audio.Input(
                    "audio",
                    tooltip="Speech, any rate, mono or stereo; of a batch the first. Music moves the mouth too.",
                ),
                fps_input("Frames per second of the result. 25 suits speech; 50 doubles the work."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Of blinks, glances and the sway of the head: the same seed gives the same movements.",
                ),
                io.Float.Input(
                    "head_motion",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.1,
                    tooltip="How lively head, eyes and brows are. 0 keeps them still.",
                ),
                io.Float.Input(
                    "blink_rate",
                    default=RATE,
                    min=0.0,
                    max=60.0,
                    step=1.0,
                    tooltip="Blinks a minute; 0 for none, which soon looks uncanny.",
                ),
                *mouth_inputs(),
            ],
            outputs=[motion_output()],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        audio: Any,
        fps: float,
        seed: int,
        head_motion: float,
        blink_rate: float,
        phonemes: bool = True,
        look: float = 0.0,
        mouth: str = "auto",
    ) -> io.NodeOutput:
        """Hear the voice."""
        with weights_policy(download=False):
            motion = motion_from_speech(
                to_sound(audio),
                fps,
                seed,
                model="embedded" if mouth == RULES else mouth,
                learned=mouth != RULES,
                phonemes=phonemes,
                blink_rate=blink_rate,
                head_motion=head_motion,
                look=look,
                on_step=Steps(),
            )
        return io.NodeOutput(motion, ui=show(curve_sheet(motion), cls))
