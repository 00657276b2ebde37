"""Pictures of the nodes' help pages."""
