"""Names that are not known: the error lists what fits there, and nothing that only fits elsewhere."""

from __future__ import annotations

import pytest

from understudy.core.config import from_table
from understudy.core.errors import ConfigError
from understudy.methods.base import METHODS, Method, Pretext


def test_registry__pretraining_tasks_are_no_methods_to_choose() -> None:
    with pytest.raises(ConfigError, match=r"^unknown method 'zzz'; allowed: ") as error:
        METHODS.get("zzz")
    assert "fixmatch, " in str(error.value)
    assert "simclr" not in str(error.value)
    assert METHODS.get("SimCLR").pretext


def test_from_table__lists_the_names_of_the_kind_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^unknown method 'zzz'; allowed: barlow_twins, .*simclr$"):
        from_table(Pretext, {"name": "zzz"})
    with pytest.raises(ConfigError) as error:
        from_table(Method, {"name": "zzz"})
    assert "simclr" not in str(error.value)
