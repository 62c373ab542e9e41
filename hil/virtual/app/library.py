"""Where the twins of applications are found: ``<folder>/<application>/twin.py``, in the folders that a rig names.

A twin is loaded by its file, under a module name of its own: the name of its folder need not be one that Python could
import, and two repositories may have twins of the same name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hil import resources
from hil.errors import UsageError
from hil.virtual.app.wiring import Application, SystemMode

TWIN = "twin.py"
_MARK = "_hil_twin_"
_LOADING = threading.Lock()  # sys.path and sys.modules belong to the whole process


class NoTwin(UsageError):
    """There is no twin of that name in any of the folders."""


class BrokenTwin(UsageError):
    """There is a twin, but it cannot be loaded."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    source: bytes
    factory: type[Application]


class ApplicationLibrary:
    """The twins below ``folders``, searched in order, then those that come with the harness.

    Raises ``UsageError`` for a folder that is not there.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(
                    f"no folder of applications {folder}",
                    expected=f"a folder with <application>/{TWIN}",
                    hint="correct `applications` in the rig file or in [tool.hil] of pyproject.toml",
                )
        found = [folder.absolute() for folder in folders]
        self.folders = tuple(dict.fromkeys([*found, resources.folder("firmware")]))
        self._loaded: dict[Path, _Loaded] = {}

    def names(self) -> list[str]:
        """Every application that has a twin, by name."""
        twins = [twin for folder in self.folders for twin in folder.glob(f"*/{TWIN}")]
        return sorted({twin.parent.name for twin in twins if not twin.parent.name.startswith(".")})

    def twin(self, name: str) -> Path:
        """The file of the twin of ``name``. Raises ``NoTwin``."""
        if name and name == Path(name).name and not name.startswith("."):
            for folder in self.folders:
                if (folder / name / TWIN).is_file():
                    return folder / name / TWIN
        raise NoTwin(
            f"application {name} has no twin",
            expected=f"{name}/{TWIN} with a class App",
            found=f"nothing of the kind in {', '.join(str(folder) for folder in self.folders)}",
            hint=f"write {self.folders[0] / (name or 'NAME') / TWIN}, or tell the rig the folder that it is in",
        )

    def source(self, name: str) -> bytes:
        """All Python files of the twin's folder, with their names: what a build of it is told by.

        Raises ``NoTwin``.
        """
        folder = self.twin(name).parent
        files = sorted(path for path in folder.rglob("*.py") if path.is_file())
        parts = (f"{path.relative_to(folder)}\0".encode() + path.read_bytes() for path in files)
        return b"\0".join(parts)

    def build_hash(self, name: str, version: int) -> str:
        """First 16 hex digits of SHA-256 over source and version: other code, other build. Raises ``NoTwin``."""
        return hashlib.sha256(self.source(name) + f"@{version}".encode()).hexdigest()[:16]

    def load(self, name: str) -> type[Application]:
        """Class ``App`` of the twin, as its files are now. Raises ``NoTwin`` or ``BrokenTwin``, with file and line."""
        path, source = self.twin(name), self.source(name)
        with _LOADING:
            known = self._loaded.get(path)
            if known is None or known.source != source:
                known = self._loaded[path] = _Loaded(source, _application(path, _load(path)))
        return known.factory


def _load(path: Path) -> ModuleType:
    """Run the file as a module of its own; modules beside it can be imported by their names."""
    module_name = _MARK + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BrokenTwin(f"the twin {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    beside = _names_beside(path)
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _root(name) in beside}
    sys.path.insert(0, str(path.parent))
    sys.modules[module_name] = module
    importlib.invalidate_caches()
    # No bytecode: it would be taken for newer than a file that is edited within the same second.
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except Exception as error:
        raise _broken(path, error) from error
    finally:
        sys.dont_write_bytecode = writes_bytecode
        sys.path.remove(str(path.parent))
        # What lies beside this twin is this twin's: another one may have a module of the same name.
        for name in [name for name in sys.modules if _root(name) in beside]:
            del sys.modules[name]
        sys.modules.update(hidden)
    return module


def _names_beside(path: Path) -> set[str]:
    files = {each.stem for each in path.parent.glob("*.py")}
    packages = {each.parent.name for each in path.parent.glob("*/__init__.py")}
    return (files | packages) - {"__init__"}


def _root(module: str) -> str:
    return module.partition(".")[0]


def _application(path: Path, module: ModuleType) -> type[Application]:
    """Class ``App`` and what it declares, checked. Raises ``BrokenTwin``."""
    found = getattr(module, "App", None)
    if not (isinstance(found, type) and issubclass(found, Application)):
        raise BrokenTwin(
            f"the twin {path} is not an application",
            expected="class App(Application), with Application from hil.twin",
            found="no name App" if found is None else f"App = {found!r}",
        )
    modes = [str(mode) for mode in SystemMode]
    if found.SYSTEM_MODE not in modes:
        raise BrokenTwin(f"SYSTEM_MODE in {path}", expected=", ".join(modes), found=repr(found.SYSTEM_MODE))
    versions = found.VERSIONS
    good = (
        isinstance(versions, tuple) and versions and all(type(each) is int and each >= 0 for each in versions)
    )
    if not good:
        raise BrokenTwin(f"VERSIONS in {path}", expected="a tuple such as (1, 2)", found=repr(versions))
    return found


def _broken(path: Path, error: Exception) -> BrokenTwin:
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        place = place_in_twin(error, path.parent) or str(path)
    return BrokenTwin(
        f"the twin of application {path.parent.name} cannot be loaded",
        found=f"{place}: {type(error).__name__}: {getattr(error, 'msg', None) or error}",
    )


def place_in_twin(error: BaseException, folder: Path | None = None) -> str | None:
    """``file:line`` of the innermost frame of ``error`` that is in ``folder`` (without it: in any twin's)."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        inside = file.is_relative_to(folder) if folder is not None else (file.parent / TWIN).is_file()
        if inside:
            return f"{frame.filename}:{frame.lineno}"
    return None
