"""Golden vectors for a circuit: what every word of the engine is, step by step, and how it is to be read."""
