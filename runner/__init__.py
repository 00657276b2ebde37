"""The `videograin` command: edit files and jobs, their checks and reports, the demo. `media/` reads and writes files.

Knows every room but nodes/ and lab/. Light at import: mistakes in an edit file show before torch is loaded.
"""
