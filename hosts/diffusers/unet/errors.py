"""What loading a model raises."""


class ModelError(ValueError):
    """A model that cannot be loaded or is not supported; the text says which, why and what to do."""
