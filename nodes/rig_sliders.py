"""The sliders of the Expression Rig, as a table: region by region, the left side and the right one apart."""

from __future__ import annotations

from typing import NamedTuple

from comfy_api.latest import io

from .sockets import advanced


class Slider(NamedTuple):
    """One slider."""

    label: str
    effect: str
    low: float = -1.0
    """Below 0 a slider takes away from what the portrait itself does."""
    high: float = 1.0
    step: float = 0.02
    rare: bool = False
    """Few need it: newer front ends show it under the node's advanced inputs only."""


POSE: dict[str, Slider] = {
    "head_yaw": Slider("head: yaw", "Turns the head, degrees; + to the subject's left.", -45.0, 45.0, 1.0),
    "head_pitch": Slider("head: pitch", "Lifts the chin, degrees; - lowers it.", -30.0, 30.0, 1.0),
    "head_roll": Slider("head: roll", "Leans the head, degrees; + to the subject's left shoulder.", -30.0, 30.0, 1.0),
    "head_right": Slider("head: right", "Moves the head to the picture's right, in 10 cm.", -1.0, 1.0, 0.02, True),
    "head_up": Slider("head: up", "Moves the head up, in 10 cm.", -1.0, 1.0, 0.02, True),
    "head_near": Slider("head: near", "Moves the head to the camera, in 10 cm.", -2.0, 2.0, 0.05, True),
}

GAZE: dict[str, Slider] = {
    "gaze_left_yaw": Slider(
        "left eye: look left", "Turns the left eye, degrees; + to the subject's left.", -30.0, 30.0, 1.0
    ),
    "gaze_left_pitch": Slider(
        "left eye: look up", "Turns the left eye up, degrees; its lids follow.", -25.0, 25.0, 1.0
    ),
    "gaze_right_yaw": Slider(
        "right eye: look left", "Turns the right eye, degrees; + to the subject's left.", -30.0, 30.0, 1.0
    ),
    "gaze_right_pitch": Slider(
        "right eye: look up", "Turns the right eye up, degrees; its lids follow.", -25.0, 25.0, 1.0
    ),
}


def _pair(name: str, region: str, label: str, effect: str, rare: bool = False) -> dict[str, Slider]:
    """Return the two sliders of a shape that each side of the face has."""
    return {
        f"{name}{side}": Slider(f"{side.lower()} {region}: {label}", effect, rare=rare) for side in ("Left", "Right")
    }


def _one(name: str, region: str, label: str, effect: str, rare: bool = False) -> dict[str, Slider]:
    return {name: Slider(f"{region}: {label}", effect, rare=rare)}


SHAPES: dict[str, Slider] = {
    **_pair("eyeBlink", "eye", "blink", "Closes the lids; below 0 opens them wider."),
    **_pair("eyeWide", "eye", "wide", "Lifts the upper lid, as in surprise."),
    **_pair("eyeSquint", "eye", "squint", "Raises the lower lid, as in a smile or in the sun."),
    **_pair("eyeLookDown", "eye", "lid down", "Lets the lid sink as for a look down; the eyeball stays.", True),
    **_pair("eyeLookUp", "eye", "lid up", "Lifts the lid as for a look up; the eyeball stays.", True),
    **_pair("eyeLookIn", "eye", "lid in", "Pulls the lids toward the nose; the eyeball stays.", True),
    **_pair("eyeLookOut", "eye", "lid out", "Pulls the lids outwards; the eyeball stays.", True),
    **_one("browInnerUp", "brows", "worry", "Raises the inner ends of both brows."),
    **_pair("browDown", "brow", "down", "Lowers the brow: anger, thought."),
    **_pair("browOuterUp", "brow", "up", "Raises the outer brow: surprise, doubt."),
    **_one("jawOpen", "jaw", "open", "Opens the mouth; 0.3 is speech, 1 a yawn."),
    **_one("jawForward", "jaw", "forward", "Pushes the chin out.", True),
    **_one("jawLeft", "jaw", "left", "Pushes the jaw to the subject's left.", True),
    **_one("jawRight", "jaw", "right", "Pushes the jaw to the subject's right.", True),
    **_pair("mouthSmile", "mouth", "smile", "Pulls the corner up; with the eyes' squint it looks heartfelt."),
    **_pair("mouthFrown", "mouth", "frown", "Pulls the corner down."),
    **_one("mouthPucker", "mouth", "pucker", "Draws the lips together, as for a kiss or OO."),
    **_one("mouthFunnel", "mouth", "funnel", "Rounds the lips, as for O."),
    **_one("mouthClose", "mouth", "close", "Closes the lips over an open jaw; without jaw open it does nothing."),
    **_pair("mouthUpperUp", "mouth", "upper lip up", "Shows the upper teeth.", True),
    **_pair("mouthLowerDown", "mouth", "lower lip down", "Shows the lower teeth.", True),
    **_pair("mouthStretch", "mouth", "stretch", "Pulls the corner sideways, as in fear.", True),
    **_pair("mouthDimple", "mouth", "dimple", "Pulls the corner back.", True),
    **_pair("mouthPress", "mouth", "press", "Presses the lips together.", True),
    **_one("mouthLeft", "mouth", "left", "Moves the mouth to the subject's left.", True),
    **_one("mouthRight", "mouth", "right", "Moves the mouth to the subject's right.", True),
    **_one("mouthRollLower", "mouth", "roll lower", "Rolls the lower lip in.", True),
    **_one("mouthRollUpper", "mouth", "roll upper", "Rolls the upper lip in.", True),
    **_one("mouthShrugLower", "mouth", "shrug lower", "Pushes the lower lip up, as in a pout.", True),
    **_one("mouthShrugUpper", "mouth", "shrug upper", "Pushes the upper lip up.", True),
    **_one("tongueOut", "mouth", "tongue", "Sticks the tongue out; needs an open jaw."),
    **_one("cheekPuff", "cheeks", "puff", "Blows both cheeks up."),
    **_pair("cheekSquint", "cheek", "raise", "Raises the cheek, as in a broad smile.", True),
    **_pair("noseSneer", "nose", "sneer", "Wrinkles the nose, as in disgust.", True),
}
"""All 52 blendshapes, in the order of the face from the eyes down."""


def slider_inputs() -> list[io.Input]:
    """Return an input per slider: head, eyes, then the face."""
    return [_input(name, slider) for table in (POSE, GAZE, SHAPES) for name, slider in table.items()]


def _input(name: str, slider: Slider) -> io.Input:
    node_input = io.Float.Input(
        name,
        display_name=slider.label,
        default=0.0,
        min=slider.low,
        max=slider.high,
        step=slider.step,
        display_mode=io.NumberDisplay.slider,
        tooltip=slider.effect,
    )
    return advanced(node_input) if slider.rare else node_input
