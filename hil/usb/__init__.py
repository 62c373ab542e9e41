"""The host's side of USB: finding boards, control requests, DFU, the listening-mode console and serial logs."""
