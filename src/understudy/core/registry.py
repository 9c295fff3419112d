"""Names to classes: what a configuration file or the command line may ask for by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from understudy.core.arguments import quoted
from understudy.core.errors import ConfigError, nearest

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """The known classes of one kind, filled by importing a package and by other distributions' entry points.

    A third-party distribution adds a class by naming its module under the entry point group of the kind
    (`understudy.methods` for methods); importing that module registers it.
    """

    def __init__(self, kind: str, package: str, hidden: str = "") -> None:
        """An empty registry.

        Args:
            kind: The word used in errors.
            package: Holds the built-in modules and names the entry point group.
            hidden: The class attribute that is true of classes which errors do not list.
        """
        self.kind = kind
        self._hidden = hidden
        self._package = package
        self._classes: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[C], C]:
        """A class decorator that files the class under `name` and sets its `name` attribute."""

        def add(cls: C) -> C:
            if name in self._classes:
                raise ConfigError(f"{self.kind} {name!r} is already taken by {self._classes[name].__qualname__}")
            named: Any = cls
            named.name = name
            self._classes[name] = cls
            return cls

        return add

    def get(self, name: str, allowed: Iterable[str] = ()) -> type[T]:
        """The class filed under `name`, in any case.

        Args:
            allowed: Names that the error lists; those of `offered` if not given.

        Raises:
            ConfigError: No class has that name.
        """
        return self._classes[self.canonical(name, allowed)]

    def canonical(self, name: str, allowed: Iterable[str] = ()) -> str:
        """The name as it is filed, whatever its case and separators: `FixMatch` and `fix-match` are `fixmatch`.

        Raises:
            ConfigError: No class has that name.
        """
        self._load()
        if not isinstance(name, str):
            raise ConfigError(f"{self.kind} is {quoted(name)}; give a name, such as {sorted(self._classes)[0]!r}")
        if name in self._classes:
            return name
        squashed = _squashed(name)
        for filed in self._classes:
            if _squashed(filed) == squashed:
                return filed
        raise ConfigError(f"unknown {self.kind} {quoted(name)}; {nearest(name.lower(), allowed or self.offered())}")

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._classes)

    def offered(self) -> list[str]:
        """The names that may be given where any class of this kind fits, sorted."""
        return [name for name in self.names() if not getattr(self._classes[name], self._hidden, False)]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{self._package}.{module.name}")
        for entry_point in entry_points(group=self._package):
            entry_point.load()


def _squashed(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
