"""Warnings in a real browser: a note on the node that caused them, that stays over a reload and goes with its cause."""

import os
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")

from .browser import Frontend, chromium, launched

if chromium() is None:
    pytest.skip("no Chromium (set CHROMIUM)", allow_module_level=True)

PICTURES = os.environ.get("VIDEOGRAIN_SCREENSHOTS")
SMALL = {
    "VideoGrainDemoClip": {"frames": 3, "size": 64},
    "VideoGrainDDIMVideoInversion": {"steps": 6},
}
SET = """changes => {
  for (const node of app.graph.nodes)
    for (const widget of node.widgets || [])
      if (widget.name in (changes[node.type] || {})) widget.value = changes[node.type][widget.name];
}"""
NOTICES = """() => Object.fromEntries(app.graph.nodes.filter(n => n.properties.videograin_notices)
  .map(n => [n.type, n.properties.videograin_notices.map(one => one.text)]))"""
# Two regions of one mask: the lower one is hidden wholly, which the chain inside of Region Edit finds.
HIDDEN = """() => {
  app.graph.clear();
  const made = {};
  const add = (name, type, values = {}) => {
    const node = made[name] = LiteGraph.createNode(type);
    app.graph.add(node);
    for (const widget of node.widgets || []) if (widget.name in values) widget.value = values[widget.name];
    return node;
  };
  const link = (from, output, to, input) =>
    made[from].connect(
      made[from].outputs.findIndex(o => o.name === output), made[to], made[to].inputs.findIndex(i => i.name === input));
  add('model', 'VideoGrainEmbeddedModel');
  add('clip', 'VideoGrainDemoClip', { frames: 3, size: 64 });
  add('below', 'VideoGrainRegionPrompt', { prompt: 'red square' });
  add('above', 'VideoGrainRegionPrompt', { prompt: 'yellow circle' });
  const prompt = 'a red square and a yellow circle on sand';
  add('edit', 'VideoGrainRegionEdit', { prompt, source_prompt: 'a green cross on sand', preset: 'fast draft' });
  add('shown', 'PreviewImage');
  for (const region of ['below', 'above']) link('clip', 'mask_1', region, 'mask');
  link('below', 'regions', 'above', 'regions');
  for (const name of ['model', 'clip', 'vae']) link('model', name, 'edit', name);
  link('clip', 'images', 'edit', 'frames');
  link('above', 'regions', 'edit', 'regions');
  made.edit.connect(0, made.shown, 0);
}"""
DRAWN = """() => app.graph.nodes.flatMap(n => (n.widgets || []).filter(w => w.name === 'videograin_notices')
  .map(w => [n.type, w.element.textContent, w.element.isConnected]))"""

# They go after some seconds, on a busy machine before one has looked.
TOASTS = """() => {
  window.toasts = new Set();
  const look = () => document.querySelectorAll('.p-toast-detail').forEach(one => window.toasts.add(one.textContent));
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}"""


@pytest.fixture
def frontend(server):
    with launched() as browser:
        opened = Frontend(browser, server.url)
        yield opened
        opened.close()


def look(frontend, name, *at):
    if PICTURES:
        frontend.page.set_viewport_size({"width": 1900, "height": 1000})
        frontend.show(*at)
        frontend.picture(Path(PICTURES) / f"{name}.png")


def run(frontend, server):
    known = len(server.get("/history"))
    frontend.press_run()
    entry = frontend.wait_for_run(server, known)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    frontend.page.wait_for_timeout(1000)


def test_a_warning_stands_on_its_node_until_its_cause_is_gone(frontend, server):
    frontend.open_template("videograin", "quickstart")
    sizes = {n["type"]: n["size"] for n in frontend.saved()["nodes"]}
    frontend.page.evaluate(TOASTS)
    frontend.page.evaluate(SET, {**SMALL, "SamplerCustom": {"add_noise": True}})
    run(frontend, server)
    ((kind, (text,)),) = frontend.page.evaluate(NOTICES).items()
    assert kind == "VideoGrainLatentBlend"
    assert "add_noise" in text
    ((drawn, shown, there),) = frontend.page.evaluate(DRAWN)
    assert (drawn, there) == (kind, True)
    assert text in shown
    assert text in frontend.page.evaluate("() => [...window.toasts]")
    look(frontend, "notice", 0.9, -600, 90)

    # Over a reload: the note comes back with the workflow, and is no value of it.
    saved = frontend.saved()
    (node,) = [n for n in saved["nodes"] if n["type"] == kind]
    assert len(node["widgets_values"]) == 3
    frontend.load(saved)
    assert frontend.page.evaluate(NOTICES) == {kind: [text]}
    assert [row[0] for row in frontend.page.evaluate(DRAWN)] == [kind]
    assert "videograin_notices" not in str(frontend.prompt())

    # The same again: nothing runs, all is cached, the warning is still true.
    run(frontend, server)
    assert frontend.page.evaluate(NOTICES) == {kind: [text]}

    frontend.page.evaluate(SET, {"SamplerCustom": {"add_noise": False}})
    run(frontend, server)
    assert frontend.page.evaluate(NOTICES) == {}
    assert frontend.page.evaluate(DRAWN) == []
    assert {n["type"]: n["size"] for n in frontend.saved()["nodes"]}[kind] == sizes[kind]
    assert frontend.errors == []


def test_a_warning_of_a_cached_node_comes_again_in_another_browser(frontend, server):
    frontend.open_template("videograin", "quickstart")
    changes = {**SMALL, "VideoGrainSTLayoutAttnPatch": {"start_percent": 0.7, "end_percent": 0.6}}
    frontend.page.evaluate(SET, changes)
    run(frontend, server)
    said = frontend.page.evaluate(NOTICES)
    assert "start_percent is not below end_percent" in said["VideoGrainSTLayoutAttnPatch"][0]
    other = Frontend(frontend.page.context.browser, server.url)
    other.open_template("videograin", "quickstart")
    other.page.evaluate(SET, changes)
    assert other.page.evaluate(NOTICES) == {}
    run(other, server)
    shown = other.page.evaluate(NOTICES)
    other.close()
    assert shown["VideoGrainSTLayoutAttnPatch"] == said["VideoGrainSTLayoutAttnPatch"]


def test_a_warning_of_the_chain_inside_of_region_edit_stands_on_region_edit(frontend, server):
    frontend.page.evaluate(HIDDEN)
    run(frontend, server)
    said = frontend.page.evaluate(NOTICES)
    assert list(said) == ["VideoGrainRegionEdit"]
    assert any("region 1 ('red square')" in text for text in said["VideoGrainRegionEdit"])
    look(frontend, "notice_region_edit", 0.7, 0, 0)
    assert frontend.errors == []
