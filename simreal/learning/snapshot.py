"""The full state of a Stable-Baselines3 model as plain arrays, for checkpoints."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from simreal.learning.checkpoint import (
    optimizer_tensors,
    restore_optimizer,
    restore_rng,
    rng_tensors,
)

_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def model_state(model: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return everything of a model that determines the rest of its run.

    Args:
        model: A PPO or SAC of Stable-Baselines3.

    Returns:
        Name to array, and JSON-able facts.
    """
    tensors, rng_meta = rng_tensors()
    for name, value in model.policy.state_dict().items():
        tensors[f"policy.{name}"] = value.detach().cpu().numpy()
    for name, optimizer in _optimizers(model).items():
        tensors |= optimizer_tensors(optimizer, f"optimizer.{name}")
    tensors["last_episode_starts"] = torch.as_tensor(model._last_episode_starts).cpu().numpy()
    if getattr(model, "memory", None) is not None:
        tensors["memory"] = model.memory.cpu().numpy()
    reward = model.get_vec_normalize_env()
    if reward is not None:
        scale = reward.ret_rms
        tensors["reward.running"] = np.array([scale.mean, scale.var, scale.count])
        tensors["reward.returns"] = reward.returns
    meta: dict[str, Any] = {
        "rng": rng_meta,
        "num_timesteps": int(model.num_timesteps),
        "num_updates": int(model._n_updates),
        "num_episodes": int(model._episode_num),
        "progress_remaining": float(model._current_progress_remaining),
        "episodes": [[e["r"], e["l"]] for e in model.ep_info_buffer or ()],
        "successes": [bool(s) for s in model.ep_success_buffer or ()],
    }
    if _off_policy(model):
        tensors |= _replay_tensors(model)
        # Random actions at the beginning come from the action space's own generator.
        meta["action_rng"] = model.action_space.np_random.bit_generator.state
        meta["replay"] = {"pos": model.replay_buffer.pos, "full": bool(model.replay_buffer.full)}
        if getattr(model, "log_ent_coef", None) is not None:
            tensors["log_ent_coef"] = model.log_ent_coef.detach().numpy()
    return {name: np.array(value) for name, value in tensors.items()}, meta


def restore_model(
    model: Any, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any], obs: np.ndarray
) -> None:
    """Put back what `model_state` returned.

    Args:
        model: A fresh model of the same settings.
        tensors: Name to array.
        meta: The facts.
        obs: The observation that stood then (N, dim).
    """
    policy = {
        k[7:]: torch.from_numpy(np.array(v)) for k, v in tensors.items() if k.startswith("policy.")
    }
    model.policy.load_state_dict(policy)
    if _off_policy(model):
        _restore_replay(model, tensors, meta)
        model.action_space.np_random.bit_generator.state = meta["action_rng"]
    for name, optimizer in _optimizers(model).items():
        restore_optimizer(optimizer, tensors, f"optimizer.{name}")
    reward = model.get_vec_normalize_env()
    if reward is not None:
        scale = reward.ret_rms
        scale.mean, scale.var, scale.count = (np.array(v) for v in tensors["reward.running"])
        reward.returns = np.array(tensors["reward.returns"])
    model.ep_info_buffer = deque(maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    model.num_timesteps = meta["num_timesteps"]
    model._n_updates = meta["num_updates"]
    model._episode_num = meta["num_episodes"]
    model._current_progress_remaining = meta["progress_remaining"]
    model.ep_info_buffer.extend({"r": r, "l": length, "t": 0.0} for r, length in meta["episodes"])
    model.ep_success_buffer.extend(meta["successes"])
    model._last_obs = obs
    model._last_episode_starts = np.array(tensors["last_episode_starts"])
    if "memory" in tensors:
        model.memory = torch.from_numpy(np.array(tensors["memory"])).to(model.device)
    restore_rng(tensors, meta["rng"])


def _off_policy(model: Any) -> bool:
    return isinstance(model, OffPolicyAlgorithm)


def _optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    if _off_policy(model):
        policy = model.policy
        found = {"actor": policy.actor.optimizer, "critic": policy.critic.optimizer}
        if getattr(model, "ent_coef_optimizer", None) is not None:
            found["ent_coef"] = model.ent_coef_optimizer
        return found
    return {"policy": model.policy.optimizer}


def _replay_tensors(model: Any) -> dict[str, np.ndarray]:
    buffer = model.replay_buffer
    used = buffer.buffer_size if buffer.full else buffer.pos
    return {f"replay.{name}": getattr(buffer, name)[:used] for name in _REPLAY}


def _restore_replay(model: Any, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    buffer = model.replay_buffer
    for name in _REPLAY:
        stored = tensors[f"replay.{name}"]
        getattr(buffer, name)[: stored.shape[0]] = stored
    buffer.pos, buffer.full = meta["replay"]["pos"], meta["replay"]["full"]
    if "log_ent_coef" in tensors:
        model.log_ent_coef.data.copy_(torch.from_numpy(np.array(tensors["log_ent_coef"])))
