"""The update of one rollout: epochs, minibatches, early stop, statistics."""

from dataclasses import dataclass
from typing import Any

import torch

from simreal.domains import tensor_graphs
from simreal.errors import ConfigError
from simreal.learning.processes import processes
from simreal.learning.torch_ppo.flat_adam import OptimizerStep
from simreal.learning.torch_ppo.learner import Learner, new_pieces
from simreal.learning.torch_ppo.objective import STATISTICS, Objective, Table
from simreal.learning.torch_ppo.rollouts import TensorRollouts

# An update ends where the divergence is so many times its target, as in Stable-Baselines3.
KL_MARGIN = 1.5


@dataclass(frozen=True, slots=True)
class UpdateLog:
    """Hold the statistics of an update on the device.

    Attributes:
        values: All of them in one tensor.
        names: Name of each.
    """

    values: torch.Tensor
    names: tuple[str, ...]

    def read(self) -> dict[str, float]:
        """Return the statistics by name; waits for the device."""
        return dict(zip(self.names, self.values.tolist(), strict=True))


class Update:
    """Run the epochs over one rollout.

    With several processes gradients, divergence and statistics are averaged over them, so that all
    take the same steps and stop at the same minibatch.

    Where `target_kl` is set, the first minibatch beyond it and all later ones leave the parameters
    alone. On the CPU the loop ends there. On a GPU, which is not waited for, the rest of the
    minibatches runs with a flag that makes every optimizer step a step of nothing.

    An epoch is a fixed sequence of operations on tensors that stay where they are. On a GPU it is
    captured as a graph once an update with the same settings has run before, where one process
    trains and the learner allows it.
    """

    def __init__(
        self, model: Any, learner: Learner, stepper: OptimizerStep | None, objective: Objective
    ) -> None:
        """Prepare.

        Args:
            model: The `TorchPPO`, for its settings.
            learner: What sets the gradients.
            stepper: What clips and steps.
            objective: The constants.

        Raises:
            ConfigError: A GPU shall skip steps of an optimizer that cannot.
        """
        self._model, self._learner, self._objective = model, learner, objective
        self._given = stepper
        self._stepper = stepper if stepper is not None else OptimizerStep(model.policy.optimizer)
        buffer: TensorRollouts = learner.rollouts
        self._buffer = buffer
        self._on_cpu = not tensor_graphs.can_capture(buffer.device)
        if model.target_kl is not None and not (self._on_cpu or self._stepper.flat):
            raise ConfigError(
                f"target_kl on {buffer.device} needs Adam without amsgrad and maximize, whose "
                f"steps can be skipped on the device; the optimizer is "
                f"{type(self._stepper.optimizer).__name__}"
            )
        self._processes = processes()
        self._settings = self._settings_of(model)
        size, batch, device = buffer.size, model.batch_size, buffer.device
        number = -(-size // batch)
        self._stopped = torch.zeros((), device=device)
        self._over = False
        self._columns = torch.zeros(4, size, device=device)
        self._order = torch.zeros(size, dtype=torch.int64, device=device)
        self._rows = torch.zeros(number, len(STATISTICS), device=device)
        self._alive = torch.zeros(number, device=device)
        self._filled, self._runs = 0, 0
        capturable = learner.capturable and self._stepper.flat and self._processes.size == 1
        self.pieces = new_pieces(device, capturable=capturable, of="the update")

    @staticmethod
    def _settings_of(model: Any) -> tuple[Any, ...]:
        return model.batch_size, model.max_grad_norm, model.target_kl, processes().size

    def suits(
        self, model: Any, learner: Learner, stepper: OptimizerStep | None, objective: Objective
    ) -> bool:
        """Return whether this would be the same update as one made of these.

        Args:
            model: See `__init__`.
            learner: See `__init__`.
            stepper: See `__init__`.
            objective: See `__init__`.
        """
        return (
            learner is self._learner
            and stepper is self._given
            and objective == self._objective
            and self._settings == self._settings_of(model)
        )

    def run(self) -> UpdateLog:
        """Run all epochs and return the statistics, still on the device."""
        buffer = self._buffer
        self._stepper.begin()
        self._learner.begin_update()
        self._stopped.zero_()
        self._over = False
        parts = (buffer.advantages, buffer.returns, buffer.log_probs, buffer.values)
        torch.stack([part.flatten() for part in parts], out=self._columns)
        rows, alive, epochs = [], [], []
        for epoch in range(self._model.n_epochs):
            self._order.copy_(self._learner.permutation())
            if self._runs:
                self.pieces.run("epoch", self._epoch)
            else:
                self._epoch()
            rows.append(self._rows[: self._filled].clone())
            alive.append(self._alive[: self._filled].clone())
            epochs.append(torch.full_like(alive[-1], epoch))
            if self._over:
                break
        self._runs += 1
        return self._log(torch.cat(rows), torch.cat(alive), torch.cat(epochs))

    def _epoch(self) -> None:
        """Take the steps of one order of the transitions, and write a row for each minibatch."""
        order, batch = self._order, self._model.batch_size
        whole = order.shape[0] // batch * batch
        parts = [order[:whole].view(-1, batch)] if whole else []
        if whole < order.shape[0]:
            parts.append(order[whole:].view(1, -1))
        self._filled = 0
        for part in parts:
            table = Table(self._columns, part, self._objective, self._processes)
            counted = self._pass(table)
            span = slice(self._filled, self._filled + part.shape[0])
            self._rows[span].copy_(table.statistics())
            self._alive[span].copy_(counted)
            self._filled = span.stop
            if self._over:
                break

    def _pass(self, table: Table) -> torch.Tensor:
        """Take the steps of a table; returns 1 for each minibatch that counts, else 0 (M,)."""
        learner, stepper, model = self._learner, self._stepper, self._model
        limit = None if model.target_kl is None else KL_MARGIN * model.target_kl
        counted = torch.ones(table.order.shape[0], device=self._buffer.device)
        learner.load(table)
        for row in range(table.order.shape[0]):
            learner.backward(row)
            if limit is not None:
                if self._on_cpu:
                    if bool(table.kl(row) > limit):
                        self._over = True
                        counted[row + 1 :] = 0.0
                        table.clear(row + 1)
                        break
                else:
                    torch.sub(1.0, self._stopped, out=counted[row])
                    torch.maximum(self._stopped, table.kl(row) > limit, out=self._stopped)
            self._processes.average(*stepper.gradients())
            stepper.step(model.max_grad_norm, None if limit is None else self._stopped)
        return counted

    def _log(self, rows: torch.Tensor, alive: torch.Tensor, number: torch.Tensor) -> UpdateLog:
        """Average over the minibatches that count, as Stable-Baselines3 does."""
        means = (rows * alive[:, None]).sum(0) / alive.sum()
        last_epoch = (number * alive).max()
        of_last = alive * (number == last_epoch)
        kl = STATISTICS.index("approx_kl")
        means[kl] = (rows[:, kl] * of_last).sum() / of_last.sum()
        last = (alive.cumsum(0) * alive).argmax()
        means[STATISTICS.index("loss")] = rows[:, STATISTICS.index("loss")].gather(0, last)
        values, names = [*means.unbind(0)], list(STATISTICS)
        values += [last_epoch + 1.0, self._explained_variance()]
        names += ["epochs", "explained_variance"]
        log_std = getattr(self._model.policy, "log_std", None)
        if log_std is not None:
            values.append(log_std.detach().exp().mean())
            names.append("std")
        names[names.index("policy_loss")] = "policy_gradient_loss"
        return UpdateLog(torch.stack([v.float() for v in values]), tuple(names))

    def _explained_variance(self) -> torch.Tensor:
        values, returns = self._buffer.values.flatten(), self._buffer.returns.flatten()
        _, spread = self._processes.moments(returns, 0)
        _, unexplained = self._processes.moments(returns - values, 0)
        spread = spread.squeeze(0)
        explained = 1.0 - unexplained.squeeze(0) / spread
        return torch.where(spread == 0, torch.full_like(spread, torch.nan), explained)
