"""Video, masks and sound as files, and how pictures are cut to the size of the edit (PyAV, Pillow)."""
