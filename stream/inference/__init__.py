"""Inference lanes: queues, micro-batches and worker threads; independent of torch."""
