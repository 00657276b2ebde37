"""Which rooms and packages a room imports, that nothing else is imported, and that the checks see it when it is."""

import ast
import re
import sys
from contextlib import suppress
from copy import deepcopy
from importlib.util import resolve_name
from itertools import permutations, product

import grimp
import pytest
from importlinter.application.use_cases import read_user_options
from importlinter.configuration import configure
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from videograin.lab.paths import ROOT

configure()
TYPES = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
}
PRODUCT = [path for path in ROOT.rglob("*.py") if not {"tests", ".venv", "out"} & set(path.relative_to(ROOT).parts)]


def names_in(tree: ast.AST) -> set[str]:
    """What the code calls by a name, an attribute's or an import's too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part for alias in node.names for part in alias.name.split(".")}
            names |= set((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Name | ast.Attribute):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def module_of(path) -> str:
    return ".".join(["videograin", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def lazy_imports(modules):
    """(module, imported) for the modules that import what a text names, at the first use."""
    for path in PRODUCT:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not names_in(tree) & {"forward", "import_module"}:
            continue
        module = module_of(path)
        texts = {str(node.value).partition(":")[0] for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        for text, package in product(texts - {"."}, (module, module.rpartition(".")[0])):
            with suppress(ImportError):  # a text that is no module's name
                found = resolve_name(f".{text.removeprefix('.')}" if package == module else text, package)
                if found in modules and found != module:
                    yield module, found


@pytest.fixture(scope="module")
def imports():
    """All imports, the lazy ones, which import-linter alone does not see, with them."""
    graph = grimp.build_graph("videograin", include_external_packages=True, cache_dir=None)
    for module, imported in set(lazy_imports(graph.modules)):
        graph.add_import(importer=module, imported=imported)
    return graph


def planted(imports, importer: str, imported: str):
    """importer: a module, "" for the root package."""
    graph = deepcopy(imports)
    graph.add_import(importer=f"videograin.{importer}".removesuffix("."), imported=imported)
    return graph


def broken(graph) -> set[str]:
    """Names of the contracts of pyproject.toml that these imports break."""
    options = read_user_options(str(ROOT / "pyproject.toml"))
    contracts = [TYPES[one["type"]](one["name"], options.session_options, one) for one in options.contracts_options]
    return {contract.name for contract in contracts if not contract.check(deepcopy(graph), verbose=False).kept}


def test_the_imports_that_there_are_keep_every_contract(imports):
    assert broken(imports) == set()


LAYERS = "Arrows run down"
FRONT_DOOR = "The front door knows no laboratory"
HOSTS = "Hosts do not know each other"
CIRCLES = "No circles"
HOST_FREE = "Nothing below hosts knows a host"
COMFYUI = "ComfyUI's side knows no diffusers"
COMMAND = "The command's side knows no ComfyUI"


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("attention.fused", "comfy", HOST_FREE),
        ("attention.fused", "execution", HOST_FREE),
        ("world.render", "comfy_extras", HOST_FREE),
        ("world.render", "huggingface_hub", HOST_FREE),
        ("editing.blend", "folder_paths", HOST_FREE),
        ("editing.blend", "latent_preview", HOST_FREE),
        ("editing.blend", "nodes", HOST_FREE),
        ("editing.blend", "server", HOST_FREE),
        ("measuring.round_trip", "comfy_api", HOST_FREE),
        ("measuring.round_trip", "diffusers", HOST_FREE),
        ("measuring.metrics.measure", "transformers", HOST_FREE),
        ("version", "comfy", HOST_FREE),
        ("nodes.steady", "diffusers", COMFYUI),
        ("nodes.steady", "transformers", COMFYUI),
        ("nodes.steady", "videograin.hosts.diffusers.vae", COMFYUI),
        ("hosts.comfyui.blend", "diffusers", COMFYUI),
        ("hosts.comfyui.blend", "videograin.hosts.diffusers.vae", HOSTS),
        ("runner.jobs", "comfy", COMMAND),
        ("runner.jobs", "folder_paths", COMMAND),
        ("runner.jobs", "videograin.hosts.comfyui.blend", COMMAND),
        ("hosts.diffusers.vae", "comfy", COMMAND),
        ("hosts.diffusers.vae", "nodes", COMMAND),
        ("runner.cli", "videograin", LAYERS),  # which has the nodes
        ("attention.fused", "videograin", LAYERS),
        ("attention.fused", "videograin.editing.blend", LAYERS),
        ("version", "videograin.runner.cli", LAYERS),
        ("version", "videograin.lab.paths", LAYERS),
        ("__main__", "videograin.lab.paths", LAYERS),
        ("runner.cli", "videograin.lab.bench.arguments", LAYERS),  # an entry point brings it, where it is installed
        ("inspection.maps", "videograin.lab.paths", LAYERS),
        ("editing.composite", "videograin.inspection.maps", LAYERS),
        ("hosts.diffusers.vae", "videograin.__main__", LAYERS),
        ("", "videograin.lab.paths", FRONT_DOOR),
        ("", "videograin.lab", FRONT_DOOR),
        ("nodes.steady", "videograin", COMFYUI),  # which has hosts.diffusers, lazily
        ("attention.options", "videograin.attention.fused", CIRCLES),
    ],
)
def test_a_contract_refuses(imports, importer, imported, contract):
    assert contract in broken(planted(imports, importer, imported))


def test_the_diagram_has_the_arrows_that_the_imports_have(imports):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    drawn = set(re.findall(r"^ *(\w+) --> (\w+)$", diagram, re.MULTILINE))
    rooms = [name for name in imports.find_children("videograin") if imports.find_children(name)]
    assert drawn == {
        (importer.removeprefix("videograin."), imported.removeprefix("videograin."))
        for importer, imported in permutations(rooms, 2)
        if imports.direct_import_exists(importer=importer, imported=imported, as_packages=True)
    }


def allowed() -> dict[str, set[str]]:
    """Room -> packages from outside, as the table of docs/architecture.md has them in its last column."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)/` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    return {room.replace("/", "."): set(re.findall(r"`(\w+)`", packages)) for room, packages in rows}


