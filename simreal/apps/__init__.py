"""One module per verb of the command line, each with `main(args: list[str]) -> int`.

The only layer, beside the command line itself, that knows of configuration files.
"""
