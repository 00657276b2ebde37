"""Eyes on an edit: where words and pixels look before and after modulation, and how good an inversion is."""
