"""Measuring edits: figures of real clips, and the benchmark on the rendered world. Knows no host."""
