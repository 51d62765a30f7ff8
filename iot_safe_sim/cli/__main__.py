"""`python -m iot_safe_sim.cli`."""

from iot_safe_sim.cli import main

main()
