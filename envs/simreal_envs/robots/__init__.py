"""Robots that come with simreal, one folder each."""

from simreal_envs.robots.double_pendulum import double_pendulum
from simreal_envs.robots.simple_pendulum import simple_pendulum

__all__ = ["double_pendulum", "simple_pendulum"]
