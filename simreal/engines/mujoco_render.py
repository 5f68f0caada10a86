"""Draw MuJoCo worlds without a display.

MuJoCo's own `Renderer` takes its OpenGL platform from an environment variable that is read once per
process, and without a display the default one ends the process. Here the platforms that need no
display are tried in turn, and their absence is an error like any other.
"""

import importlib
import os
from typing import Any

import mujoco
import numpy as np

from simreal.engines.silence import silenced
from simreal.errors import DependencyError

_PLATFORMS = ("egl", "osmesa")


class Offscreen:
    """Hold an OpenGL context and a scene for pictures of one size."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Open a context.

        Args:
            model: Model whose assets are drawn; worlds may differ in their parameters.
            width: Picture width [px].
            height: Picture height [px].

        Raises:
            DependencyError: There is neither EGL nor OSMesa.
        """
        self.size = (width, height)
        self._context = _open_context(width, height)
        self._context.make_current()
        self._mjr = mujoco.MjrContext(model, int(mujoco.mjtFontScale.mjFONTSCALE_100))
        mujoco.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), self._mjr)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, self._camera)
        self._camera.azimuth, self._camera.elevation = 90.0, -5.0
        self._camera.distance = 2.2 * model.stat.extent

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
        """Draw one world.

        Args:
            model: The world's model.
            data: The world's data, with positions up to date.

        Returns:
            Picture (H, W, 3), uint8, first row at the top.
        """
        width, height = self.size
        self._context.make_current()
        mujoco.mjv_updateScene(
            model,
            data,
            self._option,
            None,
            self._camera,
            int(mujoco.mjtCatBit.mjCAT_ALL),
            self._scene,
        )
        rect = mujoco.MjrRect(0, 0, width, height)
        picture = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_render(rect, self._scene, self._mjr)
        mujoco.mjr_readPixels(picture, None, rect, self._mjr)
        return np.ascontiguousarray(picture[::-1])

    def close(self) -> None:
        """Free the context. Safe to call twice."""
        if self._context is not None:
            self._context.make_current()
            self._mjr.free()
            self._context.free()
            self._context = None


def _open_context(width: int, height: int) -> Any:
    tried = []
    chosen = os.environ.get("PYOPENGL_PLATFORM")
    for platform in (chosen,) if chosen in _PLATFORMS else _PLATFORMS:
        try:
            with silenced():
                return importlib.import_module(f"mujoco.{platform}").GLContext(width, height)
        except (
            Exception
        ) as error:  # a missing library shows as ImportError, AttributeError or a GL error
            tried.append(f"{platform}: {' '.join(str(error).split())[:80]}")
            if chosen is None:
                os.environ.pop("PYOPENGL_PLATFORM", None)
    raise DependencyError(
        f"MuJoCo finds no OpenGL that works without a display ({'; '.join(tried)}); install EGL or "
        "OSMesa, or take pictures with engine=pybullet, whose software renderer needs neither"
    )
