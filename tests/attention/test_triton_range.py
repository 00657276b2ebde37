"""The Triton kernel of the row range: its numbers, in Triton's interpreter, and that it compiles for GPUs.

Needs triton (`pip install triton`, Linux; CI has it); no GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: the GPU kernel of the row range is not tested")

COMPILES = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from videograin.attention.triton_range import _range_kernel as kernel, tile

constants = {"DIM": 40, "WIDE": 64, **dict(zip(("ROWS", "COLUMNS"), tile(64, 2))), "WIDEN": False}
types = dict.fromkeys(kernel.arg_names, "i32") | {"q": "*bf16", "k": "*bf16", "out": "*fp32"}
types |= dict.fromkeys(constants, "constexpr")
places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
for target in (GPUTarget("cuda", 80, 32), GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)):
    made = compile(ASTSource(kernel, types, places), target=target, options={"num_warps": 8})
    print(target.backend, target.arch, made.metadata.shared, "wgmma" in made.asm.get("ptx", ""))
"""


def run(*command: str, **variables: str) -> str:
    """What a Python process of its own prints; fails with its last words where it fails."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env={**kept, **variables})
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_numbers():
    said = run("-m", "pytest", str(Path(__file__).with_name("triton_cases.py")), TRITON_INTERPRET="1")
    assert "2 passed" in said


def test_compiles_for_gpus():
    said = [line.split() for line in run("-c", COMPILES).splitlines()]
    assert [line[:2] for line in said] == [["cuda", "80"], ["cuda", "90"], ["hip", "gfx942"]]
    assert said[1][3] == "True"  # Hopper's own matrix instructions
    assert all(int(line[2]) <= 48 * 1024 for line in said)  # shared memory that every one of these GPUs has
