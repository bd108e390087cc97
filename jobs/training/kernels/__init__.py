"""The training step's own arithmetic: autograd nodes that save and cast less than the plain modules."""
