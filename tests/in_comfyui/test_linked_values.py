"""Every number and every choice of every node, with values that only a link can bring."""

import math
import re

import pytest

from videograin.nodes import NODES

FILES = "file"  # of Load Inversion: any that exists


def cases():
    for node in NODES:
        for widget in node.define_schema().inputs:
            low, high = getattr(widget, "min", None), getattr(widget, "max", None)
            if low is not None:
                for value in (low - 1, high + 1, math.nan, math.inf, -math.inf, None, "1"):
                    yield pytest.param(node, widget.id, value, id=f"{node.__name__}-{widget.id}-{value}")
            elif getattr(widget, "options", None) and widget.id != FILES:
                for value in ("nope", "", None, 0):
                    yield pytest.param(node, widget.id, value, id=f"{node.__name__}-{widget.id}-{value!r}")


@pytest.mark.parametrize(("node", "name", "value"), list(cases()))
def test_what_the_schema_forbids_is_refused_by_name(node, name, value):
    schema = node.define_schema()
    given = {widget.id: getattr(widget, "default", None) for widget in schema.inputs}
    for widget in schema.inputs:
        if given[widget.id] is None and getattr(widget, "options", None):
            given[widget.id] = widget.options[0]
    given[name] = value
    if schema.is_input_list:
        given = {key: [one] for key, one in given.items()}
    with pytest.raises(ValueError, match=f"^{re.escape(schema.display_name)}: input `{name}`"):
        node.execute(**given)


def test_there_are_limits_to_check():
    assert len({(case.values[0], case.values[1]) for case in cases()}) > 50
