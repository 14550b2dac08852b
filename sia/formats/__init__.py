"""Results in the formats of other programs: one module a format, opened by name with `sia.formats.door`."""
