"""Make a clip of so many seconds of speech with Talking Video, in its own process; print the peak memory in MB."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from tests import comfy_double

FPS = 1.0
"""Few frames a second: what could grow with the length is the sound, the motion and what a frame leaves behind."""


def main() -> None:
    """Make the clip of ``argv[1]`` seconds."""
    from skimage.data import astronaut

    from mggtalk_core.clock import peak_memory_mb
    from mggtalk_core.media.audio import read_sound

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        sys.modules.update(comfy_double.modules(Path(folder)))
        nodes = comfy_double.load_pack("pack_x_of_long_clips")[1]
        voice = read_sound(comfy_double.REPO / "web" / "samples" / "mggtalk_speech.ogg")
        samples = torch.as_tensor(voice.samples)
        length = int(float(sys.argv[1]) * voice.rate)
        waveform = samples.repeat(1, 1 + length // samples.shape[-1])[None, :, :length]
        audio = {"waveform": waveform, "sample_rate": voice.rate}
        picture = torch.from_numpy(astronaut().copy()).float()[None] / 255.0
        portrait = nodes["MGGLoadPortrait"].execute(image=picture, face=0).result[0]
        motion = nodes["MGGMotionFromAudio"].execute(
            audio=audio, fps=FPS, seed=0, head_motion=1.0, blink_rate=16.0, phonemes=False
        )
        nodes["MGGTalkingVideo"].execute(
            portrait=portrait, motion=motion.result[0], reference="first", strength=1.0, yaw=0.0, pitch=0.0,
            framing="crop", torso="hold", max_frames=0,
        )  # fmt: skip
    sys.stdout.write(f"{peak_memory_mb():.1f}\n")


if __name__ == "__main__":
    main()
