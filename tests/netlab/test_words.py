"""Issue 6, point 21: the firewall's counters in words."""

from __future__ import annotations

from hil.netlab.words import counters_in_words, stopped_in_words

UP = {"board": "10.77.3.2", "protocol": "udp", "port": 5684, "direction": "up", "passed": 12, "dropped": 3}
DOWN = UP | {"direction": "down", "passed": 4, "dropped": 0}
NAMES = UP | {"port": 53, "passed": 0, "dropped": 2}
IDLE = UP | {"protocol": "tcp", "port": 5683, "passed": 0, "dropped": 0}


def test_each_row_is_a_line_and_only_the_clouds_ports_are_said_to_be_the_clouds() -> None:
    assert counters_in_words([UP, DOWN, NAMES, IDLE], "198.18.0.2", (5683, 5684)) == [
        "10.77.3.2: udp 5684 to 198.18.0.2: 3 dropped, 12 passed",
        "10.77.3.2: udp 5684 from 198.18.0.2: 4 passed",
        "10.77.3.2: udp 53 to elsewhere: 2 dropped",
        "10.77.3.2: tcp 5683 to 198.18.0.2: nothing",
    ]


def test_what_was_stopped_fits_into_a_message() -> None:
    assert stopped_in_words([UP, DOWN, NAMES], "198.18.0.2", (5683, 5684)) == (
        "udp 5684 to 198.18.0.2: 3 dropped; udp 53 to elsewhere: 2 dropped"
    )
    assert stopped_in_words([DOWN], "198.18.0.2", (5684,)) == ""
