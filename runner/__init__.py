"""The `videograin` command: edit files and jobs, their checks and reports, the demo. `media/` reads and writes files.

Knows the rooms below, but of the hosts diffusers alone. Light at import: mistakes in an edit file show before
torch is loaded.
"""
