"""Figures of finished edits: pixels, embeddings, motion; one table for any number of edits. Knows no host."""
