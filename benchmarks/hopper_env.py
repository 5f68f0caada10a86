"""Measure the Bullet hopper against the published environment and against its bare physics.

All arms step the same hopper through the same recorded episodes: starts and actions of a trained
policy (`benchmarks/data/hopper_tape.npz`). The bare loop only commands and steps, and goes back to
the start where an episode ends; the others observe, reward and reset as always. Before anything is
timed, ours and the published environment are compared along the tape, to 1e-6. The time is the
processor's, so that other programs do not count.

    python benchmarks/hopper_env.py
    python benchmarks/hopper_env.py --record outputs/hopper/policy    # a new tape
"""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pybullet_envs_gymnasium

import simreal_envs
from rounds import Arm, Ratio, arguments, close, print_table, summarize, take_turns, write
from simreal.deploy import load_bundle
from simreal.domains import SimVecEnv
from simreal.engines.pybullet_world import p
from simreal.learning.artifact import act_of
from simreal_envs.domains import domain
from simreal_envs.robots import hopper
from simreal_envs.tasks.bullet_locomotion import HopperBullet

NUM_WORLDS, NUM_STEPS, NUM_TAPES = 16, 1000, 4
TAPE = Path(__file__).resolve().parent / "data" / "hopper_tape.npz"
IDS = {"published": "HopperBulletEnv-v0", "gym.make": "simreal/HopperBullet-v0"}
RATIOS = (
    Ratio(name="published / batch of 16", top="published", bottom="batch of 16", at_least=2.5),
    Ratio(name="bare loop / batch of 16", top="bare loop", bottom="batch of 16", at_least=0.7),
    Ratio(name="published / gym.make", top="published", bottom="gym.make", at_least=1.8),
    Ratio(name="bare loop, one world / gym.make", top="bare loop, one world", bottom="gym.make"),
)


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--record", type=Path, default=None, help="policy bundle to record")
    options = parser.parse_args()
    gymnasium.register_envs(simreal_envs)  # importing them has registered their ids
    gymnasium.register_envs(pybullet_envs_gymnasium)
    if options.record is not None:
        return record(options.record)
    with np.load(TAPE) as tape:
        starts, actions = tape["starts"], tape["actions"]
    assert_equal(starts, actions)
    arms = build_arms(starts, actions)
    take_turns(arms, options.rounds)
    extra = {
        "physics": "ticks of 4.125 ms, 4 of them per control step, 5 solver iterations",
        "published": f"pybullet_envs_gymnasium {version('pybullet_envs_gymnasium')}",
    }
    report = summarize(arms, RATIOS, unit="environment step", clock="cpu", extra=extra)
    print_table(report)
    write(report, "hopper_env", options.output)
    close(arms)
    return 0


def record(policy: Path) -> int:
    """Write starts and actions of a policy's episodes, those that last for all of their steps.

    Args:
        policy: Its bundle.
    """
    act = act_of(load_bundle(policy))
    env = build_env(NUM_WORLDS)
    obs, actions = env.reset(0), []
    starts, whole = env.truth.joint_pos.copy(), np.ones(NUM_WORLDS, dtype=bool)
    for _ in range(NUM_STEPS):
        actions.append(np.clip(act(obs), -1.0, 1.0).astype(np.float32))
        result = env.step(actions[-1], autoreset=False)
        obs, whole = result.final_obs, whole & ~result.terminated
    env.close()
    chosen = np.flatnonzero(whole)[:NUM_TAPES]
    if chosen.size < NUM_TAPES:
        raise SystemExit(f"{whole.sum()} of {NUM_WORLDS} episodes are whole, {NUM_TAPES} needed")
    TAPE.parent.mkdir(exist_ok=True)
    tapes = np.stack(actions)[:, chosen].transpose(1, 0, 2)
    np.savez_compressed(TAPE, starts=starts[chosen], actions=tapes)
    print(f"wrote {TAPE}")
    return 0


def build_env(num_worlds: int) -> SimVecEnv:
    """Return hoppers in the domain of the published environment, at the start of an episode."""
    env = SimVecEnv(hopper(), HopperBullet(), domain("pybullet_published"), num_worlds)
    env.reset(0)
    return env


