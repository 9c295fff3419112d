"""The `understudy` command: its subcommands, and how errors and interrupts end it."""

from __future__ import annotations

import gc
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from understudy.cli.ablate import ablate
from understudy.cli.audit import audit
from understudy.cli.compare import compare
from understudy.cli.demo import demo
from understudy.cli.evaluate import evaluate
from understudy.cli.label import label
from understudy.cli.methods import methods
from understudy.cli.plan import plan
from understudy.cli.predict import predict
from understudy.cli.report import report
from understudy.cli.split import split
from understudy.cli.suggest import suggest
from understudy.cli.train import train
from understudy.core.errors import UnderstudyWarning, UserError
from understudy.core.stopping import signals_interrupt
from understudy.display.console import print_error

EXIT_FAULT = 1  # what Python exits with on an exception
EXIT_USER_ERROR = 2  # as for wrong usage in click and most Unix commands
EXIT_INTERRUPTED = 130  # as shells report SIGINT: 128 + 2
_MAX_SHOWN = 200  # characters of a path; a terminal's line or two


class Commands(TyperGroup):
    """The subcommands in the order they are used; an error of the user ends in one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The names in the order they were added."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; a user's error exits with 2, Ctrl-C with 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            print_error(str(stop) or "interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:
            sentence = sentence_of(error)
            if not sentence:
                raise
            print_error(f"error: {sentence}")
            raise typer.Exit(EXIT_USER_ERROR) from None


def sentence_of(error: BaseException) -> str:
    """The message for an error that the user can fix, or an empty text."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return ""
    if isinstance(error, OSError) and error.filename is not None:
        name = str(error.filename)
        name = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}..."
        return f"{name} cannot be used ({error.strerror}); check the path and its permissions"
    if isinstance(error, ValueError) and "null byte" in str(error):
        return "a path contains a null byte, which no file name can; check the arguments and the configuration"
    return ""


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(command: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line, so that it wraps with the terminal; indented lines stay."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.getdoc(command) or "")


for command in (demo, audit, suggest, split, plan, train, report, evaluate, predict, label, compare, ablate, methods):
    app.command(help=_help(command))(command)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"understudy {version('understudy')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def about(
    ctx: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train an image classifier from a few labeled and many unlabeled images, and test whether those helped.

    [bold]Start with:[/bold]
      understudy demo [dim](built-in images, under a minute)[/dim]
      understudy train PHOTOS --unlabeled DIR --budget 10m [dim](yours)[/dim]

    Help on a command: understudy train --help
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """The entry point of the `understudy` script."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when torch is imported; spinning starves others
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # started without one; the descriptor must not go to a file of ours either
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal cannot show
    warnings.formatwarning = _format_warning
    with signals_interrupt():
        try:
            app(prog_name="understudy")
        except BrokenPipeError:
            raise
        except Exception as error:  # the last line of defense: a bug of ours, reported in a sentence
            print_error(f"error: {_reported(error)}")
            sys.exit(EXIT_FAULT)
        finally:
            gc.freeze()  # or the exit walks through all objects of torch, for more than a second


_format_for_programmers = warnings.formatwarning


def _format_warning(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> str:
    """A warning of ours as one sentence, without the line of code that a programmer would look for."""
    if issubclass(category, UnderstudyWarning):
        return f"note: {message}\n"
    return _format_for_programmers(message, category, *args, **kwargs)


def _reported(error: Exception) -> str:
    """The sentence about an unexpected error, whose traceback is written where it can be attached to a report."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    what = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="understudy-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return f"unexpected error, a bug in understudy ({what}); its traceback could not be written\n{text}"
    return f"unexpected error, a bug in understudy ({what}); please report it with {file.name}"
