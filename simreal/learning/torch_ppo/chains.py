"""Chains of linear layers by hand, with buffers of their own for every pass.

Each operation writes into a buffer, and gradients go straight to where the parameters have theirs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from simreal.domains import tensor_graphs

_aten = torch.ops.aten
_FORWARD: dict[type[nn.Module] | None, Callable[[torch.Tensor], Any]] = {
    nn.Tanh: torch.tanh_,
    nn.ReLU: torch.relu_,
    nn.ELU: nn.functional.elu_,
    None: lambda x: x,
}


def _tanh_backward(grad: torch.Tensor, out: torch.Tensor) -> None:
    _aten.tanh_backward.grad_input(grad, out, grad_input=grad)


def _relu_backward(grad: torch.Tensor, out: torch.Tensor) -> None:
    _aten.threshold_backward.grad_input(grad, out, 0.0, grad_input=grad)


def _elu_backward(grad: torch.Tensor, out: torch.Tensor) -> None:
    _aten.elu_backward.grad_input(grad, 1.0, 1.0, 1.0, True, out, grad_input=grad)


_BACKWARD: dict[type[nn.Module] | None, Callable[[torch.Tensor, torch.Tensor], None]] = {
    nn.Tanh: _tanh_backward,
    nn.ReLU: _relu_backward,
    nn.ELU: _elu_backward,
    None: lambda grad, out: None,
}


@dataclass(frozen=True, slots=True)
class Link:
    """One linear layer and the activation behind it.

    Attributes:
        linear: The layer.
        activation: Type of the activation, or None.
    """

    linear: nn.Linear
    activation: type[nn.Module] | None


def chain_of(modules: Iterable[nn.Module]) -> list[Link] | None:
    """Return modules as linear layers with activations, or None where they are something else.

    Args:
        modules: In the order they are applied; sequences are taken apart.
    """
    flat: list[nn.Module] = []
    for module in modules:
        flat += list(module) if type(module) is nn.Sequential else [module]
    links: list[Link] = []
    for module in flat:
        if type(module) is nn.Linear and module.bias is not None:
            links.append(Link(module, None))
        elif type(module) is nn.Identity:
            continue
        elif type(module) in _FORWARD and links and links[-1].activation is None:
            if isinstance(module, nn.ELU) and module.alpha != 1.0:
                return None
            links[-1] = Link(links[-1].linear, type(module))
        else:
            return None
    return links or None


class _Layer:
    """One link with buffers for a number of rows, and views of its parameters and gradients."""

    def __init__(self, link: Link, rows: int) -> None:
        weight, bias = link.linear.weight, link.linear.bias
        self.weight, self.bias = weight.detach(), bias.detach()
        self.weight_t = self.weight.t()
        # A GPU adds the bias within the product; a CPU is faster with two operations.
        self.fuses = tensor_graphs.can_capture(weight.device)
        self.forward, self.backward = _FORWARD[link.activation], _BACKWARD[link.activation]
        self.out = self.weight.new_empty(rows, self.weight.shape[0])
        self.grad = torch.empty_like(self.out)
        self.weight_grad = weight.grad if weight.requires_grad else None
        self.bias_grad = bias.grad if bias.requires_grad else None

    @property
    def trains(self) -> bool:
        return self.weight_grad is not None or self.bias_grad is not None


class DenseNet:
    """A chain of layers for batches of one size.

    Attributes:
        trains: Whether any layer does.
        grad: Gradient of the loss by the output, to be written before `backward` (rows, out).
    """

    def __init__(self, links: list[Link], rows: int) -> None:
        """Allocate the buffers.

        Args:
            links: The layers; parameters that train have their gradients set.
            rows: Size of the batches.
        """
        self._layers = [_Layer(link, rows) for link in links]
        training = [i for i, layer in enumerate(self._layers) if layer.trains]
        self._lowest = min(training, default=len(links))
        self.trains = bool(training)
        self.grad = self._layers[-1].grad

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output (rows, out), a buffer."""
        for layer in self._layers:
            out = layer.out
            if layer.fuses:
                torch.addmm(layer.bias, x, layer.weight_t, out=out)
            else:
                torch.mm(x, layer.weight_t, out=out)
                out.add_(layer.bias)
            layer.forward(out)
            x = out
        return x

    def backward(self, x: torch.Tensor) -> None:
        """Set the gradients, after `forward` on the same input and with `grad` written.

        Args:
            x: The input (rows, in).
        """
        layers, lowest = self._layers, self._lowest
        for index in range(len(layers) - 1, lowest - 1, -1):
            layer = layers[index]
            grad = layer.grad
            layer.backward(grad, layer.out)
            below = layers[index - 1] if index else None
            if layer.weight_grad is not None:
                source = x if below is None else below.out
                torch.mm(grad.t(), source, out=layer.weight_grad)
            if layer.bias_grad is not None:
                torch.sum(grad, 0, out=layer.bias_grad)
            if below is not None and index > lowest:
                torch.mm(grad, layer.weight, out=below.grad)


def evaluate(links: list[Link], x: torch.Tensor) -> torch.Tensor:
    """Return a chain's output for a batch of any size (rows, out).

    Args:
        links: The layers.
        x: The input (rows, in).
    """
    for link in links:
        x = nn.functional.linear(x, link.linear.weight, link.linear.bias)
        x = _FORWARD[link.activation](x)
    return x
