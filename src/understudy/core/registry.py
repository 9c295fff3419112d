"""Names to classes: what a configuration file or the command line may ask for by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from understudy.core.errors import ConfigError, nearest

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """The known classes of one kind, filled by importing a package and by other distributions' entry points.

    A third-party distribution adds a class by naming its module under the entry point group of the kind
    (`understudy.methods` for methods); importing that module registers it.
    """

    def __init__(self, kind: str, package: str) -> None:
        """`kind` is the word used in errors; `package` holds the built-in modules and names the entry point group."""
        self.kind = kind
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

    def get(self, name: str) -> type[T]:
        """The class filed under `name`.

        Raises:
            ConfigError: No class has that name.
        """
        self._load()
        if name not in self._classes:
            raise ConfigError(f"unknown {self.kind} {name!r}; {nearest(name, self._classes)}")
        return self._classes[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._classes)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{self._package}.{module.name}")
        for entry_point in entry_points(group=self._package):
            entry_point.load()
