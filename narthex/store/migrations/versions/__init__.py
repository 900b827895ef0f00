"""One module for each step, `revision` its name and `down_revision` the one before it."""
