"""The entry point of this package in the group `simreal.plugins`.

Its configuration files are those of simreal itself (`conf/`), so that only the prefix of what may
be built is declared.
"""

from simreal.plugins import Plugin

plugin = Plugin(name="simreal_envs", targets=("simreal_envs.",))
