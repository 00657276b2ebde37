"""Looks at an edit and changes nothing: attention shares and maps, the round trip of an inversion, figures, pictures.

`metrics/` has the figures of finished edits, `pictures/` what people look at. Knows editing/ and below; no host.
"""
