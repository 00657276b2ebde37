"""VideoGrain: region-wise video editing by modulated space-time attention.

ComfyUI imports this folder under the folder's own name; installed for scripts it is ``videograin``.
Nothing of any host is imported here, so that ``import videograin`` works without ComfyUI or diffusers.
"""

__version__ = "0.1.0"
