"""Count the bytes of live tensors while code runs; on torch's `meta` device nothing is computed or stored.

What is counted: every storage that an operator creates, from its creation until the last tensor on it dies; the peak is
what matters. Fused attention is counted as what its kernels write, the output and one float32 per query row
(logsumexp); a kernel's registers and shared memory are not memory of the device.
What is not counted: workspaces inside kernels (cuDNN's convolutions, cuBLAS), the rounding and fragmentation of an
allocator, and the CUDA context.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """`with LiveBytes(device) as count:` ... `count.peak`, `count.live` in bytes.

    A storage made before is counted from the moment an operator returns a view of it; `ignore` leaves it out.
    """

    def __init__(self, device: str = "meta"):
        super().__init__()
        self.device = device
        self.live = self.peak = 0
        self._seen: dict[int, weakref.ref] = {}

    def ignore(self, *tensors: Tensor) -> None:
        """Do not count these tensors' storages (weights, inputs)."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._seen[id(storage)] = weakref.ref(storage)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == self.device:
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage) -> None:
        key = id(storage)
        known = self._seen.get(key)
        if known is not None and known() is storage:
            return
        size = storage.nbytes()

        def gone(_reference) -> None:
            self.live -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


class FusedAttention(TorchFunctionMode):
    """scaled_dot_product_attention with the memory of a fused kernel: output and logsumexp, no logits. Shapes alone."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, _k, v = args[:3]
        row_sums = q.new_empty(q.shape[:-1], dtype=torch.float32)
        # The kernels write [B, N, heads, d] and hand out a transposed view, as the hosts expect it next.
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[-1]).transpose(1, 2)
        del row_sums
        return out
