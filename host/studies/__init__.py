"""Studies: a grid of runs from a text, trained by as many processes or computers as there are; their statistics."""
