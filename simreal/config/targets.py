"""Turn a `_target_` into what it names, if it may be built at all.

A YAML file must not be able to call whatever is importable. Only simreal's own packages, those of
declared plugins, and a short list of named classes are allowed; and what a name resolves to must
itself live there, so that an `import os` inside an allowed module opens nothing.
"""

import importlib
import inspect
import operator
import pkgutil
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

from simreal.errors import ConfigError, DependencyError, nearest
from simreal.plugins import load_plugins

_OWN_PREFIXES = ("simreal.", "simreal_envs.")

# Classes of other packages that configuration files may name.
_NAMED = (
    "stable_baselines3.PPO",
    "stable_baselines3.SAC",
    "stable_baselines3.TD3",
    "torch.nn.ELU",
    "torch.nn.ReLU",
    "torch.nn.Tanh",
)


def allowed_prefixes() -> tuple[str, ...]:
    """Return the prefixes of dotted names that may be built, plugins included."""
    declared = tuple(prefix for plugin in load_plugins() for prefix in plugin.targets)
    return tuple(dict.fromkeys(_OWN_PREFIXES + declared))


def resolve(name: Any) -> Callable[..., Any]:
    """Import what a `_target_` names.

    Args:
        name: Dotted name, for instance `simreal.core.Uniform`.

    Raises:
        ConfigError: If the name is no string, is outside the allow-list, or names nothing callable.
        DependencyError: If its module needs a package that is not installed.
    """
    prefixes = allowed_prefixes()
    if not isinstance(name, str):
        raise ConfigError(f"got {name!r}, expected a dotted name such as 'simreal.core.Uniform'.")
    if name in _NAMED:
        return _callable(name, _walk(name))
    if not name.startswith(prefixes):
        allowed = ", ".join([prefix + "*" for prefix in prefixes] + list(_NAMED))
        hint = nearest(name, _NAMED) or nearest(name.split(".")[0] + ".", prefixes)
        raise ConfigError(f"got '{name}', which may not be built. Allowed: {allowed}.{hint}")
    found = _callable(name, _walk(name))
    home = getattr(found, "__module__", None) or ""
    if not f"{home}.".startswith(prefixes):
        raise ConfigError(
            f"got '{name}', which is defined in '{home}' and may not be built. "
            f"Allowed: what is defined in {', '.join(prefix + '*' for prefix in prefixes)}."
        )
    return found


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword parameters of a target, with their annotations resolved.

    Args:
        target: A class or function.

    Returns:
        Parameters by name; a `**kwargs` parameter is kept under its own name.
    """
    signature = inspect.signature(target)
    hints = _hints(target)
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL)
    }


def accepts_any(taken: dict[str, inspect.Parameter]) -> bool:
    """Return whether a signature takes arbitrary keywords.

    Args:
        taken: Parameters as `parameters` returns them.
    """
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())


def names(taken: dict[str, inspect.Parameter]) -> list[str]:
    """Return the names that can be written as keys.

    Args:
        taken: Parameters as `parameters` returns them.
    """
    return [name for name, p in taken.items() if p.kind is not p.VAR_KEYWORD]


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = operator.attrgetter("__init__")(target) if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:
        # A name that exists for type checkers only: the string annotations then stay unchecked.
        annotations = getattr(function, "__annotations__", {})
        return {name: Any if isinstance(hint, str) else hint for name, hint in annotations.items()}


def _walk(name: str) -> Any:
    parts = name.split(".")
    module = _import(parts[0], name)
    found: Any = module
    for index, part in enumerate(parts[1:], start=1):
        inner = getattr(found, part, None)
        if inner is None and isinstance(found, ModuleType):
            inner = _submodule(found, part, name)
        if inner is None:
            parent = ".".join(parts[:index])
            known = _public(found)
            raise ConfigError(
                f"got '{name}', but '{parent}' has no '{part}'.{nearest(part, known)} "
                f"It has: {', '.join(known) or 'nothing public'}."
            )
        found = inner
    return found


def _submodule(package: ModuleType, part: str, name: str) -> ModuleType | None:
    inner = f"{package.__name__}.{part}"
    if not hasattr(package, "__path__") or not part.isidentifier():
        return None
    if not any(module.name == part for module in pkgutil.iter_modules(package.__path__)):
        return None
    return _import(inner, name)


def _import(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise ConfigError(f"got '{name}', but there is no module '{module}'.") from error
        raise DependencyError(
            f"'{name}' needs the package '{error.name}', which is not installed. "
            "Install it with: pip install 'simreal[train]'"
        ) from error


def _public(found: Any) -> list[str]:
    attributes = {
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and callable(value)
        and f"{getattr(value, '__module__', '')}.".startswith(allowed_prefixes())
    }
    if hasattr(found, "__path__"):
        attributes |= {module.name for module in pkgutil.iter_modules(found.__path__)}
    return sorted(attributes)


def _callable(name: str, found: Any) -> Callable[..., Any]:
    if isinstance(found, ModuleType) or not callable(found):
        known = _public(found) if isinstance(found, ModuleType) else []
        listing = f" It has: {', '.join(known)}." if known else ""
        raise ConfigError(f"got '{name}', which is not a class or function.{listing}")
    return typing.cast("Callable[..., Any]", found)
