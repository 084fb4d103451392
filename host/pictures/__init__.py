"""What runs and studies look like: figures, an animation, and the page they stand on. Drawing needs matplotlib."""
