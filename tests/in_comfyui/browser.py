"""The frontend in headless Chromium, driven as a user drives it: menus, dialogs, the Run button.

Needs the `playwright` package (not its browsers) and a Chromium: CHROMIUM, or the one on the path.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types?.VideoGrainDemoClip"
UNKNOWN = "() => app.graph.nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
SECOND = 1000
# The checkpoint's place goes to the embedded model, and widgets take the values of a prompt in API format.
STAND_IN = """values => {
  const old = app.graph.nodes.find(n => n.type === 'CheckpointLoaderSimple');
  const model = LiteGraph.createNode('VideoGrainEmbeddedModel');
  app.graph.add(model);
  model.pos = [...old.pos];
  old.outputs.forEach((output, slot) => {
    for (const id of [...(output.links || [])]) {
      const link = app.graph.links.get ? app.graph.links.get(id) : app.graph.links[id];
      model.connect(slot, app.graph.getNodeById(link.target_id), link.target_slot);
    }
  });
  app.graph.remove(old);
  for (const [id, inputs] of Object.entries(values))
    for (const widget of app.graph.getNodeById(Number(id))?.widgets || [])
      if (widget.name in inputs && !Array.isArray(inputs[widget.name])) widget.value = inputs[widget.name];
}"""


def chromium() -> str | None:
    """The path of a Chromium, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@contextmanager
def launched() -> Iterator[Any]:
    """A running Chromium (playwright's Browser)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Frontend:
    """One page with ComfyUI's frontend. errors: uncaught errors of its scripts since it was ready (1.27.10 has one of
    its own while it registers its settings, with or without us)."""

    def __init__(self, browser: Any, url: str, width: int = 1600, height: int = 900) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.errors: list[str] = []
        self.page.goto(url)
        self.page.wait_for_function(READY, timeout=180 * SECOND)
        self.page.wait_for_timeout(3 * SECOND)  # a first visit opens the template dialog, a little later
        self.close_dialogs()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def close(self) -> None:
        self.page.close()

    def close_dialogs(self) -> None:
        """Whatever lies over the canvas, as long as it lets itself be closed."""
        for _ in range(4):
            if not self.page.get_by_role("dialog").count():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(SECOND)

    def dialog_text(self) -> str:
        return "\n".join(d.inner_text() for d in self.page.get_by_role("dialog").all())

    def browse_templates(self, pack: str) -> Any:
        """Menu > Browse Templates > the pack. Returns the dialog."""
        self.page.locator("[class*=comfyui-logo]").first.click()
        self.page.get_by_role("menuitem", name="Browse Templates").click()
        dialog = self.page.get_by_role("dialog")
        entry = dialog.get_by_text(pack, exact=True).first
        entry.wait_for(timeout=30 * SECOND)
        entry.click()  # scrolls by itself, and finds it again where the list is drawn anew
        return dialog

    def open_template(self, pack: str, name: str) -> None:
        """A click on the template's card among the pack's templates."""
        card = self.browse_templates(pack).get_by_test_id(f"template-workflow-{name}")
        card.wait_for(timeout=30 * SECOND)
        card.scroll_into_view_if_needed()
        card.click()
        opened = f"() => app.extensionManager.workflow.activeWorkflow?.filename === '{name}'"
        self.page.wait_for_function(opened, timeout=60 * SECOND)
        self.page.wait_for_timeout(2 * SECOND)  # dialogs about what is missing come after the nodes

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow, as dropping its file onto the canvas does."""
        self.page.evaluate("async w => { await app.loadGraphData(w) }", workflow)
        self.page.wait_for_timeout(2 * SECOND)

    def stand_in(self, prompt: dict[str, Any]) -> None:
        """Make the opened workflow the one of `prompt` (tools.standins): same nodes, but for the checkpoint."""
        self.page.evaluate(STAND_IN, {key: node["inputs"] for key, node in prompt.items()})

    def unknown_nodes(self) -> list[str]:
        """Types of nodes on the canvas that the frontend does not know."""
        return self.page.evaluate(UNKNOWN)

    def saved(self) -> dict[str, Any]:
        """The workflow as it would be saved now."""
        return self.page.evaluate("() => app.graph.serialize()")

    def prompt(self) -> dict[str, Any]:
        """The prompt that Run would queue, in API format."""
        made = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return {k: {"class_type": n["class_type"], "inputs": n["inputs"]} for k, n in made.items()}

    def open_help(self, kind: str) -> Any:
        """Select the first node of that type and press the toolbox's info button. Returns the help page."""
        self.page.evaluate("kind => app.canvas.selectNode(app.graph.nodes.find(n => n.type === kind))", kind)
        self.page.locator("[class*=selection-toolbox] button").nth(1).click()
        page = self.page.locator("[class*=node-help-content]").first
        page.wait_for(timeout=30 * SECOND)
        return page

    def press_run(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).first.click()  # newer ones have a menu of that name too

    def wait_for_run(self, server: Any, known: int, timeout: float = 1200) -> dict[str, Any]:
        """The history entry of the run that comes after the `known` first ones."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            history = server.get("/history")
            if len(history) > known:
                return history[list(history)[-1]]
            self.page.wait_for_timeout(SECOND)  # keeps the page's own events going
        raise TimeoutError(f"the run did not end within {timeout:.0f} s")

    def show(self, scale: float, x: float = 70, y: float = 110) -> None:
        """Zoom, with the canvas' origin at (x, y) of the window. Nodes outside the window load no previews."""
        self.page.evaluate(
            "([s, x, y]) => { app.canvas.ds.scale = s; app.canvas.ds.offset = [x / s, y / s];"
            " app.canvas.setDirty(true, true) }",
            [scale, x, y],
        )
        self.page.wait_for_timeout(2 * SECOND)

    def picture(self, path: Path) -> None:
        """A screenshot, without the map of the canvas in the corner."""
        self.page.evaluate("() => app.extensionManager.setting.set('Comfy.Minimap.Visible', false)")
        self.page.wait_for_timeout(SECOND)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
