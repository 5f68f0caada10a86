"""Robots that come with simreal, one folder each."""

from simreal_envs.robots.ant import ant
from simreal_envs.robots.double_pendulum import double_pendulum
from simreal_envs.robots.half_cheetah import half_cheetah
from simreal_envs.robots.hopper import hopper
from simreal_envs.robots.simple_pendulum import simple_pendulum
from simreal_envs.robots.walker2d import walker2d

__all__ = ["ant", "double_pendulum", "half_cheetah", "hopper", "simple_pendulum", "walker2d"]
