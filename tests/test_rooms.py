"""The map of the package, kept true: who may import whom, and what an import costs."""

import ast
import graphlib
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import rdlearn

HOME = Path(rdlearn.__file__).parent
# A file imports only from rooms above its own; a room is a file or a whole folder.
ROOMS = [
    "_interrupts",
    "_version",
    "exceptions",
    "information",
    "kernels",
    "_ms_ssim",
    "_nlpd",
    "metrics",
    "_cells",
    "_distortion",
    "_perceptual",
    "distortions",
    "nets",
    "channels",
    "coding",
    "_wavelet",
    "_persistence",
    "_threads",
    "_moments",
    "_training",
    "_landing",
    "_dtypes",
    "_validation",
    "_forms",
    "_sklearn",
    "_saving",
    "_blahut_arimoto",
    "_finite_source",
    "_boltzmann",
    "_partition",
    "_console",
    "_signals",
    "_arguments",
    "_binary",
    "_likelihood",
    "_rbm",
    "base",
    "_discrete",
    "_image_stream",
    "_transform_code",
    "_pca_design",
    "_pca",
    "_objective",
    "_principal_start",
    "_minibatch",
    "_side_information",
    "_networks",
    "_image_nets",
    "_latent_search",
    "_image_codec",
    "_uniform_noise",
    "_belief_net",
    "_tilted_channel",
    "_encoder_search",
    "_bottleneck",
    "_dbn",
    "_autoencoder",
    "_echo",
    "_echo_classifier",
    "_variational",
    "__init__",
    "_curves",
    "_points",
    "model_selection",
    "plotting",
    "_loaders",
    "datasets",
    "_standard_streams",
    "_tables_io",
    "_info_command",
    "_curve_command",
    "_image_command",
    "_table_command",
    "cli",
    "__main__",
]
FILES = sorted(path.relative_to(HOME).as_posix() for path in HOME.rglob("*.py"))


def module_of(file):
    """The dotted name below rdlearn, "__init__" for the package itself."""
    parts = file.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def tree(file):
    return ast.parse((HOME / file).read_text())


def imported(file):
    """All absolute names that a file imports anywhere, as (module, name or None)."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from ((node.module, alias.name) for alias in node.names)


def arrows(file):
    """Modules of rdlearn that a file imports, functions' own imports included."""
    for module, name in imported(file):
        if module.split(".")[0] != "rdlearn":
            continue
        inner = module.removeprefix("rdlearn").lstrip(".")
        deeper = f"{inner}.{name}".lstrip(".")
        yield deeper if deeper in MODULES else inner or "__init__"


def room(module):
    return ROOMS.index(module.split(".")[0])


@pytest.mark.parametrize("file", FILES)
def test_no_arrow_goes_back(file):
    module = module_of(file)
    assert module.split(".")[0] in ROOMS, f"give {file} its place in ROOMS"
    for target in arrows(file):
        same_folder = "/" in file and target.split(".")[0] == module.split(".")[0]
        assert room(target) < room(module) or same_folder, f"{file} imports {target}"


def test_no_arrows_form_a_circle():
    graph = {module: set(arrows(file)) - {module} for module, file in MODULES.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(FILES)


def test_every_room_exists():
    assert {module.split(".")[0] for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__main__"}))
def test_every_public_name_resolves(module):
    if module == "kernels.cuda":
        pytest.importorskip("cupy", reason="CuPy is not installed")
    loaded = importlib.import_module("rdlearn" if module == "__init__" else f"rdlearn.{module}")
    names = getattr(loaded, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(loaded, name)


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_long(file):
    assert len((HOME / file).read_text().splitlines()) <= 400


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_pickled(file):
    loaders = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert not loaders & {module.split(".")[0] for module, _ in imported(file)}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"


@pytest.mark.parametrize("file", sorted(set(FILES) - {"_sklearn.py"}))
def test_one_file_knows_private_helpers_of_scikit_learn(file):
    for module, name in imported(file):
        path = [*module.split("."), *filter(None, [name])]
        private = any(part.startswith("_") for part in path)
        assert not (path[0] == "sklearn" and private), ".".join(path)


def fresh(code):
    """What a fresh process prints, as a list of words."""
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_import_brings_nothing_that_scikit_learn_and_numba_do_not():
    show = "import sys, {}; print(*sys.modules)"
    theirs = (
        "numba, scipy.optimize, sklearn.base, sklearn.utils.validation, sklearn.utils.multiclass"
    )
    if importlib.util.find_spec("sklearn.callback"):  # from scikit-learn 1.9 on
        theirs += ", sklearn.callback"
    base = set(fresh(show.format(theirs)))
    ours = {name for name in fresh(show.format("rdlearn")) if name.split(".")[0] != "rdlearn"}
    assert not ours - base
    assert "matplotlib" not in ours


def test_import_compiles_nothing():
    code = """
import pkgutil, importlib, numba, rdlearn
from numba.core.dispatcher import Dispatcher
found = set()
for info in pkgutil.walk_packages(rdlearn.__path__, "rdlearn."):
    if info.name not in ("rdlearn.__main__", "rdlearn.kernels.cuda"):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, Dispatcher):
                found.add(value)
print(len(found), sum(len(kernel.signatures) for kernel in found))
"""
    kernels, compiled = map(int, fresh(code))
    assert kernels > 5 and compiled == 0
