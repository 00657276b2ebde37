"""Which packages a room imports, that nothing else is imported, and that the checks see it when something is."""

import ast
import re
import sys
from contextlib import suppress
from copy import deepcopy
from importlib.util import resolve_name
from itertools import product

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


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph("videograin", include_external_packages=True, cache_dir=None)


def planted(imports, importer: str, imported: str):
    graph = deepcopy(imports)
    graph.add_import(importer=f"videograin.{importer}", imported=imported)
    return graph


def broken(graph) -> set[str]:
    """Names of the contracts of pyproject.toml that these imports break."""
    options = read_user_options(str(ROOT / "pyproject.toml"))
    contracts = [TYPES[one["type"]](one["name"], options.session_options, one) for one in options.contracts_options]
    return {contract.name for contract in contracts if not contract.check(deepcopy(graph), verbose=False).kept}


def test_the_imports_that_there_are_keep_every_contract(imports):
    assert broken(imports) == set()


LAYERS = "Arrows run down"
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
        ("attention.options", "videograin.attention.fused", CIRCLES),
    ],
)
def test_a_contract_refuses(imports, importer, imported, contract):
    assert contract in broken(planted(imports, importer, imported))


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
        ("version", "torch"),
    ],
)
def test_a_package_that_is_not_documented_for_the_room_is_seen(imports, importer, imported):
    rooms = allowed()
    assert imported_packages(planted(imports, importer, imported), rooms) != {**rooms, "": set()}


def lazy_imports(modules):
    """(module, imported) for the modules whose `__getattr__` imports what a text names, at the first use."""
    for path in PRODUCT:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source if "__getattr__" in source else "")
        if not any(re.match(r"(def )?__getattr__\b", ast.unparse(node)) for node in tree.body):
            continue
        module = ".".join(["videograin", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        texts = {str(node.value).partition(":")[0] for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        for text, package in product(texts - {"."}, (module, module.rpartition(".")[0])):
            with suppress(ImportError):  # a text that is no module's name
                found = resolve_name(f".{text.removeprefix('.')}" if package == module else text, package)
                if found in modules and found != module:
                    yield module, found


@pytest.fixture(scope="module")
def lazy(imports):
    return set(lazy_imports(imports.modules))


def in_circles(graph, lazy) -> list[list[str]]:
    """The modules that import each other, over however many others, lazily or not."""
    modules = sorted(graph.find_descendants("videograin") | {"videograin"})
    number = {module: n for n, module in enumerate(modules)}
    pairs = [(module, name) for module in modules for name in graph.find_modules_directly_imported_by(module)]
    pairs = [(number[a], number[b]) for a, b in [*pairs, *lazy] if b in number]
    ones = csr_array(([1] * len(pairs), tuple(zip(*pairs))), shape=(len(modules),) * 2)
    count, group = connected_components(ones, connection="strong")
    groups = [[module for module, n in zip(modules, group) if n == one] for one in range(count)]
    return [members for members in groups if len(members) > 1]


def test_no_modules_import_each_other_not_even_lazily(imports, lazy):
    assert {
        ("videograin", "videograin.editing.pipeline"),
        ("videograin.attention", "videograin.attention.fused"),
        ("videograin.runner.settings", "videograin.editing.settings"),
    } <= lazy
    assert in_circles(imports, lazy) == []


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
def test_a_circle_through_a_lazy_module_or_a_package_is_seen(imports, lazy, importer, imported):
    (circle,) = in_circles(planted(imports, importer, imported), lazy)
    assert {f"videograin.{importer}", imported} <= set(circle)


BY_NAME = {"attention/__init__.py", "attention/old_names.py", "__init__.py"}
"""The only files that import what a text names: their tables are read above. `runner/cli.py` asks for the commands that
installed packages add."""
LOADERS = {
    *(
        "__import__",
        "entry_points",
        "exec",
        "exec_module",
        "import_module",
        "load_module",
        "module_from_spec",
        "pkgutil",
    ),
    *("pkgutil", "pydoc", "resolve_name", "run_module", "run_path", "runpy", "spec_from_file_location"),
}


def loaders(source: str) -> set[str]:
    """What of it imports a module by a text, which import-linter cannot see."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part for alias in node.names for part in alias.name.split(".")}
            names |= set((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Name | ast.Attribute):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
            if ast.unparse(node) == "sys.modules":
                names.add("sys.modules")
    return names & {*LOADERS, "sys.modules"}


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
    ],
)
def test_an_import_by_name_is_seen(source):
    assert loaders(source)
