"""The verbs of the command line: they compose a configuration, build objects and call the layers below."""
