"""What the outside sees of a running node: liveness, probes, Prometheus metrics, systemd, log format."""
