"""Devices, sizes and models of the Warp engine, and the ways in which graphs can be missing.

Without captured graphs MuJoCo Warp is 7 to 13 times slower, and says so in a warning that is easily
overlooked. Here it is an error unless the options allow it.
"""

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from simreal.engines.base import EngineSpec
from simreal.engines.mujoco_model import Compiled
from simreal.engines.mujoco_params import DERIVED_KINDS, FIELDS
from simreal.engines.silence import silenced
from simreal.errors import EngineError, unknown_name

OPTIONS = ("allow_eager", "deterministic", "device", "integrator", "nconmax", "njmax")
DERIVED_FIELDS = ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0")

_LOG = logging.getLogger(__name__)
# Contacts that one pair of geoms can have at most, by the kinds of both.
_MOST_CONTACTS = {"plane-sphere": 1, "plane-capsule": 2, "plane-cylinder": 4, "plane-box": 4}
_OTHER_PLANE, _OTHER_PAIR = 4, 8
_ROUND_TO = 8


@dataclass(frozen=True)
class Device:
    """Describe where the worlds are.

    Attributes:
        name: As Warp calls it, `cpu` or `cuda:0`.
        description: Its product name.
        graphs: Whether physics runs as captured graphs.
        obstacle: Why graphs cannot be captured; empty where they can.
    """

    name: str
    description: str
    graphs: bool
    obstacle: str = ""


@functools.cache
def start() -> None:
    """Start Warp once, without its greeting and its line per compiled module.

    Messages from warnings upward still come, and the kernel cache stays where Warp's own settings
    (`WARP_CACHE_PATH`) put it.
    """
    if wp.config.log_level == wp.LOG_INFO:
        wp.config.log_level = wp.LOG_WARNING
    with silenced():  # a missing driver is reported by `find_device`, where it matters
        wp.init()


def find_device(options: Mapping[str, Any]) -> Device:
    """Choose the device of an engine and say whether graphs can be captured there.

    Args:
        options: `device`: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda` or `cuda:1`;
            `allow_eager`: whether a CUDA device without graphs will do.

    Raises:
        UnknownNameError: There is no such device.
        EngineError: It is a CUDA device that cannot capture graphs.
    """
    start()
    name = str(options.get("device", "auto"))
    known = {"cpu", *(device.alias for device in wp.get_cuda_devices())}
    if name == "auto":
        name = "cuda" if wp.is_cuda_available() else "cpu"
    if name == "cuda":
        name = "cuda:0"
    if name not in known:
        raise unknown_name("device of engine 'warp'", name, {"auto", *known})
    device = wp.get_device(name)
    obstacle = _obstacle(device)
    if obstacle and not options.get("allow_eager", False):
        raise EngineError(
            f"engine 'warp': physics on {name} cannot be captured as a graph: {obstacle}; without "
            "graphs it is about ten times slower. Mend that, or set allow_eager: true"
        )
    return Device(name, str(device.name), not obstacle, obstacle)


def _obstacle(device: Any) -> str:
    if device.is_cpu:
        return ""
    if not wp.is_mempool_enabled(device):
        return "memory pools are off"
    if not wp.is_conditional_graph_supported():
        return "the driver is older than CUDA 12.4, which has no conditional graph nodes"
    return ""


def put_model(compiled: Compiled, spec: EngineSpec) -> Any:
    """Put a compiled model on the present device, with a row per world for what will be changed.

    Args:
        compiled: The model at the domain's dynamics.
        spec: Declares the parameters.
    """
    model = compiled.model
    # Worlds are never reset unasked in MuJoCo Warp, which knows no flag for it.
    model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    kinds = {name.partition(".")[0] for name in spec.params}
    fields = {field for kind in kinds for field in FIELDS[kind]}
    if kinds & DERIVED_KINDS:
        fields |= set(DERIVED_FIELDS)
    sizes = {name: spec.num_worlds for name in sorted(fields) if not name.startswith("opt.")}
    warp_model = mjw.put_model(model, batch_sizes=sizes)
    warp_model.opt.warn_overflow = 0
    warp_model.opt.deterministic = bool(spec.options.get("deterministic", False))
    if "opt.gravity" in fields:
        # Options have one row; another array takes its place before anything is captured.
        gravity = np.tile(model.opt.gravity, (spec.num_worlds, 1)).astype(np.float32)
        warp_model.opt.gravity = wp.array(gravity, dtype=wp.vec3)
    return warp_model


def sizes(model: mujoco.MjModel, options: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many contacts a world has at most, on average, and how many constraint rows.

    Unless the options say otherwise, the first is what the colliding pairs of geoms can have, but
    no more than MuJoCo Warp's own guess of 48; the second follows from it.

    Args:
        model: The model.
        options: `nconmax` and `njmax`.
    """
    contacts = min(_most_contacts(model), 48)
    nconmax = int(options.get("nconmax", contacts))
    elliptic = model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    dims = int(model.geom_condim.max(initial=1))
    rows = dims if elliptic else max(1, 2 * (dims - 1))
    limits = int(model.jnt_limited.sum()) + int(model.tendon_limited.sum())
    needed = model.nv + limits + model.neq * 6 + nconmax * rows
    njmax = int(options.get("njmax", -(-needed // _ROUND_TO) * _ROUND_TO))
    return nconmax, njmax


def _most_contacts(model: mujoco.MjModel) -> int:
    total = 0
    for one in range(model.ngeom):
        for other in range(one + 1, model.ngeom):
            total += _pair_contacts(model, one, other)
    return total


def _pair_contacts(model: mujoco.MjModel, one: int, other: int) -> int:
    meet = (model.geom_contype[one] & model.geom_conaffinity[other]) | (
        model.geom_contype[other] & model.geom_conaffinity[one]
    )
    bodies = model.geom_bodyid[one], model.geom_bodyid[other]
    if not meet or model.body_weldid[bodies[0]] == model.body_weldid[bodies[1]]:
        return 0
    kinds = sorted(
        mujoco.mjtGeom(int(model.geom_type[geom])).name.removeprefix("mjGEOM_").lower()
        for geom in (one, other)
    )
    if "plane" in kinds:
        kinds.remove("plane")
        return _MOST_CONTACTS.get(f"plane-{kinds[0]}", _OTHER_PLANE)
    return _OTHER_PAIR


def log_build(device: Device, seconds: float) -> None:
    """Say in one line of the log how long the kernels took, where they were not in the cache."""
    if seconds > 1.0:
        _LOG.info(
            "built Warp kernels for %s in %.0f s; they are kept in %s",
            device.name,
            seconds,
            wp.config.kernel_cache_dir,
        )


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse options that the engine does not have.

    Raises:
        UnknownNameError: One is unknown.
    """
    for option in options:
        if option not in OPTIONS:
            raise unknown_name("option of engine 'warp'", option, OPTIONS)


def has_derived(spec: EngineSpec) -> bool:
    """Return whether constants must be derived anew when the declared parameters change."""
    return any(name.partition(".")[0] in DERIVED_KINDS for name in spec.params)
