"""A slider on a rail, and the task of moving it to a mark: an example of a simreal plugin."""
