from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.netlab.firewall import (
    HOST_HOOKS,
    ROUTER_HOOKS,
    Action,
    AllowOnly,
    Block,
    Count,
    Direction,
    Flow,
    Protocol,
    Ruleset,
    Service,
    boards_network,
    parse_counters,
    render_base,
    render_close,
    render_open,
    render_rules,
)

BOARDS = ipaddress.IPv4Network("10.77.0.0/16")
UDP_CLOUD = Service(Protocol.UDP, 5684)
TCP_CLOUD = Service(Protocol.TCP, 5683)


def test_base_table() -> None:
    assert (
        render_base(ROUTER_HOOKS)
        == """\
table inet hil {
  flags owner
  chain leases {
  }
  chain account {
  }
  chain on_forward {
    type filter hook forward priority filter; policy accept;
    jump leases
    jump account
  }
}
"""
    )


def test_a_bench_hooks_its_own_traffic_too() -> None:
    text = render_base(HOST_HOOKS)
    assert [line.split()[3] for line in text.splitlines() if "type filter" in line] == [
        "forward",
        "input",
        "output",
    ]


def _accounts(lease: int) -> str:
    match = "ip {0} 10.77.0.0/16 meta l4proto {{ tcp, udp }}"
    rest = match + " update @lease{1}_passed_{2} {{ ip {0} . meta l4proto . th {3} }}"
    up, down = rest.format("saddr", lease, "up", "dport"), rest.format("daddr", lease, "down", "sport")
    return f"add rule inet hil account {up}\nadd rule inet hil account {down}\n"


def test_a_lease_opens_with_its_chain_and_counters() -> None:
    key = "type ipv4_addr . inet_proto . inet_service; flags dynamic; counter; size 131072;"
    assert render_open(3, [1], BOARDS) == (
        f"""\
add set inet hil lease3_stopped_up {{ {key} }}
add set inet hil lease3_stopped_down {{ {key} }}
add set inet hil lease3_passed_up {{ {key} }}
add set inet hil lease3_passed_down {{ {key} }}
add chain inet hil lease3
flush chain inet hil leases
add rule inet hil leases jump lease1
add rule inet hil leases jump lease3
flush chain inet hil account
"""
        + _accounts(1)
        + _accounts(3)
    )


def test_a_lease_closes_with_all_that_it_has() -> None:
    assert render_close(3, [1], BOARDS) == (
        """\
flush chain inet hil leases
add rule inet hil leases jump lease1
flush chain inet hil account
"""
        + _accounts(1)
        + """\
flush chain inet hil lease3
delete chain inet hil lease3
delete set inet hil lease3_stopped_up
delete set inet hil lease3_stopped_down
delete set inet hil lease3_passed_up
delete set inet hil lease3_passed_down
"""
    )


def _rules(rules: Ruleset) -> list[str]:
    first, *lines = render_rules(1, rules, BOARDS).splitlines()
    assert first == "flush chain inet hil lease1"
    return [line.removeprefix("add rule inet hil lease1 ") for line in lines]


def test_drop_one_service_of_all_boards() -> None:
    assert _rules(Ruleset().with_block(Block(UDP_CLOUD, None))) == [
        "ip saddr 10.77.0.0/16 udp dport 5684 update @lease1_stopped_up { ip saddr . meta l4proto . th dport } drop",
        "ip daddr 10.77.0.0/16 udp sport 5684 update @lease1_stopped_down { ip daddr . meta l4proto . th sport } drop",
    ]


def test_reject_answers_each_protocol_its_own_way() -> None:
    blocks = [Block(service, "10.77.2.2", Action.REJECT) for service in (UDP_CLOUD, TCP_CLOUD)]
    up = [line for line in _rules(Ruleset().with_blocks(blocks)) if line.startswith("ip saddr")]
    assert up == [
        "ip saddr 10.77.2.2 udp dport 5684 update @lease1_stopped_up { ip saddr . meta l4proto . th dport } "
        "reject with icmp port-unreachable",
        "ip saddr 10.77.2.2 tcp dport 5683 tcp flags & rst == 0 "
        "update @lease1_stopped_up { ip saddr . meta l4proto . th dport } reject with tcp reset",
    ]


def test_allow_only_returns_what_it_allows_and_drops_the_rest() -> None:
    assert _rules(Ruleset().with_allow(AllowOnly((TCP_CLOUD,), "10.77.1.2"))) == [
        "ip saddr 10.77.1.2 tcp dport 5683 return",
        "ip saddr 10.77.1.2 meta l4proto { tcp, udp } update @lease1_stopped_up { ip saddr . meta l4proto . th dport }",
        "ip saddr 10.77.1.2 drop",
        "ip daddr 10.77.1.2 tcp sport 5683 return",
        "ip daddr 10.77.1.2 meta l4proto { tcp, udp } "
        "update @lease1_stopped_down { ip daddr . meta l4proto . th sport }",
        "ip daddr 10.77.1.2 drop",
    ]


def test_a_rule_replaces_the_one_for_the_same_thing() -> None:
    rules = Ruleset().with_block(Block(UDP_CLOUD, None)).with_block(Block(UDP_CLOUD, None, Action.REJECT))
    assert rules.blocks == (Block(UDP_CLOUD, None, Action.REJECT),)
    everyone, one = AllowOnly((TCP_CLOUD,), None), AllowOnly((UDP_CLOUD,), "10.77.1.2")
    assert Ruleset().with_allow(everyone).with_allow(one).allows == (one, everyone)
    assert Ruleset().with_allow(everyone).with_allow(AllowOnly((UDP_CLOUD,), None)).allows == (
        AllowOnly((UDP_CLOUD,), None),
    )


def test_counters_as_nft_lists_them() -> None:
    text = json.dumps(
        {
            "nftables": [
                {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
                {
                    "set": {
                        "family": "inet",
                        "name": "passed_up",
                        "type": ["ipv4_addr", "inet_proto", "inet_service"],
                        "elem": [
                            {
                                "elem": {
                                    "val": {"concat": ["10.77.1.2", 17, 5684]},
                                    "counter": {"packets": 7, "bytes": 210},
                                }
                            }
                        ],
                    }
                },
            ]
        }
    )
    flow = Flow(Direction.UP, "10.77.1.2", UDP_CLOUD)
    assert parse_counters(text, Direction.UP) == {flow: Count(7, 210)}
    assert parse_counters('{"nftables": [{"set": {"name": "x"}}]}', Direction.UP) == {}


@given(st.one_of(st.text(), st.recursive(st.none() | st.integers(), st.lists).map(json.dumps)))
def test_other_text_is_a_wire_error(text: str) -> None:
    with pytest.raises(WireError):
        parse_counters(text, Direction.DOWN)


def test_a_wrong_network_of_boards_is_the_users_mistake() -> None:
    assert boards_network("192.168.42.0/24").num_addresses == 256
    for text in ("192.168.42.1/24", "boards", "fd00::/64"):
        with pytest.raises(UsageError, match="network of the boards"):
            boards_network(text)
