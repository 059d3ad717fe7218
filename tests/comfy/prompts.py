"""Graphs that tests put together themselves, in the server's own format."""

from __future__ import annotations

from typing import Any

Prompt = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """Return one node; an input is a value, or ``["node", output]``."""
    return {"class_type": kind, "inputs": inputs}


def with_defaults(prompt: Prompt, info: dict[str, Any]) -> Prompt:
    """Return the prompt with every field that it leaves out at its default."""
    from .editor import widget_fields

    filled = {}
    for name, entry in prompt.items():
        fields = widget_fields(info, entry["class_type"], entry["inputs"])
        defaults = {field: value for field, value in fields if not field.endswith(":control")}
        filled[name] = {**entry, "inputs": {**defaults, **entry["inputs"]}}
    return filled


def portrait(image: str = "mggtalk_portrait.jpg", **inputs: Any) -> Prompt:
    """Return nodes that load the portrait."""
    return {
        "photo": node("LoadImage", image=image),
        "portrait": node("MGGLoadPortrait", image=["photo", 0], **inputs),
    }


def smile(seconds: float = 1.0, **inputs: Any) -> Prompt:
    """Return a node that makes a motion of that many seconds."""
    rig = node("MGGExpressionRig", move_seconds=0.2, hold_seconds=seconds - 0.2, mouthSmileLeft=0.5, **inputs)
    return {"motion": rig}


def stages(seconds: float = 0.4, **inputs: Any) -> Prompt:
    """Return the stages up to the Gaussians."""
    return {
        **portrait(),
        **smile(seconds, **inputs),
        "surface": node("MGGDepthBINI", portrait=["portrait", 0]),
        "points": node("MGGSymmetricGeometry", surface=["surface", 0]),
        "driven": node("MGGDeform", points=["points", 0], motion=["motion", 0]),
        "gaussians": node("MGGGaussianPredict", portrait=["portrait", 0], driven=["driven", 0]),
    }


def talking(seconds: float = 1.0, **inputs: Any) -> Prompt:
    """Return the portrait, a motion, and Talking Video."""
    video = node("MGGTalkingVideo", portrait=["portrait", 0], motion=["motion", 0], **inputs)
    return {**portrait(), **smile(seconds), "talk": video}