def imported_packages(graph, rooms) -> dict[str, set[str]]:
    """Room -> packages from outside that its modules import; "" for what lies in no room."""
    found: dict[str, set[str]] = {room: set() for room in (*rooms, "")}
    for module in graph.find_descendants("videograin") | {"videograin"}:
        inner = module.removeprefix("videograin").removeprefix(".")
        room = next((room for room in rooms if f"{inner}.".startswith(f"{room}.")), "")
        names = graph.find_modules_directly_imported_by(module)
        found[room] |= {name for name in names if name.split(".")[0] != "videograin"} - sys.stdlib_module_names
    return found


def test_a_room_imports_the_packages_that_its_documentation_names(imports):
    rooms = allowed()
    assert imported_packages(imports, rooms) == {**rooms, "": set()}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("attention.fused", "comfyui_version"),
        ("editing.blend", "comfyui_frontend_package"),
        ("nodes.steady", "comfy"),
        ("nodes.steady", "folder_paths"),
        ("runner.jobs", "diffusers"),
        ("runner.jobs", "transformers"),
        ("hosts.comfyui.blend", "comfy_extras"),
        ("hosts", "comfy"),
        ("__main__", "torch"),
        ("inspection.maps", "torch"),
        ("version", "torch"),
        ("", "torch"),
    ],
)
def test_a_package_that_is_not_documented_for_the_room_is_seen(imports, importer, imported):
    rooms = allowed()
    assert imported_packages(planted(imports, importer, imported), rooms) != {**rooms, "": set()}


def in_circles(graph) -> list[list[str]]:
    """The modules that import each other, over however many others, lazily or not."""
    modules = sorted(graph.find_descendants("videograin") | {"videograin"})
    number = {module: n for n, module in enumerate(modules)}
    pairs = [(module, name) for module in modules for name in graph.find_modules_directly_imported_by(module)]
    pairs = [(number[a], number[b]) for a, b in pairs if b in number]
    ones = csr_array(([1] * len(pairs), tuple(zip(*pairs))), shape=(len(modules),) * 2)
    count, group = connected_components(ones, connection="strong")
    groups = [[module for module, n in zip(modules, group) if n == one] for one in range(count)]
    return [members for members in groups if len(members) > 1]


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("videograin", "videograin.editing.pipeline"),
        ("videograin.attention", "videograin.attention.fused"),
        ("videograin.inspection.maps", "videograin.measuring.attention_probe"),
        ("videograin.runner.settings", "videograin.editing.settings"),
    ],
)
def test_a_lazy_import_is_seen(imports, importer, imported):
    assert imports.direct_import_exists(importer=importer, imported=imported)


def test_no_modules_import_each_other_not_even_lazily(imports):
    assert in_circles(imports) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("attention.fused", "videograin.attention"),
        ("attention.kernels.logit_range", "videograin.attention"),
        ("nodes.steady", "videograin"),
        ("editing.regions", "videograin.runner.pipeline"),
        ("measuring.attention_probe", "videograin.inspection.maps"),
        ("hosts.diffusers.vae", "videograin.hosts.diffusers"),
        ("hosts.diffusers.embedded_vae", "videograin.hosts.diffusers_world"),
    ],
)
def test_a_circle_through_a_lazy_module_or_a_package_is_seen(imports, importer, imported):
    (circle,) = in_circles(planted(imports, importer, imported))
    assert {f"videograin.{importer}", imported} <= set(circle)


BY_NAME = {"attention/__init__.py", "attention/old_names.py", "__init__.py"}
"""The only files that import what a text names: their tables are read above. `runner/cli.py` asks for the commands that
installed packages add."""
LOADERS = {
    *("ImportString", "__builtins__", "__import__", "builtins", "entry_points", "exec", "exec_module", "import_module"),
    *("load_module", "module_from_spec", "pkgutil", "pydoc", "resolve_name", "run_module", "run_path", "runpy"),
    "spec_from_file_location",
}


