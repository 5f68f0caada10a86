"""Robots and tasks that come with simreal, in a package of their own.

simreal never imports this package: its YAML files name what is here, and the `simreal.plugins`
entry point declares it, exactly as a package of yours would.
"""
