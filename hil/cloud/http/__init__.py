"""The cloud's HTTP API, as particle-api-js and particle-cli speak it (cloud API fact sheet 1 and 2)."""
