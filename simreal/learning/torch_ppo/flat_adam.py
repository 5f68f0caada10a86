"""Adam on one flat tensor.

A small policy has a dozen small tensors, and an optimizer that visits each of them spends its time
on the visits. Here parameters, gradients and both moments are views of four flat tensors, so that
clipping and stepping cost a handful of operations whatever the network looks like.

The policy's optimizer object stays the one that Stable-Baselines3 made. Its state is those views,
so its state dictionary, SB3's files and this kit's checkpoints are as without this module.
"""

from collections.abc import Iterable
from typing import Any

import torch

from simreal.domains import tensor_graphs
from simreal.errors import ConfigError
from simreal.learning.freezing import ScaledAdam


class OptimizerStep:
    """Clip and step with any optimizer of PyTorch, tensor by tensor.

    Attributes:
        optimizer: The policy's optimizer.
        parameters: What it trains.
        flat: Whether gradients are views of one tensor, and steps may be skipped on the device.
    """

    flat = False

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        """Refer to an optimizer.

        Args:
            optimizer: The policy's optimizer.
        """
        self.optimizer = optimizer
        self.parameters = _trained(optimizer)

    @property
    def intact(self) -> bool:
        """Return whether it still drives what the optimizer trains."""
        return _same(self.parameters, _trained(self.optimizer))

    def begin(self) -> None:
        """Take over learning rates and state before an update."""

    def zero(self) -> None:
        """Set all gradients to zero."""
        self.optimizer.zero_grad(set_to_none=False)

    def gradients(self) -> list[torch.Tensor]:
        """Return the gradients, for whoever averages them over processes."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def step(self, max_norm: float, skip: torch.Tensor | None) -> None:
        """Clip the gradients by their common norm and take a step.

        Args:
            max_norm: Largest norm.
            skip: Not supported by every optimizer, so None is needed.
        """
        torch.nn.utils.clip_grad_norm_(self.parameters, max_norm)
        self.optimizer.step()


class FlatAdam(OptimizerStep):
    """Clip and step all trained parameters as one tensor.

    The same mathematics as `clip_grad_norm_` and `torch.optim.Adam`, by PyTorch's fused kernel,
    which divides by the clipping factor in the same pass.
    """

    flat = True

    def __init__(self, optimizer: torch.optim.Adam) -> None:
        """Move parameters, gradients and moments into flat tensors.

        Args:
            optimizer: Adam or this kit's `ScaledAdam`, see `supports`.

        Raises:
            ConfigError: Parameters of different devices or types.
        """
        super().__init__(optimizer)
        kinds = {(p.device, p.dtype) for p in self.parameters}
        if len(kinds) > 1:
            raise ConfigError(
                f"the optimizer's parameters are of {sorted(map(str, kinds))}; one device and one "
                "type are needed"
            )
        self._grouped = _by_group_and_age(optimizer)
        ordered = [p for _, members in self._grouped for p in members]
        number = sum(p.numel() for p in ordered)
        first = self.parameters[0]
        self.values, self.gradient, first_moment, second_moment = (
            torch.zeros(number, dtype=first.dtype, device=first.device) for _ in range(4)
        )
        self._moments = first_moment, second_moment
        self._segments: list[_Segment] = []
        offset = 0
        for group, members in self._grouped:
            self._segments.append(self._segment(group, members, offset))
            offset += sum(p.numel() for p in members)
        self._divisor = torch.ones((), dtype=first.dtype, device=first.device)

    @staticmethod
    def supports(optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer can be driven flat: plain Adam, something to train."""
        plain = type(optimizer) in (torch.optim.Adam, ScaledAdam)
        options = ("amsgrad", "maximize", "differentiable", "decoupled_weight_decay")
        return (
            plain
            and bool(_trained(optimizer))
            and not any(group.get(o) for group in optimizer.param_groups for o in options)
        )

    def _segment(self, group: dict[str, Any], members: list[Any], offset: int) -> "_Segment":
        begin, state = offset, self.optimizer.state
        steps = torch.zeros(len(members), device=self.values.device)
        with torch.no_grad():
            for index, parameter in enumerate(members):
                span = slice(offset, offset + parameter.numel())
                offset = span.stop
                old = dict(state.get(parameter, {}))
                views = [self._moments[i][span].view_as(parameter) for i in (0, 1)]
                for view, name in zip(views, ("exp_avg", "exp_avg_sq"), strict=True):
                    if name in old:
                        view.copy_(old[name])
                steps[index] = float(old.get("step", 0.0))
                self.values[span].view_as(parameter).copy_(parameter)
                parameter.data = self.values[span].view_as(parameter)
                parameter.grad = self.gradient[span].view_as(parameter)
                # A number of its own for each parameter, since other optimizers count each alone.
                state[parameter] = {
                    "step": steps[index],
                    "exp_avg": views[0],
                    "exp_avg_sq": views[1],
                }
        return _Segment(self, group, members, slice(begin, offset), steps)

    @property
    def intact(self) -> bool:
        """Return whether parameters, gradients and state are still the views made here."""
        return super().intact and all(s.intact(self.optimizer) for s in self._segments)

    def begin(self) -> None:
        """Take over the learning rates that the schedule has set."""
        for segment in self._segments:
            segment.take_rate()

    def zero(self) -> None:
        """Set all gradients to zero."""
        self.gradient.zero_()

    def gradients(self) -> list[torch.Tensor]:
        """Return the one flat gradient."""
        return [self.gradient]

    def step(self, max_norm: float, skip: torch.Tensor | None = None) -> None:
        """Clip the gradients by their common norm and take a step.

        Args:
            max_norm: Largest norm.
            skip: 1 on the device to leave everything as it is, 0 to step; None steps.
        """
        divisor = self._divisor
        torch.linalg.vector_norm(self.gradient, out=divisor)
        divisor.add_(1e-6).div_(max_norm).clamp_(min=1.0)
        for segment in self._segments:
            segment.step(divisor, skip)


