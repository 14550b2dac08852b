"""`sia demo`."""
