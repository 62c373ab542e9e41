"""The bench as tests see it: rig files, boards and their leases, power, flashing, provisioning."""