class _Segment:
    """Parameters of one group and one age, side by side."""

    def __init__(
        self,
        owner: FlatAdam,
        group: dict[str, Any],
        members: list[Any],
        span: slice,
        steps: torch.Tensor,
    ) -> None:
        self._group, self._members, self._steps = group, members, steps
        self._values = [owner.values[span]]
        self._gradients = [owner.gradient[span]]
        self._first, self._second = ([moment[span]] for moment in owner._moments)
        self._state = [owner.optimizer.state[p] for p in members]
        self._places = [
            (p.data_ptr(), p.grad.data_ptr(), s["exp_avg"].data_ptr())
            for p, s in zip(members, self._state, strict=True)
        ]
        self._count = [steps[0]]
        self._on_cpu = not tensor_graphs.can_capture(steps.device)
        self._rate: Any = torch.zeros((), device=steps.device)
        beta1, beta2 = group["betas"]
        self._options: Any = {
            "beta1": float(beta1),
            "beta2": float(beta2),
            "weight_decay": float(group["weight_decay"]),
            "eps": float(group["eps"]),
            "amsgrad": False,
            "maximize": False,
        }
        self.take_rate()

    def intact(self, optimizer: torch.optim.Optimizer) -> bool:
        for parameter, place in zip(self._members, self._places, strict=True):
            state = optimizer.state.get(parameter)
            if not state or parameter.grad is None:
                return False
            seen = parameter.data_ptr(), parameter.grad.data_ptr(), state["exp_avg"].data_ptr()
            if seen != place:
                return False
        return True

    def take_rate(self) -> None:
        rate = float(self._group["lr"]) * self._group.get("factor", 1.0)
        # A tensor on a GPU, so that a captured graph sees the schedule.
        if self._on_cpu:
            self._rate = rate
        else:
            self._rate.fill_(rate)

    def step(self, divisor: torch.Tensor, skip: torch.Tensor | None) -> None:
        self._steps.add_(1.0)
        if skip is not None:
            self._steps.sub_(skip)
        torch._fused_adam_(
            self._values,
            self._gradients,
            self._first,
            self._second,
            [],
            self._count,
            lr=self._rate,
            grad_scale=divisor,
            found_inf=skip,
            **self._options,
        )


def optimizer_step(optimizer: torch.optim.Optimizer) -> OptimizerStep:
    """Return the fastest driver that an optimizer allows.

    Args:
        optimizer: The policy's optimizer.
    """
    if FlatAdam.supports(optimizer):
        return FlatAdam(optimizer)  # type: ignore[arg-type]
    return OptimizerStep(optimizer)


def portable_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's state dictionary as plain Adam on a CPU would have it.

    Args:
        optimizer: Any optimizer, on any device.
    """
    content = optimizer.state_dict()
    on_cpu = all(p.device.type == "cpu" for p in _all(optimizer))
    groups = []
    for group in content["param_groups"]:
        plain = dict(group) | {"lr": float(group["lr"])}
        if "capturable" in plain:
            plain["capturable"] = False
        if not on_cpu and "fused" in plain:
            plain["fused"] = None
        groups.append(plain)
    state = {
        index: {name: _own(name, value) for name, value in entry.items()}
        for index, entry in content["state"].items()
    }
    return {"state": state, "param_groups": groups}


def _own(name: str, value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().cpu().clone() if name == "step" else value.detach().clone()


def _all(optimizer: torch.optim.Optimizer) -> Iterable[torch.nn.Parameter]:
    return (p for group in optimizer.param_groups for p in group["params"])


def _trained(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for p in _all(optimizer) if p.requires_grad]


def _same(first: list[torch.nn.Parameter], second: list[torch.nn.Parameter]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def _by_group_and_age(
    optimizer: torch.optim.Optimizer,
) -> list[tuple[dict[str, Any], list[torch.nn.Parameter]]]:
    """Return trained parameters of equal options and equal step count together."""
    found: list[tuple[dict[str, Any], list[torch.nn.Parameter]]] = []
    for group in optimizer.param_groups:
        ages: dict[float, list[torch.nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.requires_grad:
                age = float(optimizer.state.get(parameter, {}).get("step", 0.0))
                ages.setdefault(age, []).append(parameter)
        found += [(group, members) for members in ages.values()]
    return found
