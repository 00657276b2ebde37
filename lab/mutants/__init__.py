"""How many small changes of the code its tests notice: `make mutants`, `python -m videograin.lab.mutants`."""
