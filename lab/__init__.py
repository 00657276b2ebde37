"""What maintainers run: the bench, studies, training, builders of templates, help pictures and locales.

Knows all rooms; no room knows it, and the published archive has none of it. Run a module as
``python -m videograin.lab.<folder>.<name>``, the bench as ``videograin bench``.
"""
