"""What version 0.3 documented as ``python -m videograin.world train | evaluate`` says here where it is now."""

import sys

sys.exit(
    "python -m videograin.world has moved: in a clone of the repository write python -m videograin.lab.training "
    f"{' '.join(sys.argv[1:]) or 'train'}"
)
