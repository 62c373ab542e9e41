"""What this repository's suites add to the fixtures of the plugin ``hil``, which pytest finds by its entry point."""

pytest_plugins = ["fixtures.events", "fixtures.keys"]
