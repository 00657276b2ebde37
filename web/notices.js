// Warnings of the pack's nodes, on the nodes: a note below the widgets that stays until its cause has run again, and a
// toast. They come as events while a workflow runs, and with a node's output, which the server sends again for cached
// results. They are kept in the node's properties, so that a reload or a saved workflow does not lose them.
// The server's part is hosts/comfyui/notices.py.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const KEY = "videograin_notices"; // in a node's output, its properties, and the name of the widget
const BEFORE = `${KEY}_before`; // in the properties: the node's height without the note
const LINE = 16; // pixels
const LETTER = 6.2; // pixels, about

const STYLE = {
  note: `box-sizing: border-box; width: 100%; overflow-y: auto; padding: 4px 8px; border-left: 3px solid #f0b429;
    border-radius: 4px; background: #3b2f10; color: #ffd976; font: 12px/${LINE}px sans-serif;
    overflow-wrap: anywhere; user-select: text;`,
  line: "margin: 0 0 4px 0;",
};

/** The node on the canvas that an id means; what a node put in its place while it ran counts as that node ("5.0.0.1"). */
const shownAs = (id) => String(id).split(".")[0];

/** The node that an id of the server means, also one inside of subgraphs ("5:2"). */
function nodeOf(id) {
  let graph = app.graph;
  let node = null;
  for (const part of shownAs(id).split(":")) {
    node = graph?.getNodeById(Number(part)) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

function* allNodes(graph = app.graph) {
  for (const node of graph?.nodes ?? graph?._nodes ?? []) {
    yield node;
    if (node.subgraph) yield* allNodes(node.subgraph);
  }
}

const kept = (node) => node.properties?.[KEY] ?? [];

let running = null; // the run's id

/** Keep these notes, a list of {text, during, run}: the node that ran when it was said, and the run. */
function keep(node, notes) {
  if (notes.length === kept(node).length && notes.every((note, number) => note === kept(node)[number])) return;
  if (notes.length) node.properties[KEY] = notes;
  else delete node.properties[KEY];
  draw(node);
}

function heightFor(node, texts) {
  const letters = Math.max(16, (node.size[0] - 46) / LETTER);
  const lines = texts.reduce((sum, text) => sum + Math.ceil(text.length / letters) + 0.25, 0);
  return Math.min(12 + lines * LINE, 12 * LINE);
}

function add(node) {
  const element = document.createElement("div");
  element.setAttribute("role", "status");
  element.style.cssText = STYLE.note;
  let widget = null;
  const height = () => widget?.noteHeight ?? LINE;
  widget = node.addDOMWidget(KEY, KEY, element, {
    serialize: false, // no input of the node
    hideOnZoom: false,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: height,
    getMaxHeight: height,
  });
  widget.serialize = false; // no value in a saved workflow either
  return widget;
}

function draw(node) {
  const texts = kept(node).map((note) => note.text);
  let widget = node.widgets?.find((one) => one.name === KEY);
  if (!texts.length) {
    if (widget) {
      widget.onRemove?.();
      node.widgets.splice(node.widgets.indexOf(widget), 1);
    }
    node.setSize([node.size[0], Math.max(node.properties[BEFORE] ?? 0, node.computeSize()[1])]);
    delete node.properties[BEFORE];
  } else {
    node.properties[BEFORE] ??= node.size[1];
    widget ??= add(node);
    widget.element.replaceChildren(
      ...texts.map((text) => {
        const line = document.createElement("p");
        line.style.cssText = STYLE.line;
        line.textContent = `\u26a0 ${text}`;
        return line;
      }),
    );
    widget.noteHeight = heightFor(node, texts);
    node.setSize([node.size[0], Math.max(node.properties[BEFORE], node.computeSize()[1])]);
  }
  node.setDirtyCanvas?.(true, true);
}

function toast(node, text) {
  app.extensionManager?.toast?.add({ severity: "warn", summary: node.title, detail: text, life: 12000 });
}

/** A node's notes but for those of an earlier run that were said while this one ran. */
const stillTrue = (node, id) => kept(node).filter((note) => note.during !== shownAs(id) || note.run === running);

/** What a node's output says of it, in place of what it said before. */
function said(id, output) {
  const node = output?.[KEY] && nodeOf(id);
  if (!node) return;
  const others = stillTrue(node, id);
  const texts = output[KEY].map(({ text }) => text).filter((text) => !others.some((note) => note.text === text));
  keep(node, [...others, ...texts.map((text) => ({ text, during: shownAs(id), run: running }))]);
}

app.registerExtension({
  name: "videograin.notices",

  setup() {
    api.addEventListener("videograin.notice", ({ detail }) => {
      const node = nodeOf(detail.node);
      if (!node || kept(node).some((note) => note.text === detail.text)) return;
      keep(node, [...kept(node), { text: detail.text, during: shownAs(detail.during), run: running }]);
      toast(node, detail.text);
    });

    // What a node said the last time that it ran goes when it runs again.
    api.addEventListener("executing", ({ detail }) => {
      const id = typeof detail === "object" ? detail?.node : detail;
      if (id == null) return fromHistory();
      for (const node of allNodes()) keep(node, stillTrue(node, id));
    });

    api.addEventListener("executed", ({ detail }) => said(detail?.node, detail?.output));

    // Cached nodes that show nothing else are not sent again; the server's history has what they said.
    api.addEventListener("execution_start", ({ detail }) => (running = detail?.prompt_id));
    const fromHistory = async () => {
      if (!running) return;
      const answer = await api.fetchApi(`/history/${running}`);
      const outputs = (await answer.json())?.[running]?.outputs ?? {};
      for (const [id, output] of Object.entries(outputs)) said(id, output);
    };
  },

  loadedGraphNode(node) {
    if (kept(node).length) draw(node);
  },
});
