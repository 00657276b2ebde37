"""What nodes do around their execution: they hold their numbers and choices to what their schema allows, and put what
they warn of into what the canvas shows.

ComfyUI checks what is typed into a widget; what comes over a link it hands on as it is, NaN and unknown options
included.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..hosts.comfyui.notices import NOTICES, listening
from .inputs import Limits


class CheckedNode(io.ComfyNode):
    """Base of all nodes: `execute` raises a ValueError that names node and input for a value outside of
    them."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        define = cls.__dict__.get("define_schema")
        if define is not None and not hasattr(define.__func__, "__wrapped__"):
            cls.define_schema = classmethod(_shown_when_cached(define.__func__))
        execute = cls.__dict__.get("execute")
        if execute is not None and not hasattr(execute.__func__, "__wrapped__"):  # the host clones classes
            cls.execute = classmethod(_checked(execute.__func__))


def _shown_when_cached(define: Callable[..., io.Schema]) -> Callable[..., io.Schema]:
    """Newer hosts send what a cached node shows again only where its schema says so."""

    @functools.wraps(define)
    def defined(cls: type[io.ComfyNode]) -> io.Schema:
        schema = define(cls)
        if hasattr(schema, "has_intermediate_output"):
            schema.has_intermediate_output = True
        return schema

    return defined


def _checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    order = inspect.signature(execute)

    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> Any:
        schema, given = cls.define_schema(), order.bind(cls, *args, **kwargs).arguments
        for widget in schema.inputs:
            limits = getattr(widget, "limits", None)
            if not isinstance(limits, Limits) or limits.name not in given:
                continue
            came = given[limits.name]
            for value in came if schema.is_input_list is True else [came]:  # such nodes get a list for every input
                if wrong := limits.mistake(value):
                    raise ValueError(
                        f"{schema.display_name}: input `{limits.name}`: {wrong}; correct what is linked to it."
                    )
        with listening() as said:
            output = execute(cls, *args, **kwargs)
        if said and isinstance(output, io.NodeOutput):
            shown = output.ui or {}
            shown = shown if isinstance(shown, dict) else shown.as_dict()
            output.ui = {**shown, NOTICES: [{"text": text} for text in said]}
        return output

    return checked
