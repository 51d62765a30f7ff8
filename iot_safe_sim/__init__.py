"""A simulated IoT SAFE (e)SIM, its modem, and a device that enrolls and joins with it."""
