"""Primitives, the camera that sees them, and the renderer that draws them."""
