"""``hil report``: where Allure's command line comes from, and what is said when it cannot be had."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hil.cli.main import main
from hil.report import page
from hil.report.allure_results import write_environment

# Stand-ins for programs: what hil asks of them can be read, and nothing is fetched from anywhere.
ALLURE = """#!/bin/sh
[ "$1" = --version ] && { echo 3.18.0; exit; }
echo "$@" >>"$(dirname "$0")/asked"
while [ "$1" != --output ]; do shift; done
echo "<html>a page</html>" >"$2/index.html"
"""
NPM = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/asked"
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/.bin"
cp "$(dirname "$0")/../allure" "$2/node_modules/.bin/allure"
"""
RESULT = {"uuid": "1", "name": "test_watering", "fullName": "garden#test_watering", "status": "passed"}
UNTIL = {"start": 1_700_000_000_000, "stop": 1_700_000_000_100}


class Place:
    """A project with results, and a ``PATH`` of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "programs"
        self.programs.mkdir()
        self.reports = root / "reports"
        (self.reports / "allure-results").mkdir(parents=True)
        (self.reports / "allure-results/1-result.json").write_text(json.dumps(RESULT | UNTIL))
        (root / "pytest.ini").touch()

    def program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def asked(self) -> list[str]:
        """The lines that stand-ins on ``PATH`` were called with."""
        note = self.programs / "asked"
        return note.read_text().splitlines() if note.exists() else []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "CHECKOUT", tmp_path / "no-checkout")
    for name in ("sh", "cp", "mkdir", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (place.programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(place.programs))
    return place


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_allure_on_the_path_makes_the_page(place: Place) -> None:
    place.program("allure", ALLURE)
    (place.reports / "allurerc.mjs").write_text("{}")
    done = report()
    assert (done.exit_code, done.output) == (0, "the report is reports/report.html\n")
    assert (place.reports / "report.html").read_text() == "<html>a page</html>\n"
    (line,) = place.asked()
    assert line.startswith(f"awesome {place.reports}/allure-results --config {place.reports}/allurerc.mjs ")
    assert sorted(each.name for each in place.reports.iterdir()) == [
        "allure-results",
        "allurerc.mjs",
        "report.html",
    ]


def test_npm_installs_allure_once_below_the_project_s_state(place: Place) -> None:
    (place.root / "allure").write_text(ALLURE)
    (place.root / "allure").chmod(0o755)
    place.program("npm", NPM)
    first, second = report(), report()
    assert first.exit_code == second.exit_code == 0, first.output + second.output
    assert first.output.splitlines() == [
        f"installing Allure's command line ({page.PACKAGE}) into .hil/report with npm",
        "the report is reports/report.html",
    ]
    assert second.output == "the report is reports/report.html\n"
    (line,) = place.asked()
    assert line.startswith("install ")
    assert line.endswith(page.PACKAGE)


@pytest.mark.parametrize("arguments", [(), ("--no-install",)])
def test_without_npm_the_line_to_type_is_said(place: Place, arguments: tuple[str, ...]) -> None:
    place.program("allure", "#!/bin/sh\necho 2.30.0\n")  # Allure 2, which knows no such subcommand
    done = report(*arguments)
    assert done.exit_code == 1
    assert "Allure's command line, which makes it, is not here" in done.output
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends nodejs npm" in done.output
    assert not (place.reports / "report.html").exists()


def test_nothing_is_installed_unasked(place: Place) -> None:
    place.program("npm", NPM)
    done = report("--no-install")
    assert done.exit_code == 1
    assert "what to do: hil report" in done.output
    assert place.asked() == []


@pytest.mark.parametrize(
    ("program", "text", "said"),
    [
        ("npm", "#!/bin/sh\necho no network >&2\nexit 1\n", "npm cannot install allure"),
        (
            "allure",
            '#!/bin/sh\n[ "$1" = --version ] && echo 3.1 || { echo no network; exit 1; }\n',
            "allure cannot make",
        ),
    ],
)
def test_what_a_program_said_when_it_failed_is_passed_on(
    place: Place, program: str, text: str, said: str
) -> None:
    path = place.program(program, text)
    done = report()
    assert done.exit_code == 1
    assert said in done.output
    assert "found: no network" in done.output
    assert f"what to do: try it: {path} " in done.output


def test_without_results_the_folder_is_named_and_the_way_to_some(place: Place) -> None:
    place.program("allure", ALLURE)
    done = report("--reports", "elsewhere")
    assert done.exit_code == 2
    assert "there are no results of a run in elsewhere/allure-results" in done.output
    assert "hil rack run -- pytest suites" in done.output
    assert place.asked() == []


def test_the_page_is_opened_on_request(place: Place) -> None:
    place.program("allure", ALLURE)
    lacking = report("--open")
    assert lacking.exit_code == 1
    assert f"open {place.reports}/report.html in one" in lacking.output
    place.program("xdg-open", '#!/bin/sh\necho "open $1" >>"$(dirname "$0")/asked"\n')
    assert report("--open").exit_code == 0


def test_the_version_is_the_one_that_set_up_installs() -> None:
    package = json.loads((Path(__file__).parents[2] / "scripts/report/package.json").read_text())
    assert [f"{name}@{version}" for name, version in package["dependencies"].items()] == [page.PACKAGE]


def test_allure_itself_takes_what_it_is_asked(tmp_path: Path) -> None:
    allure = page.find_allure(tmp_path)
    if allure is None:
        pytest.skip("Allure's command line is not installed")
    place = Place(tmp_path)
    made = page.make_page(allure, place.reports)
    assert made == place.reports / "report.html"
    assert "<title> hil </title>" in made.read_text()


def test_allure_keeps_a_history_of_runs_and_tells_platforms_apart(tmp_path: Path) -> None:
    """Issue 6, point 20. Allure itself judges: a run is one entry of the history however often its page is made."""
    allure = page.find_allure(tmp_path)
    if allure is None:
        pytest.skip("Allure's command line is not installed")
    reports = Place(tmp_path).reports
    results = reports / "allure-results"
    for run in range(2):
        for platform in ("argon", "photon"):
            names = {"uuid": f"{run}-{platform}", "historyId": f"watering-{platform}"}
            result = {**RESULT, **UNTIL, **names, "labels": [{"name": "tag", "value": platform}]}
            (results / f"{platform}-result.json").write_text(json.dumps(result))
        (results / "1-result.json").unlink(missing_ok=True)
        write_environment(results, {}, ["argon", "photon"])
        for _ in range(2):
            page.make_page(allure, reports)
    assert len((reports / "history.jsonl").read_text().splitlines()) == 2
    html = tmp_path / "html"
    configuration = ["--config", str(reports / "allurerc.mjs")]
    subprocess.run(
        [allure, "awesome", results, *configuration, "--output", html], check=True, capture_output=True
    )
    found = json.loads((html / "widgets" / "environments.json").read_text())
    assert {each["name"] for each in found} >= {"argon", "photon"}
