"""Blending in NVIDIA Warp, one thread per pixel: Warp compiles for the GPU by itself, without a compiler installed."""

import warp as wp

from . import splatting as rule

TILE = 16
"""Edge of a tile in pixels."""

_MAX_ALPHA = wp.constant(rule.MAX_ALPHA)
_MIN_ALPHA = wp.constant(rule.MIN_ALPHA)
_MIN_TRANSMITTANCE = wp.constant(rule.MIN_TRANSMITTANCE)


@wp.func
def _alpha(mean: wp.vec2, conic: wp.vec3, opacity: float, x: int, y: int) -> float:
    """Opacity of a splat at a pixel, before the clamp at 0.999."""
    dx = mean[0] - float(x) - 0.5
    dy = mean[1] - float(y) - 0.5
    return opacity * wp.exp(-0.5 * (conic[0] * dx * dx + conic[2] * dy * dy) - conic[1] * dx * dy)


@wp.kernel(enable_backward=False)
def blend(
    means: wp.array(dtype=wp.vec2),
    conics: wp.array(dtype=wp.vec3),
    features: wp.array(dtype=wp.vec4),
    opacities: wp.array(dtype=float),
    members: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    columns: int,
    image: wp.array3d(dtype=float),
) -> None:
    """Blend front to back: colour sums, depth sum and alpha of every pixel into ``image`` [5,H,W]."""
    y, x = wp.tid()
    tile = (y // TILE) * columns + x // TILE
    light = float(1.0)  # noqa: UP018 - in Warp a bare number is a constant
    total = wp.vec4(0.0, 0.0, 0.0, 0.0)
    for k in range(offsets[tile], offsets[tile + 1]):
        i = members[k]
        alpha = wp.min(_alpha(means[i], conics[i], opacities[i], x, y), _MAX_ALPHA)
        if alpha >= _MIN_ALPHA:
            left = light * (1.0 - alpha)
            if left <= _MIN_TRANSMITTANCE:
                break
            total += light * alpha * features[i]
            light = left
    for c in range(4):
        image[c, y, x] = total[c]
    image[4, y, x] = 1.0 - light


@wp.kernel(enable_backward=False)
def blend_backward(
    means: wp.array(dtype=wp.vec2),
    conics: wp.array(dtype=wp.vec3),
    features: wp.array(dtype=wp.vec4),
    opacities: wp.array(dtype=float),
    members: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    columns: int,
    image: wp.array3d(dtype=float),
    gradient: wp.array3d(dtype=float),
    to_means: wp.array(dtype=wp.vec2),
    to_conics: wp.array(dtype=wp.vec3),
    to_features: wp.array(dtype=wp.vec4),
    to_opacities: wp.array(dtype=float),
) -> None:
    """Add up what every pixel tells the splats; ``behind`` is the part of (gradient . picture) not yet passed."""
    y, x = wp.tid()
    tile = (y // TILE) * columns + x // TILE
    incoming = wp.vec4(gradient[0, y, x], gradient[1, y, x], gradient[2, y, x], gradient[3, y, x])
    seen = wp.vec4(image[0, y, x], image[1, y, x], image[2, y, x], image[3, y, x])
    behind = wp.dot(incoming, seen) - (1.0 - image[4, y, x]) * gradient[4, y, x]
    light = float(1.0)  # noqa: UP018 - in Warp a bare number is a constant
    for k in range(offsets[tile], offsets[tile + 1]):
        i = members[k]
        mean, conic = means[i], conics[i]
        full = _alpha(mean, conic, opacities[i], x, y)
        alpha = wp.min(full, _MAX_ALPHA)
        if alpha >= _MIN_ALPHA:
            left = light * (1.0 - alpha)
            if left <= _MIN_TRANSMITTANCE:
                break
            value = wp.dot(incoming, features[i])
            behind -= light * alpha * value
            wp.atomic_add(to_features, i, light * alpha * incoming)
            if full <= _MAX_ALPHA:
                slope = full * (behind / (1.0 - alpha) - light * value)
                dx = mean[0] - float(x) - 0.5
                dy = mean[1] - float(y) - 0.5
                wp.atomic_add(
                    to_means, i, slope * wp.vec2(conic[0] * dx + conic[1] * dy, conic[1] * dx + conic[2] * dy)
                )
                wp.atomic_add(to_conics, i, slope * wp.vec3(0.5 * dx * dx, dx * dy, 0.5 * dy * dy))
                wp.atomic_add(to_opacities, i, -slope / opacities[i])
            light = left
