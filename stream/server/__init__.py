"""The listener: calls and streams that come over the network, into a running pipeline."""
