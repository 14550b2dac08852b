"""From tracked 2D poses to 3D: joints in Human3.6M's order, relative to the middle of the hips."""
