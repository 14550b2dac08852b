"""Synthetic people: body, pose, appearance, and the figure that is drawn of them."""
