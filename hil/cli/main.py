"""The ``hil`` command. Subcommands live one to a file and are imported only when they are used."""

from __future__ import annotations

import importlib

import click

from hil import __version__

COMMANDS = {
    "boards": "what is on USB, which slot it is, who holds it",
    "clock": "show and move the clock of a virtual rack or a cloud",
    "cloud": "run the Device Cloud on its own",
    "doctor": "what is missing on this machine, and what mends it",
    "init": "write the first files of a repository with firmware of its own",
    "network": "the network service of a bench",
    "rack": "run a command in a virtual rack",
    "report": "one HTML page of a run's results",
}


class LazyGroup(click.Group):
    """Finds ``hil/cli/<name>.py`` and its ``command`` when the subcommand is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"hil.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hil")
def main() -> None:
    """Hardware-in-the-loop tests for Particle boards against a Device Cloud on the same machine.

    \b
    A first run:   hil doctor
                   hil init
                   hil rack run -- pytest
    """


if __name__ == "__main__":
    main()
