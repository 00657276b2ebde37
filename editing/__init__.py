"""The edit as values and functions, for any host: settings, regions, inversion, windows, blend, composite, pipeline.

Knows attention/; no host and no command line. `layout/` finds things without masks, `motion/` follows them. Nothing is
imported here: the settings are read before torch is.
"""
