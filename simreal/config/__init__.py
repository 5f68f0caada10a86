"""Typed configuration: compose YAML files with Hydra, build objects against real signatures.

`compose` (or `jobs`, with sweeps) gives a `Composed` of plain containers; its `build` and
`settings` give checked objects. Every error is a `ConfigError` of one line that names the file,
the key, what was seen, what is allowed and the nearest name.
"""

from simreal.config.builder import build
from simreal.config.compose import Composed, compose, jobs, resolved_yaml
from simreal.config.origins import Origins

__all__ = ["Composed", "Origins", "build", "compose", "jobs", "resolved_yaml"]
