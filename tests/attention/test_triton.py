"""The Triton kernels: their numbers, in Triton's interpreter, and that they compile for GPUs.

Needs triton (`pip install triton`, Linux; CI has it); no GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: the GPU kernels are not tested")

COMPILES = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from videograin.attention import triton_attention, triton_range

FLOATS, INTS = dict.fromkeys("qkv", "*bf16"), dict.fromkeys(("q_order", "k_order", "blocks"), "*i32")
for name, kernel, sizes, types in (
    ("range", triton_range._range_kernel, triton_range.tile(64, 2), FLOATS | {"out": "*fp32"}),
    (
        "attention",
        triton_attention._attention_kernel,
        (triton_attention.block_rows(40, 2), triton_attention.block_columns(40, 2)),
        FLOATS | INTS | {"out": "*bf16", "strength": "*fp32", "root": "fp32"},
    ),
):
    constants = {"DIM": 40, "WIDE": 64, "ROWS": sizes[0], "COLUMNS": sizes[1], "WIDEN": False, "ALIGN": 8}
    types = dict.fromkeys(kernel.arg_names, "i32") | {n: t for n, t in types.items() if n in kernel.arg_names}
    types |= dict.fromkeys(constants, "constexpr")
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    # What Triton finds out at the launch for SD 1.5's 8 heads of 40 channels: the strides of heads are not among it.
    known = [n for n in kernel.arg_names if types[n][0] == "*" or n.endswith(("_batch", "_token"))]
    aligned = {(kernel.arg_names.index(n),): [["tt.divisibility", 16]] for n in known}
    for target in (GPUTarget("cuda", 80, 32), GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)):
        made = compile(ASTSource(kernel, types, places, aligned), target=target, options={"num_warps": 8})
        ptx = made.asm.get("ptx", "")
        print(name, target.backend, target.arch, made.metadata.shared, "wgmma" in ptx, "cp.async" in ptx)
"""


def run(*command: str, **variables: str) -> str:
    """What a Python process of its own prints; fails with its last words where it fails."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env={**kept, **variables})
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_numbers():
    said = run("-m", "pytest", str(Path(__file__).with_name("triton_cases.py")), TRITON_INTERPRET="1")
    assert "4 passed" in said


def test_compile_for_gpus():
    said = [line.split() for line in run("-c", COMPILES).splitlines()]
    targets = [["cuda", "80"], ["cuda", "90"], ["hip", "gfx942"]]
    assert [line[:3] for line in said] == [[name, *target] for name in ("range", "attention") for target in targets]
    for kernel in (said[:3], said[3:]):
        assert kernel[1][4] == "True"  # Hopper's own matrix instructions
        assert kernel[0][5] == kernel[1][5] == "True"  # 16 bytes a load, ahead of their use
    assert all(int(line[3]) <= 48 * 1024 for line in said[:3])  # shared memory that every one of these GPUs has
    assert all(int(line[3]) <= 64 * 1024 for line in said[3:])
