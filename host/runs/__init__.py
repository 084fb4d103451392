"""What a training run is: its configuration, directory and checkpoints, its course, options and results."""
