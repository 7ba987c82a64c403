"""An experiment over the cross product of its parameters."""
