"""The benchmark of the rasteriser as a picture."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from ..media.atomic import replacing

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_PANELS = (
    ("gaussians", "gaussians", "Gaussians"),
    ("pixels", "size", "pixels a side"),
    ("splat size", "width", "size"),
)
_COLORS = {"forward": (31, 119, 180), "backward": (214, 92, 28)}
_WIDTH, _HEIGHT, _MARGIN = 420, 340, 60
_INK, _GRID = (40, 40, 40), (225, 225, 225)


def plot_speed(path: str | os.PathLike[str], result: dict[str, Any]) -> None:
    """Draw milliseconds of CPU time, forward and backward, against N, resolution and splat size, on log scales."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_WIDTH * len(_PANELS), _HEIGHT + 30), "white")
    draw = ImageDraw.Draw(image)
    values = [row[way]["cpu_ms"] for row in result["numba"] for way in _COLORS]
    low, high = 10.0 ** math.floor(math.log10(min(values))), 10.0 ** math.ceil(math.log10(max(values)))
    for k, (sweep, key, name) in enumerate(_PANELS):
        rows = [row for row in result["numba"] if row["sweep"] == sweep]
        if rows:
            _panel(draw, _WIDTH * k, rows, key, name, (low, high))
    calibration = result["calibration"]["cpu_ms"]
    note = "numba, one thread, CPU ms (log scale); 150,000 Gaussians at 512 px unless swept; calibration"
    draw.text((_MARGIN, _HEIGHT + 8), f"{note} {calibration} ms", fill=_INK)
    for k, (way, color) in enumerate(_COLORS.items()):
        draw.text((_WIDTH * len(_PANELS) - 90, _HEIGHT - 2 + 14 * k), way, fill=color)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _panel(
    draw: ImageDraw, left: int, rows: list[dict[str, Any]], key: str, name: str, span: tuple[float, float]
) -> None:
    x0, x1, y0, y1 = left + _MARGIN, left + _WIDTH - 15, _HEIGHT - 45, 25
    low, high = math.log10(rows[0][key]), math.log10(rows[-1][key])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / max(high - low, 1e-9)
        up = math.log10(y / span[0]) / math.log10(span[1] / span[0])
        return x0 + across * (x1 - x0), y0 + up * (y1 - y0)

    decade = span[0]
    while decade <= span[1]:
        for step in (1, 2, 5):
            if decade * step <= span[1]:
                y = place(rows[0][key], decade * step)[1]
                draw.line((x0, y, x1, y), fill=_GRID)
                draw.text((left + 25, y - 6), f"{decade * step:g}", fill=_INK)
        decade *= 10
    draw.rectangle((x0, y1, x1, y0), outline=_INK)
    for row in rows:
        x = place(row[key], span[0])[0]
        draw.line((x, y0, x, y0 + 4), fill=_INK)
        label = f"{row[key] / 1000:g}k" if row[key] >= 10_000 else f"{row[key]:g}"
        draw.text((x - 10, y0 + 6), label, fill=_INK)
    draw.text(((x0 + x1) / 2 - 20, y0 + 24), name, fill=_INK)
    for way, color in _COLORS.items():
        points = [place(row[key], row[way]["cpu_ms"]) for row in rows]
        draw.line(points, fill=color, width=2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color)
