"""Builders of the workflow templates, and the checks that they fit the node definitions."""
