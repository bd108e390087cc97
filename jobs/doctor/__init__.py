"""What a machine must have to run all this, and whether it has."""
