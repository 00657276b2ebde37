"""Maintainers' scripts: node definitions, workflows and their checks. They need the repository; the pack never imports
them. Run them as ``python -m videograin.tools.<name>``."""
