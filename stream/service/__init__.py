"""Running unattended: is the node alive (`vitals`), and who is told: systemd, probes, Prometheus, logs."""
