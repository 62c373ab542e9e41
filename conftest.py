"""The fixtures and options of the harness, for ``suites/`` and ``tests/`` alike. They cost nothing until used."""

pytest_plugins = [
    "fixtures.options",
    "fixtures.selection",
    "fixtures.bench",
    "fixtures.boards",
    "fixtures.cloud",
    "fixtures.network",
    "fixtures.operations",
    "fixtures.reporting",
]
