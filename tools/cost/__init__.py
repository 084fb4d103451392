"""What a training image costs, counted: `python -m tools.cost`."""
