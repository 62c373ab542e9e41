"""``hil report``: one HTML page of a run's results."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from hil.cli.options import PathOption, one_message
from hil.errors import HilError
from hil.report import page
from hil.rig.project import find_project, shown

_APT = "sudo apt-get update && sudo apt-get install -y --no-install-recommends nodejs npm"


@click.command(name="report")
@click.option(
    "--reports",
    cls=PathOption,
    fallback=lambda: find_project().reports,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that a run wrote allure-results/ to; the page goes there too.",
)
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
@click.option("--no-install", is_flag=True, help="Do not install Allure's command line when it is not there.")
def command(reports: Path, show: bool, no_install: bool) -> None:
    """Make report.html of the last run's results: one page, to be read in any browser or sent to somebody.

    Allure's command line makes it: the one of a checkout or on PATH, else npm installs it below .hil/report.

    \b
    Examples: hil report
              hil report --open
              hil report --reports /tmp/night-run
    """
    with one_message():
        page.check_results(reports)
        made = page.make_page(_allure(install=not no_install), reports)
    click.echo(f"the report is {shown(made)}")
    if show and click.launch(str(made), wait=True) != 0:
        raise click.ClickException(f"no browser could be started here; open {made.resolve()} in one")


def _allure(*, install: bool) -> Path:
    tools = find_project().state("report")
    found = page.find_allure(tools)
    if found is not None:
        return found
    npm = shutil.which("npm")
    if npm is None or not install:
        ways = "hil report   (npm installs it)" if npm else f"{_APT} && hil report"
        raise HilError("no HTML report: Allure's command line, which makes it, is not here", hint=ways)
    click.echo(f"installing Allure's command line ({page.PACKAGE}) into {shown(tools)} with npm")
    return page.install(tools, npm)
