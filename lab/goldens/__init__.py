"""Record what a user can see of VideoGrain, to compare it before and after a change that is to change nothing.

    python -m videograin.lab.goldens write DIR [--comfyui PATH-or-URL] [--only TEXT]
    python -m videograin.lab.goldens compare DIR_A DIR_B [--only TEXT]

`write` carries out edit files, commands and (in ComfyUI) workflows on small clips that it draws itself, leaves their
results in DIR, and what can be compared in DIR/goldens.json: every frame's hash, tensors of inversions, reports without
times and paths, file names, help texts, node definitions. `compare` prints every difference; its exit status is 1 if
there are any. --only: cases whose name ("runner/windows") contains TEXT; `write` leaves the others in DIR as they are.

It goes through the command, the documented Python and HTTP alone, so that one copy of it serves any state of the code.
Which one: PYTHONPATH (the folder above `videograin`) or what is installed; for code of another state
`PYTHONPATH=THERE python -m lab.goldens` in the root of this one. --comfyui PATH starts that checkout with
this Python and that pack; a URL takes a running server, with whatever pack it has.
"""
