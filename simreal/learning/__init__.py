"""Stable-Baselines3's algorithms on the kit's worlds: policies, freezing, checkpoints, training."""
