"""The backs of mirrored Gaussians, which a true head would not show from near the source's view.

The mirrored half errs by millimetres. Where it stands out from behind the visible one, what shows is mostly its inner
side, as when a pair of glasses' far arm appears beside a cheek. A far turn opens gaps at the rim, which it may fill.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..head.camera import Camera
from ..smoothstep import smoothstep

AWAY, EDGE_ON = -0.3, -0.1
"""Cosine between a surface's normal and the way to the camera from which it begins to show, and shows in full: what is
seen nearly edge-on fills the rim, and its normal is not known so well."""
NEAR, FAR = math.radians(10.0), math.radians(22.0)
"""Turns from the source's view up to which backs are hidden, and from which they are not."""


def shown_from(
    normals: Float[Tensor, "s 3"], positions: Float[Tensor, "s 3"], camera: Camera, source: Camera
) -> Float[Tensor, "s"]:
    """Return what is to be seen of mirrored surface elements: 0 of the backs, as long as the head has turned little.

    Args:
        normals: pointing outwards, of any length but 0, canonical.
        positions: canonical, units of 10 cm.
        camera: sees them; it carries the head's pose.
        source: has seen the visible half.
    """
    cosine = (normalize(normals, dim=-1) * camera.sight(positions)).sum(dim=-1)
    hidden = 1.0 - smoothstep(cosine, AWAY, EDGE_ON)
    return 1.0 - hidden * (1.0 - smoothstep(camera.turned_from(source).to(positions), NEAR, FAR))
