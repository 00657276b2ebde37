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
from itertools import product

import triton
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from videograin.attention.kernels import triton_attention, triton_range

FLOATS, INTS = dict.fromkeys("qkv", "*bf16"), dict.fromkeys(("q_order", "k_order", "blocks"), "*i32")
KERNELS = {
    "range": (triton_range._range_kernel, FLOATS | {"out": "*fp32"}),
    "attention": (
        triton_attention._attention_kernel,
        FLOATS | INTS | {"out": "*bf16", "strength": "*fp32", "root": "fp32"},
    ),
}
TARGETS = (GPUTarget("cuda", 90, 32), GPUTarget("cuda", 80, 32), GPUTarget("hip", "gfx942", 64))
# SD 1.5's widths; all targets for its finest level.
for name, (dim, targets) in product(KERNELS, ((40, TARGETS), (80, TARGETS[:1]), (160, TARGETS[:1]))):
    kernel, pointers = KERNELS[name]
    wide = triton.next_power_of_2(dim)
    rows, columns = triton_range.tile(wide, 2)
    if name == "attention":
        rows, columns = triton_attention.block_rows(dim, 2), triton_attention.block_columns(dim, 2)
    constants = {"DIM": dim, "WIDE": wide, "ROWS": rows, "COLUMNS": columns, "WIDEN": False, "ALIGN": 8}
    types = {n: pointers.get(n, "constexpr" if n in constants else "i32") for n in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    # What Triton finds out at the launch for SD 1.5's 8 heads of 40 channels: the strides of heads are not among it.
    known = [n for n in kernel.arg_names if types[n][0] == "*" or n.endswith(("_batch", "_token"))]
    aligned = {(kernel.arg_names.index(n),): [["tt.divisibility", 16]] for n in known}
    for target in targets:
        made = compile(ASTSource(kernel, types, places, aligned), target=target, options={"num_warps": 8})
        ptx = made.asm.get("ptx", "")
        print(name, dim, target.backend, target.arch, made.metadata.shared, "wgmma" in ptx, "cp.async" in ptx)
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
    targets = [["40", "cuda", "90"], ["40", "cuda", "80"], ["40", "hip", "gfx942"]]
    targets += [["80", "cuda", "90"], ["160", "cuda", "90"]]
    assert [line[:4] for line in said] == [[name, *target] for name in ("range", "attention") for target in targets]
    for _, dim, kind, chip, shared, matrices, ahead in said:
        assert (matrices == "True") == (chip == "90")  # Hopper's own matrix instructions
        assert ahead == "True" or kind == "hip"  # 16 bytes a load, ahead of their use
        # Shared memory: what Turing has for SD 1.5's finest level, what Ampere has for the others.
        assert int(shared) <= (64 if dim == "40" else 99) * 1024
