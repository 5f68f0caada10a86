"""What the kit is about, in numpy alone: robots, states, tasks, parameters, distributions."""
