"""The host's own attention, as the slots use it: how it is called, what it is, what it raises. Imports no comfy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...attention.modulation import Plain

# SageAttention in the host (attention_sage, attention3_sage) and in KJNodes and its like (attention_override_sage), and
# the host's attention_comfy_kitchen_int8. Not "usage" or "message".
_QUANTISED = re.compile(r"(?<![A-Za-z])sage|Sage|SAGE|[Ii]nt8")


@dataclass(frozen=True, eq=False)
class HostAttention:
    """What the slots need of the host.

    Attributes:
        attend: the host's own attention, (q, k, v, heads, **options) -> out.
        passes_options: whether the host itself hands transformer_options on to it.
        out_of_memory: exceptions that may say so.
        is_out_of_memory: which of them do; None = all.
        release: gives cached memory back before a second try.
        current: the function behind `attend` at this moment; None = `attend` itself.
    """

    attend: Callable[..., Tensor]
    passes_options: bool = True
    out_of_memory: tuple[type[BaseException], ...] = ()
    is_out_of_memory: Callable[[BaseException], bool] | None = None
    release: Callable[[], None] = lambda: None
    current: Callable[[], Callable] | None = None

    def __deepcopy__(self, memo) -> HostAttention:
        return self

    def lacks_memory(self, error: BaseException) -> bool:
        """Whether an exception means that the memory did not suffice."""
        return isinstance(error, self.out_of_memory) and (self.is_out_of_memory is None or self.is_out_of_memory(error))

    def plain(self, extra: dict) -> Plain:
        """Attention with the arguments that the host would have passed in this call."""
        options = {"attn_precision": extra.get("attn_precision")}
        if self.passes_options:
            options["transformer_options"] = extra
        return lambda q, k, v, heads: self.attend(q, k, v, heads, **options)

    def quantised(self, extra: dict) -> str:
        """The name of the attention in force here if it rounds queries and keys to 8 bits, as Sage does; else "".

        Told by its name: hosts and packs have no other sign of it. An override in the model's options goes first.
        """
        override = extra.get("optimized_attention_override") if self.passes_options else None
        function = override or (self.attend if self.current is None else self.current())
        while hasattr(function, "func"):  # functools.partial
            function = function.func
        name = getattr(function, "__qualname__", type(function).__qualname__)
        found = _QUANTISED.search(f"{getattr(function, '__module__', '')}.{name}")
        return name.rsplit(".", 1)[-1] if found else ""
