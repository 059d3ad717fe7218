"""Write the examples, their thumbnails and the pictures of the help, by really running them (`make workflows`)."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from mggtalk_core.weights.resolver import resolve

from .client import Client, Run
from .editor import Info, inputs_of, to_prompt
from .fixtures import PACK, REPO, SAMPLES
from .graphs import GRAPHS
from .help_graphs import help_prompt, write_recording
from .layout import lay_out
from .prompts import with_defaults
from .server import Server

EDGE = 400
"""Pixels of a thumbnail's side."""
HELP_WIDTH = 900
"""Pixels of a picture in the help."""
HELP = {
    "MGGLoadPortrait": ("4_the_seven_stages", "portrait"),
    "MGGDepthBINI": ("4_the_seven_stages", "surface"),
    "MGGSymmetricGeometry": ("4_the_seven_stages", "points"),
    "MGGMotionFromVideo": ("4_the_seven_stages", "motion"),
    "MGGMotionFromAudio": ("2_portrait_and_speech", "motion"),
    "MGGExpressionRig": ("3_expression_rig", "wonder"),
    "MGGSplatRender": ("4_the_seven_stages", "splats"),
    "MGGInpaint": ("4_the_seven_stages", "finished"),
    "MGGToSplat": ("5_head_in_3d", "save"),
    "MGGTalkingVideo": ("3_expression_rig", "save"),
}
"""Node to the example, and the node in it, whose pictures the page of help shows."""
_log = logging.getLogger("make_workflows")


def text_of(workflow: dict[str, Any]) -> str:
    """Return a workflow as it is written to its file."""
    return json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"


def pictures(paths: Iterator[Path]) -> list[np.ndarray]:
    """Return four moments of the clips, or the pictures, that a run has saved."""
    found: list[np.ndarray] = []
    for path in paths:
        if path.suffix == ".mp4":
            with av.open(str(path)) as clip:
                frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
            found += [frames[round(part * (len(frames) - 1))] for part in (0.15, 0.4, 0.62, 0.85)]
        elif path.suffix == ".png":
            found.append(np.asarray(Image.open(path).convert("RGB")))
    return found


def thumbnail(shown: list[np.ndarray]) -> Image.Image:
    """Return a square of one, two or four pictures."""
    count = 4 if len(shown) >= 4 else min(len(shown), 2)
    half, sheet = EDGE // 2, Image.new("RGB", (EDGE, EDGE))
    for place, picture in enumerate(shown[:count]):
        width, height = (EDGE if count == 1 else half, half if count == 4 else EDGE)
        tile = _cover(Image.fromarray(picture), width, height)
        sheet.paste(tile, (place % 2 * half, place // 2 * half))
    return sheet


def _cover(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Return the middle of a picture, filling the given size."""
    scale = max(width / picture.width, height / picture.height)
    resized = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    return resized.crop((left, top, left + width, top + height))


def strip(shown: list[np.ndarray]) -> Image.Image:
    """Return pictures side by side, no wider than a page."""
    row = Image.fromarray(np.concatenate(shown[:4], axis=1))
    scale = min(HELP_WIDTH / row.width, 1.0)
    return row.resize((round(row.width * scale), round(row.height * scale)), Image.Resampling.LANCZOS)


def write_help(client: Client, run: Run, name: str) -> None:
    """Write the pictures of the help that come from an example."""
    numbers = [node.name for column in GRAPHS[name] for node in column.nodes]
    for kind, (example, node) in HELP.items():
        if example == name:
            paths = (client.path(shown) for shown in run.files(str(numbers.index(node) + 1)))
            strip(pictures(paths)).save(REPO / "web" / "docs" / f"{kind}.jpg", quality=82)


def write_more_help(client: Client, info: Info) -> None:
    """Write the pictures of the help that no example shows."""
    prompt, shown = help_prompt()
    run = client.run(with_defaults(prompt, info))
    _log.info("help: %s in %.1f s %s %s", run.status, run.seconds, run.error, run.refusals())
    if run.status != "success":
        sys.exit(client.server.tail())
    for kind, nodes in shown.items():
        paths = (client.path(shown) for name in nodes for shown in run.files(name))
        strip(pictures(paths)).save(REPO / "web" / "docs" / f"{kind}.jpg", quality=82)


def write_words(info: Info) -> None:
    """Write the English words of the nodes, for translators and for the editor."""
    words = {}
    for name in sorted(name for name in info if name.startswith("MGG")):
        entry = info[name]
        inputs = {
            key: {"name": options.get("display_name") or key, "tooltip": options.get("tooltip")}
            for key, _, options in inputs_of(info, name)
        }
        outputs = {
            str(place): {"name": output, "tooltip": tooltip}
            for place, (output, tooltip) in enumerate(zip(entry["output_name"], entry["output_tooltips"], strict=True))
        }
        about = {"display_name": entry["display_name"], "description": entry["description"]}
        words[name] = {**about, "inputs": inputs, "outputs": outputs}
    path = REPO / "locales" / "en" / "nodeDefs.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(words, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def saved(client: Client, run: Run) -> Iterator[Path]:
    """Yield the files that a run has put into the output folder."""
    return (client.path(shown) for shown in run.files() if shown["type"] == "output")


def main() -> None:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where ComfyUI is set up")
    parser.add_argument("names", nargs="*", default=list(GRAPHS))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models = {"mggtalk": [resolve("face_landmarker.task"), resolve("selfie_multiclass_256x256.tflite")]}
    with tempfile.TemporaryDirectory() as base:
        server = Server(arguments.folder.resolve(), Path(base), {PACK: REPO}, models=models, flags=("--cache-none",))
        server.put_input(*SAMPLES.glob("mggtalk_*"), write_recording(Path(base)))
        with server:
            client, info = Client(server), server.get("/object_info")
            write_words(info)
            write_more_help(client, info)
            for name in arguments.names:
                workflow = lay_out(name, GRAPHS[name], info)
                (REPO / "workflows" / f"{name}.json").write_text(text_of(workflow), encoding="utf-8")
                run = client.run(to_prompt(workflow, info))
                _log.info("%s: %s in %.1f s %s %s", name, run.status, run.seconds, run.error, run.refusals())
                if run.status != "success":
                    sys.exit(server.tail())
                write_help(client, run, name)
                thumbnail(pictures(saved(client, run))).save(REPO / "workflows" / f"{name}.jpg", quality=85)


if __name__ == "__main__":
    main()
