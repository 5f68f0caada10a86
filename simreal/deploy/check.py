"""Replay the golden vectors of a bundle through the numpy runtime.

Hashes prove that a bundle is the one that was written; only a replay proves that it means here what
it meant in training. It begins at a reset, goes from raw signals to joint commands, and names the
first step, term and joint that differ.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simreal.deploy.bundle import Bundle, load_bundle
from simreal.deploy.decode import mismatch, one_line
from simreal.deploy.policy import PolicyBase, entry_names
from simreal.deploy.runtime import NumpyPolicy
from simreal.errors import BundleError

_FLOAT32 = 1e-6  # what is left of an output after a few layers of rounding


def replay(bundle: Bundle, policy: PolicyBase | None = None) -> dict[str, float]:
    """Compare a runtime with the recorded episodes.

    A command may also differ by a millionth of its scale: that is what float32 resolves.

    Args:
        bundle: A loaded bundle.
        policy: A runtime of it, which is bound to the manifest's order; the numpy runtime if None.

    Returns:
        Largest absolute difference of `observation`, `output` and `command` over all steps.

    Raises:
        BundleError: A number differs by more than the bundle allows; the message names the first.
    """
    policy = NumpyPolicy(bundle) if policy is None else policy
    policy.bind(bundle.manifest.robot.joint_names)
    manifest, golden = bundle.manifest, bundle.golden
    atol, resets = manifest.golden.atol, set(manifest.golden.resets)
    outputs = [f"action[{entry.joint}]" for entry in manifest.action.entries]
    names = manifest.robot.actuator_names
    scales = {entry.joint: entry.scale for entry in manifest.action.entries}
    resolved = np.array([_FLOAT32 * scales.get(name, 0.0) for name in names])
    stages: tuple[tuple[str, np.ndarray, Sequence[str], np.ndarray], ...] = (
        ("observation", golden.observation, entry_names(manifest), np.array(atol)),
        ("output", golden.output, outputs, np.array(atol)),
        ("command", golden.command, names, np.maximum(atol, resolved)),
    )
    worst = dict.fromkeys((stage[0] for stage in stages), 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite fails the comparison
        for step in range(manifest.golden.steps):
            signals = {name: values[step] for name, values in golden.signals.items()}
            command = policy.reset(signals) if step in resets else policy.step(signals)
            found = {"observation": policy.observation, "output": policy.output, "command": command}
            for stage, expected, entries, allowed in stages:
                error = _compare(
                    f"{stage} at step {step}", expected[step], found[stage], entries, allowed
                )
                worst[stage] = max(worst[stage], error)
            # The recorded history, not the policy's own: a policy that reacts strongly to its last
            # action would let the rounding of two processors grow from step to step.
            policy.applied(golden.output[step])
    return worst


def check_bundle(path: str | Path) -> list[str]:
    """Check everything about a bundle that can be checked without a robot.

    Args:
        path: The folder.

    Returns:
        What was checked, one line each.

    Raises:
        BundleError: A check failed.
    """
    bundle = load_bundle(path)
    manifest = bundle.manifest
    derived: list[str] = []
    try:
        worst = replay(bundle)
        if bundle.derived:
            # Imported here: a controller has no use for the writers of other forms.
            from simreal.deploy.derive import check_derived

            derived = check_derived(bundle)
    except BundleError as error:
        raise BundleError(one_line(f"bundle '{path}': {error}")) from None
    largest = ", ".join(f"{stage} {error:.1e}" for stage, error in worst.items())
    shape = "-".join(
        str(n) for n in (manifest.network.inputs, *(k.units for k in manifest.network.layers))
    )
    return [
        f"policy {manifest.name}, identity {bundle.sha256[:12]}",
        f"files: {len(manifest.files)} members, all sizes and hashes as listed",
        f"robot: {manifest.robot.id}, {len(manifest.robot.joints)} joints, interface "
        f"{manifest.robot.interface_sha256[:12]}",
        f"network: {shape}, all tensors present, finite and of the right shape",
        f"timing: {1.0 / manifest.timing.control_period_s:g} Hz",
        f"golden replay: {manifest.golden.steps} steps from a reset, largest difference: {largest} "
        f"(allowed {manifest.golden.atol:g})",
        *derived,
    ]


def _compare(
    where: str,
    expected: np.ndarray,
    found: np.ndarray,
    names: Sequence[str],
    allowed: np.ndarray,
) -> float:
    error = np.abs(found.astype(np.float64) - expected)
    good = error <= allowed  # false where either is not a number
    if not good.all():
        index = int(np.flatnonzero(~good)[0])
        bound = float(np.broadcast_to(allowed, good.shape)[index])
        raise mismatch(
            f"golden replay, {where}, {names[index]}",
            f"{float(expected[index])!r} within {bound:g}",
            f"{float(found[index])!r}",
        )
    return float(error.max(initial=0.0))
