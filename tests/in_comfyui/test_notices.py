"""Warnings on the canvas: in the output of the node that is executed, and as events that name their node."""

import logging
import threading
from types import SimpleNamespace

import pytest
import torch
from comfy_execution.utils import CurrentNodeContext

from videograin.hosts.comfyui.notices import EVENT, NOTICES, CanvasHandler, NodeName, listening, show_on_canvas
from videograin.nodes.region_prompt import RegionPrompt

log = logging.getLogger("videograin.somewhere")


@pytest.fixture
def sent():
    """What goes to the browser of client "me"."""
    events = []
    show_on_canvas("videograin", SimpleNamespace(client_id="me", send_sync=lambda *event: events.append(event)))
    yield events
    show_on_canvas("videograin", SimpleNamespace(client_id=None))


def executed(mask, node="7"):
    with CurrentNodeContext("prompt", node):
        return RegionPrompt.execute("a cat", mask, "edit", 1.0)


def test_what_a_node_warns_of_is_in_its_output_and_sent_to_the_browser(sent):
    out = executed(torch.zeros(1, 8, 8))
    (notice,) = out.ui[NOTICES]
    assert notice["text"].startswith("Region Prompt: region 1 ('a cat') has an empty mask")
    assert sent == [(EVENT, {"node": "7", "during": "7", "text": notice["text"]}, "me")]


def test_a_node_without_a_warning_shows_nothing(sent):
    half = torch.zeros(1, 8, 8)
    half[:, :4] = 1
    assert executed(half).ui is None
    assert sent == []


def test_a_warning_while_another_node_samples_belongs_to_the_node_that_it_names(sent):
    with CurrentNodeContext("prompt", "3"):
        node = NodeName.here("Latent Blend")
    with CurrentNodeContext("prompt", "9"):
        log.warning("%s: %s.", node, "noise is added")
    assert sent == [(EVENT, {"node": "3", "during": "9", "text": "Latent Blend: noise is added."}, "me")]


def test_a_warning_from_a_thread_of_the_sampler_finds_its_node(sent):
    with CurrentNodeContext("prompt", "3"):
        node = NodeName.here("Steady")
    thread = threading.Thread(target=log.warning, args=("%s: a doubt", node))
    thread.start()
    thread.join()
    assert sent == [(EVENT, {"node": "3", "during": "3", "text": "Steady: a doubt"}, "me")]


def test_a_late_warning_is_no_part_of_the_output_of_the_node_that_happens_to_run(sent):
    with CurrentNodeContext("prompt", "3"):
        other = NodeName.here("Steady")
    with CurrentNodeContext("prompt", "7"), listening() as said:
        log.warning("%s: a doubt", other)
        log.warning("%s: mine", NodeName.here("Region Prompt"))
        log.warning("also mine")
    assert said == ["Region Prompt: mine", "also mine"]
    assert [event["node"] for _, event, _ in sent] == ["3", "7", "7"]


def test_nothing_is_sent_outside_of_a_workflow_or_without_a_browser(sent):
    log.warning("%s", "nobody executes")
    assert sent == []
    show_on_canvas("videograin", SimpleNamespace(client_id=None))
    assert NOTICES in executed(torch.zeros(1, 8, 8)).ui
    assert sent == []


def test_what_is_no_warning_stays_in_the_console(sent):
    with CurrentNodeContext("prompt", "7"):
        log.info("%s", "all is well")
    assert sent == []


def test_one_handler_however_often_the_pack_is_asked_for():
    for _ in range(2):
        show_on_canvas("videograin", SimpleNamespace(client_id=None))
    handlers = logging.getLogger("videograin").handlers
    assert sum(isinstance(handler, CanvasHandler) for handler in handlers) == 1
