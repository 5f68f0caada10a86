"""The verbs of the command line: compose a configuration, build objects, call the layers below."""
