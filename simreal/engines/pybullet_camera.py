"""Pictures of a Bullet world without a display.

Bullet's own software renderer draws them, so that a robot can be seen on a machine with no screen.
The record says how far the camera has to stand back.
"""

from collections.abc import Sequence

import numpy as np

from simreal.core.kinematics import reach
from simreal.engines.pybullet_world import World, p

_FIELD_OF_VIEW = 45.0  # vertical [deg]
_DISTANCE = 2.7  # in reaches: the whole robot fits at this field of view, in any pose
_LIGHT = {
    "lightDirection": [-1.0, -2.0, 2.0],
    "lightAmbientCoeff": 0.65,
    "lightDiffuseCoeff": 0.4,
    "lightSpecularCoeff": 0.1,
    "shadow": 0,
}


def take_picture(world: World, target: Sequence[float], width: int, height: int) -> np.ndarray:
    """Draw a world with its robot in the middle.

    A fixed robot is seen along +y, across the plane in which pendulums move; a free one from above.

    Args:
        world: A drawn world.
        target: What the camera looks at (3) [m].
        width: Columns [pixel].
        height: Rows [pixel].

    Returns:
        Picture (H, W, 3), uint8.
    """
    far = max(reach(world.robot), 0.05)
    yaw, pitch = (0.0, -8.0) if world.robot.fixed_base else (40.0, -20.0)
    view = p.computeViewMatrixFromYawPitchRoll(target, _DISTANCE * far, yaw, pitch, 0.0, 2)
    lens = p.computeProjectionMatrixFOV(_FIELD_OF_VIEW, width / height, 0.05 * far, 20.0 * far)
    image = p.getCameraImage(
        width,
        height,
        view,
        lens,
        renderer=p.ER_TINY_RENDERER,
        physicsClientId=world.client,
        **_LIGHT,
    )[2]
    return np.asarray(image, dtype=np.uint8).reshape(height, width, 4)[:, :, :3].copy()