def loaders(source: str) -> set[str]:
    """What of it imports a module by a text, which import-linter cannot see."""
    tree = ast.parse(source)
    names = names_in(tree)
    nodes = list(ast.walk(tree))
    plain = {node.id for node in nodes if isinstance(node, ast.Name)}
    found = (names & LOADERS) | (plain & {"compile", "eval"})  # re.compile, and a network's eval(), import nothing
    # Under whatever name sys goes: its `modules` is a dict, a network's modules() is called.
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    tables = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "modules"]
    texts = [node for node in nodes if isinstance(node, ast.Constant) and node.value == "modules"]
    drawn = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "sys"]
    if "sys" in names and (
        texts
        or any(id(node) not in called for node in tables)
        or any(alias.name in ("*", "modules") for node in drawn for alias in node.names)
    ):
        found.add("sys.modules")
    return found


def test_only_the_lazy_modules_import_by_name():
    found = {str(path.relative_to(ROOT)): loaders(path.read_text(encoding="utf-8")) for path in PRODUCT}
    found = {name: used for name, used in found.items() if used}
    others = {
        "runner/cli.py": {"entry_points"},
        "lab/mutants/__main__.py": {"sys.modules"},
    }  # the latter forgets modules
    assert found == {**{name: {"import_module"} for name in BY_NAME}, **others}


@pytest.mark.parametrize(
    "source",
    [
        'from importlib import import_module\nimport_module("videograin.hosts.comfyui")',
        'import importlib as tools\ntools.import_module("comfy")',
        'from importlib import import_module as load\nload("comfy")',
        '__import__("comfy")',
        'import sys\nsys.modules["comfy"].sample',
        'import runpy\nrunpy.run_module("videograin.lab")',
        'exec("import comfy")',
        'from pkgutil import resolve_name\nresolve_name("comfy.sample")',
        'from sys import modules\nmodules["comfy"]',
        'from sys import modules as loaded\nloaded["comfy"]',
        'from sys import *\nmodules["comfy"]',
        'import sys as s\ns.modules["comfy"]',
        'import sys\ns = sys\ns.modules["comfy"]',
        'import sys\ngetattr(sys, "modules")["comfy"]',
        'import sys\nsys.modules.get("comfy")',
        'import os\nos.sys.modules["comfy"]',
        """eval('__import__("comfy")')""",
        'load = eval\nload("comfy")',
        'import builtins as b\nb.eval("comfy")',
        'compile("import comfy", "", "exec")',
        'TypeAdapter(ImportString).validate_python("videograin.lab.paths:ROOT")',
        'import pydantic\npydantic.TypeAdapter(pydantic.ImportString).validate_python("comfy")',
        'from pydantic import ImportString as Named\nTypeAdapter(Named).validate_python("comfy")',
    ],
)
def test_an_import_by_name_is_seen(source):
    assert loaders(source)


@pytest.mark.parametrize(
    "source",
    [
        'import re\nre.compile("comfy")',
        "import torch\ntorch.compile(net.eval())",
        "import sys\nprint(list(net.modules()), file=sys.stderr)",
        "from comfy.ldm.modules import attention",
        'modules = {"unet": net}\nmodules["unet"]',
        'self.modules["unet"]',
    ],
)
def test_what_only_sounds_like_an_import_by_name_is_allowed(source):
    assert loaders(source) == set()


def private_imports(source: str, package: str) -> set[str]:
    """Names with a leading underscore that it takes out of other modules of ours. package: what its dots count from."""
    names: dict[str, str] = {}  # as it is called here -> in full
    tree = ast.parse(source)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full = {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = resolve_name("." * node.level + (node.module or ""), package)
            full = {alias.asname or alias.name: f"{home}.{alias.name}" for alias in node.names}
        else:
            continue
        names |= {name: whole for name, whole in full.items() if whole.split(".")[0] == "videograin"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            found |= {names[name] + whole[len(name) :] for name in names if whole.startswith(f"{name}.")}
    parts = re.compile(r"\._(?!_)")
    return {whole for whole in {*names.values(), *found} if parts.search(whole)}


def test_no_module_takes_a_private_name_of_another():
    found = {}
    for path in PRODUCT:
        package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
        found[str(path.relative_to(ROOT))] = private_imports(path.read_text(encoding="utf-8"), package)
    assert {name: taken for name, taken in found.items() if taken} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from ..editing.composite import _size",
        "from ..editing.composite import _size as size",
        "def late():\n    from ..editing.composite import _size",
        "from videograin.editing.composite import _size",
        "from ..editing import _sizes",
        "from ..editing._sizes import size",
        "from ..editing import composite\ncomposite._size(0)",
        "from ..editing import composite as c\nc._size(0)",
        "from ..editing.steady import Steady\nSteady._fuse",
        "import videograin.editing.composite\nvideograin.editing.composite._size(0)",
    ],
)
def test_a_private_name_of_another_module_is_seen(source):
    assert private_imports(source, "videograin.runner")


@pytest.mark.parametrize(
    "source",
    [
        "from ..version import __version__",
        "from ..editing.composite import composite as _composite",
        "from torch.utils._pytree import tree_leaves",
        "class Edit:\n    def size(self):\n        return self._size",
    ],
)
def test_a_private_name_of_its_own_or_of_a_package_is_allowed(source):
    assert private_imports(source, "videograin.runner") == set()