def place(env: SimVecEnv, starts: np.ndarray) -> None:
    """Put all worlds, which have just begun an episode, at the starts of the tape (N, J)."""
    env.engine.reset(np.ones(env.num_worlds, dtype=bool), starts, np.zeros_like(starts))
    env.engine.read(env.truth)


def place_published(env: Any, start: np.ndarray) -> None:
    """Put the published environment, which has just begun an episode, at a start (J)."""
    for joint, position in zip(env.robot.ordered_joints, start[3:], strict=True):
        joint.reset_current_position(position, 0)
    env.robot.calc_state()
    env.potential = env.robot.calc_potential()


def assert_equal(starts: np.ndarray, actions: np.ndarray) -> None:
    """Compare ours with the published environment along the tape."""
    ours = build_env(NUM_TAPES)
    place(ours, starts)
    theirs = [gymnasium.make(IDS["published"]).unwrapped for _ in starts]
    for env, start in zip(theirs, starts, strict=True):
        env.reset(seed=0)
        env.reset()  # the first one leaves the ground out of the robot's parts
        place_published(env, start)
    for step in range(NUM_STEPS):
        found = ours.step(actions[:, step], autoreset=False)
        for world, env in enumerate(theirs):
            obs, reward, *_ = env.step(actions[world, step])
            np.testing.assert_allclose(found.final_obs[world], obs, rtol=0, atol=1e-6)
            np.testing.assert_allclose(found.reward[world], reward, rtol=0, atol=1e-6)
    ours.close()
    for env in theirs:
        env.close()


def build_arms(starts: np.ndarray, actions: np.ndarray) -> list[Arm]:
    """Return every arm with worlds of its own.

    Args:
        starts: Joint positions (T, J).
        actions: (T, steps, 3).
    """
    worlds = np.arange(NUM_WORLDS) % NUM_TAPES
    many, tapes = starts[worlds], np.ascontiguousarray(actions[worlds].transpose(1, 0, 2))
    arms = []
    for title, count in (("bare loop", NUM_WORLDS), ("bare loop, one world", 1)):
        env = build_env(count)
        run = bare(env, many[:count], tapes[:, :count])
        arms.append(Arm(title, run, close=env.close))
    env = build_env(NUM_WORLDS)
    arms.append(Arm("batch of 16", batch(env, many, tapes), close=env.close))
    for name in ("gym.make", "published"):
        single = gymnasium.make(IDS[name])
        arms.append(Arm(name, episode(single, starts[0], actions[0]), close=single.close))
    return arms


def bare(env: SimVecEnv, starts: np.ndarray, actions: np.ndarray) -> Callable[[], float]:
    """Return the loop that commands and steps an environment's worlds, and reads nothing."""
    engine: Any = env.engine
    worlds = [(w.body, w.client) for w in engine._worlds]
    motors = [engine._worlds[0].joints[i] for i in env.robot.actuated_indices]
    command, tick, mode = p.setJointMotorControlArray, p.stepSimulation, p.TORQUE_CONTROL
    tape = (actions.astype(np.float64) * env.action_map.scale).tolist()

    def run() -> float:
        place(env, starts)
        for row in tape:
            for (body, client), torques in zip(worlds, row, strict=True):
                command(body, motors, mode, forces=torques, physicsClientId=client)
                tick(client)
        return float(len(tape) * len(worlds))

    return run


def batch(env: SimVecEnv, starts: np.ndarray, actions: np.ndarray) -> Callable[[], float]:
    """Return one episode of a batch, which ends with the reset of all worlds."""

    def run() -> float:
        place(env, starts)
        for action in actions:
            result = env.step(action)
        if not result.truncated.all():
            raise SystemExit("an episode of the tape ended early: record a new tape")
        return float(actions.shape[0] * actions.shape[1])

    return run


def episode(env: gymnasium.Env, start: np.ndarray, actions: np.ndarray) -> Callable[[], float]:
    """Return one episode of what `gymnasium.make` gives, its wrappers included, with its reset."""
    inner: Any = env.unwrapped
    env.reset(seed=0)

    def run() -> float:
        env.reset()
        if hasattr(inner, "vec"):
            place(inner.vec, start[None])
        else:
            place_published(inner, start)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        if not truncated:
            raise SystemExit("the tape's first episode ended early: record a new tape")
        return float(len(actions))

    return run


if __name__ == "__main__":
    sys.exit(main())
